"""Live sessions under commands, losses and ends in any order: hypothesis looks for an order that breaks a promise.

Everything runs on the mock clock, so that an order that was found is the same when it is run again and made smaller.
"""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realtime.config.schema import FusionConfig
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import Sentiment
from realtime.runtime.worker import LONGEST_BACKOFF_S
from realtime.types import NS_PER_S
from scripts.harness import mock_session
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import FRAME_NS, MockSession

NAMES = ("desk", "sofa")
FILE_S = 2.6
BACK_S = 0.2 + 1.25 * LONGEST_BACKOFF_S + 2 * FRAME_NS / NS_PER_S
"""A device that can be opened is open so long after a resume or its return: a read, the longest wait, and a read."""
BATCH_S = FusionConfig().max_wait_ms / 1000
streams = st.sampled_from(NAMES)
every = st.sampled_from((*NAMES, "talk"))
FUSER: list[Fuser] = []


def shared_fuser(_weights, _device, clock):
    """Load AGFN once for all examples."""
    if not FUSER:
        FUSER.append(Fuser(WEIGHTS, "cpu", clock))
    return FUSER[0]


class Machine(RuleBasedStateMachine):
    """Two desks and a file; a model of each says what must be true."""

    def __init__(self):
        super().__init__()
        self.clock = MockClock(100 * NS_PER_S)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mock_session, "Fuser", shared_fuser)
            self.session = MockSession(self.clock, NAMES, {"talk": FILE_S}, settings={"window": {"hop_s": 0.25}})
        self.paused = dict.fromkeys((*NAMES, "talk"), False)
        self.at_s = dict.fromkeys((*NAMES, "talk"), 0.0)
        self.changes = {name: [] for name in self.paused}
        self.checked = dict.fromkeys(self.paused, 0)
        self.sent_s = {}
        self.session.outlet.subscribe(self.note, Sentiment)
        self.running = False

    @initialize()
    def start(self):
        self.session.start()
        self.running = True

    def note(self, message):
        self.sent_s[message.stream, message.seq] = self.now_s()

    def now_s(self):
        return self.clock.now_ns() / NS_PER_S - 100

    def ordered(self, name, *, paused):
        if self.paused[name] != paused:
            self.paused[name] = paused
            self.changes[name].append((self.now_s(), paused))
            self.at_s[name] = self.now_s()

    @precondition(lambda self: self.running)
    @rule(name=every, settles=st.booleans())
    def pause(self, name, settles):
        self.session.live.pause(name)
        self.ordered(name, paused=True)
        if settles:
            self.clock.settle()

    @precondition(lambda self: self.running)
    @rule(name=every, settles=st.booleans())
    def resume(self, name, settles):
        self.session.live.resume(name)
        self.ordered(name, paused=False)
        if settles:
            self.clock.settle()

    @precondition(lambda self: self.running)
    @rule()
    def toggle(self):
        self.session.live.toggle_pause()
        paused = not all(self.paused.values())
        for name in self.paused:
            self.ordered(name, paused=paused)

    @precondition(lambda self: self.running)
    @rule(name=streams, plugged=st.booleans())
    def plug(self, name, plugged):
        self.session.cameras[name].plugged = plugged
        self.at_s[name] = self.now_s()

    @precondition(lambda self: self.running)
    @rule(milliseconds=st.integers(1, 900))
    def passes(self, milliseconds):
        self.clock.advance_s(milliseconds / 1000)

    @precondition(lambda self: self.running)
    @rule()
    def nothing_happens_until_all_devices_had_their_time(self):
        self.clock.advance_s(BACK_S + 0.1)

    @precondition(lambda self: self.running and self.now_s() > 2)
    @rule()
    def stop(self):
        self.session.close()
        self.running = False

    @precondition(lambda self: not self.running)
    @rule()
    def what_has_ended_sends_nothing(self):
        sent = len(self.session.sent)
        self.clock.advance_s(1)
        assert len(self.session.sent) == sent

    @invariant()
    def numbers_have_no_gaps(self):
        for name in self.paused:
            numbers = [message.seq for message in self.session.windows(name)]
            assert numbers == list(range(len(numbers)))

    @invariant()
    def a_message_says_paused_while_it_is_and_only_then(self):
        """What changes while a window waits for those of other streams may be seen either way."""
        for name, at in self.checked.items():
            windows = self.session.windows(name)
            for message in windows[at:]:
                sent_s = self.sent_s[name, message.seq]
                states = [paused for when_s, paused in self.changes[name] if when_s <= sent_s + 1e-6]
                just_now = any(-1e-3 < sent_s - when_s < BATCH_S + 1e-3 for when_s, _ in self.changes[name])
                if not just_now:
                    assert (message.state == "paused") == (bool(states) and states[-1]), (name, sent_s)
                if message.state == "paused":
                    assert message.text.committed == message.text.tentative == ""
                    assert message.score is None
                    assert not any(part.weight for part in message.modalities.values())
            self.checked[name] = len(windows)

    @invariant()
    def while_paused_nothing_is_taken_in(self):
        if self.running:
            self.clock.settle()
        for name, live in self.session.live.streams.items():
            if self.paused[name] and self.running:
                assert live.stream.paused.is_set()
                window = live.stream.window
                assert not (window._faces)
                assert not (window._voices)
                assert not (window._speech)
                assert not (window._text)
                if name in NAMES and self.now_s() - self.at_s[name] > 0.2:
                    assert self.session.cameras[name].held == self.session.microphones[name].held == 0

    @invariant()
    def what_runs_has_its_devices_open_and_no_device_is_open_twice(self):
        for name in NAMES:
            camera, microphone = self.session.cameras[name], self.session.microphones[name]
            assert camera.most_held <= 1
            assert microphone.most_held <= 1
            if self.running and not self.paused[name] and self.now_s() - self.at_s[name] > BACK_S:
                assert microphone.held == 1
                assert camera.held == 1 or not camera.plugged
        if not self.running:
            assert all(device.held == 0 for device in self.session.cameras.values())

    @invariant()
    def an_end_is_told_once_and_nothing_after_it(self):
        kinds = [event.kind for event in self.session.events("talk", "stream")]
        assert kinds.count("ended") <= 1
        if "ended" in kinds:
            (ended,) = [event for event in self.session.events("talk", "stream") if event.kind == "ended"]
            at = self.session.sent.index(ended)
            assert not [m for m in self.session.sent[at + 1 :] if getattr(m, "seq", None) and m.stream == "talk"]
            played_s = self.now_s() - sum(self.pauses_s("talk"))
            assert played_s >= FILE_S - 1e-6

    def pauses_s(self, name):
        """How long each pause of a stream has been so far."""
        begin_s = None
        for when_s, paused in [*self.changes[name], (self.now_s(), False)]:
            if paused:
                begin_s = when_s
            elif begin_s is not None:
                yield when_s - begin_s
                begin_s = None

    def teardown(self):
        if self.running:
            # A file that goes on comes to its end, and says so.
            self.session.live.resume("talk")
            self.ordered("talk", paused=False)
            self.clock.advance_s(FILE_S + 1.5)
            assert [event.kind for event in self.session.events("talk", "stream")].count("ended") == 1
            self.an_end_is_told_once_and_nothing_after_it()
            self.session.close()


TestLive = Machine.TestCase
TestLive.settings = settings(
    max_examples=15, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_paused_file_stands_still_and_goes_on_where_it_stood():
    """By the items that its stream takes in: none in the pause, and afterwards the one that comes next in the file."""
    clock = MockClock(100 * NS_PER_S)
    session = MockSession(clock, names=(), files={"talk": 5.0})
    live = session.live.streams["talk"]
    player, taken = live._player, []
    for track in player._tracks:

        def noted(item, sink=track.sink, name=track.name):
            taken.append((clock.now_ns(), name, item))
            sink(item)

        track.sink = noted
    session.start()
    clock.advance_s(1.53)
    session.live.pause("talk")
    clock.settle()
    stood_ns, count = player.playhead.now_ns(), len(taken)
    clock.advance_s(20)
    assert player.playhead.now_ns() == stood_ns == int(1.53 * NS_PER_S)
    assert len(taken) == count
    assert {message.state for message in session.windows("talk")[7:]} == {"paused"}
    session.live.resume("talk")
    clock.advance_s(5)
    assert not session.thread.is_alive()
    for name, step_ns in (("picture", FRAME_NS), ("sound", mock_session.BLOCK_NS)):
        times = [(at_ns, item.t_ns) for at_ns, kind, item in taken if kind == name]
        assert len(times) == 50
        stamps = [t_ns for _, t_ns in times]
        gaps = [later - earlier for earlier, later in pairwise(stamps)]
        assert sorted(gaps)[:-1] == [step_ns] * 48
        assert max(gaps) == step_ns + 20 * NS_PER_S
    assert [event.kind for event in session.events("talk", "stream")] == ["paused", "resumed", "ended"]
