"""Streams that come and go while a session runs, on a clock that moves when all its threads wait."""

import gc
import logging
import threading
import weakref
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from realtime.clock import VirtualClock
from realtime.config.rule import RuleConfig
from realtime.config.schema import Config, StreamConfig
from realtime.errors import AgfnError, SourceError, UsageError
from realtime.extract.face.memory import RESTS, FaceMemory
from realtime.extract.voice.prosody import OwnVoice
from realtime.metrics.collector import Metrics
from realtime.publish.messages import Origin, Sentiment
from realtime.publish.outlet import Outlet
from realtime.recording.reader import open_recordings
from realtime.rules.sink import Rules
from realtime.session import stream as session_stream
from realtime.session.live_stream import LiveStream
from realtime.session.playback import RecordingReplay, recorded_settings
from realtime.session.state import StreamState
from realtime.sinks.osc import OscSink
from realtime.terminal.view import LogView
from realtime.types import NS_PER_S
from scripts.harness import mock_session
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import MockSession, script_of

BEGIN_NS = 100 * NS_PER_S
NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


@pytest.fixture
def clock(monkeypatch):
    made = MockClock(BEGIN_NS)
    monkeypatch.setattr(
        session_stream, "utc_now", lambda: NOON + timedelta(microseconds=(made.now_ns() - BEGIN_NS) // 1000)
    )
    return made


@pytest.fixture
def start(clock):
    running = []

    def begin(names=("desk",), **options):
        running.append(MockSession(clock, names, **options))
        running[-1].start()
        return running[-1]

    yield begin
    for session in running:
        session.close()


def seqs(session, name):
    return [message.seq for message in session.windows(name)]


def in_thread(clock, do):
    """Do something in a thread of the clock, as a command from outside is done, and return what came of it."""
    got = []

    def work():
        try:
            got.append(do())
        except AgfnError as error:
            got.append(error)

    thread = clock.start(work, "asker")
    while thread.is_alive():
        clock.advance_s(0.1)
    return got[0]


def test_a_stream_comes_and_goes_and_the_other_one_misses_nothing(clock, start):
    session = start()
    clock.advance_s(1.1)
    in_thread(clock, lambda: session.live.add(session.plug("sofa")))
    clock.advance_s(2)
    camera = session.cameras["sofa"]
    assert camera.held == 1
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    assert camera.held == session.microphones["sofa"].held == 0
    assert list(session.live.streams) == ["desk"]
    said = len(session.windows("sofa"))
    clock.advance_s(2)

    windows = session.windows("sofa")
    assert len(windows) == said
    assert [message.seq for message in windows] == list(range(said))
    assert [round(message.window.end_s, 6) for message in windows] == [0.25 * (seq + 1) for seq in range(said)]
    assert state.seq == said
    assert session.events("sofa", "stream")[-1].kind == "ended"
    assert session.events("sofa", "stream")[-1].cause == "removed"
    assert session.healths("sofa")
    ends = {message.utc for message in session.windows("desk")}
    assert ends
    assert seqs(session, "desk") == list(range(len(seqs(session, "desk"))))


def test_all_windows_of_a_tick_lie_on_one_grid(clock, start):
    session = start()
    ends_ns = []
    session.outlet.subscribe(lambda message: ends_ns.append((message.stream, clock.now_ns())), Sentiment)
    clock.advance_s(1.07)
    in_thread(clock, lambda: session.live.add(session.plug("sofa")))
    clock.advance_s(1.5)
    sofa = [at for name, at in ends_ns if name == "sofa"]
    assert sofa
    assert set(sofa) <= {at for name, at in ends_ns if name == "desk"}


def test_windows_for_words_count_in_the_numbers_of_a_stream_that_goes_on_and_not_in_its_time(clock, start):
    session = start(("desk", "sofa"), script=script_of([(101.0, "really great", 2.5)]))
    clock.advance_s(3.1)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    before = session.windows("sofa")
    assert [message.reason for message in before].count("word") == state.words == 2
    clock.advance_s(2)
    in_thread(clock, lambda: session.live.add(session.plug("sofa"), StreamState.from_json(state.to_json()).leased(7)))
    clock.advance_s(2)
    after = session.windows("sofa")[len(before) :]
    assert after[0].seq - before[-1].seq - 1 == pytest.approx(2 / 0.25, abs=2)
    for message in after:
        assert message.window.end_s == pytest.approx(0.25 * (message.seq + 1 - 2))


def test_a_stream_that_is_taken_up_again_counts_the_windows_that_nobody_made(clock, start):
    session = start(("desk", "sofa"))
    clock.advance_s(2.1)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    before, events = session.windows("sofa"), session.events("sofa")
    clock.advance_s(5)
    state = StreamState.from_json(state.to_json()).leased(7)
    in_thread(clock, lambda: session.live.add(session.plug("sofa"), state))
    clock.advance_s(2)

    after = session.windows("sofa")[len(before) :]
    lost = after[0].seq - before[-1].seq - 1
    assert lost == pytest.approx(5 / 0.25, abs=2)
    for message in (*before, *after):
        assert message.window.end_s == pytest.approx(0.25 * (message.seq + 1))
    assert [later.seq - early.seq for early, later in pairwise(after)] == [1] * (len(after) - 1)
    assert {message.epoch for message in before} == {0}
    assert {message.epoch for message in after} == {7}
    again = session.events("sofa")[len(events) :]
    numbers = [int(event.id.rsplit("-", 1)[1]) for event in (*events, *again)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {event.epoch for event in again} == {health.epoch for health in session.healths("sofa")[-1:]} == {7}


def test_what_was_said_before_leans_on_and_nothing_is_forgotten_but_the_window(clock, start):
    session = start(script=script_of([(100.6, "this was a really lovely film", 2.0)]))
    clock.advance_s(4.1)
    state = in_thread(clock, lambda: session.live.remove("desk"))
    assert state.smoother.score > 0.5
    assert state.face_id == 1
    assert not session.live.streams


class Remembering:
    """Extractors that learn something of their stream."""

    class Face(mock_session.MockFace):
        def __init__(self):
            self.memory = FaceMemory(mock_session.wave(0, RESTS), 60.0)

        def feed(self, frame):
            self.memory.subtract(mock_session.wave(frame.t_ns, RESTS), frame.t_ns)
            return super().feed(frame)

    class Voice(mock_session.MockVoice):
        def __init__(self):
            self.memory = OwnVoice()

        def feed(self, chunk):
            level_db, pitch_oct, level_s, pitch_s = self.memory.usual
            self.memory.usual = np.array([level_db + 0.2, pitch_oct, level_s + 0.05, pitch_s + 0.05], np.float32)
            return super().feed(chunk)


def test_baselines_go_along_and_are_forgotten_with_a_pause(clock, start):
    session = start()
    session.models.face, session.models.voice = Remembering.Face, Remembering.Voice
    in_thread(clock, lambda: session.live.add(session.plug("sofa")))
    clock.advance_s(3)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    assert state.voice.level_db > -25
    assert state.face.rest_s > 15

    in_thread(clock, lambda: session.live.add(session.plug("sofa"), state))
    clock.advance_s(0.3)
    again = session.live.snapshot("sofa")
    assert again.voice.level_s > state.voice.level_s
    assert again.face.rest_s >= state.face.rest_s
    session.live.pause("sofa")
    clock.settle()
    paused = session.live.snapshot("sofa")
    assert paused.paused
    assert (paused.face, paused.voice, paused.smoother, paused.context.said) == (None, None, None, ())


def test_a_paused_stream_stays_paused_and_opens_nothing_until_it_is_resumed(clock, start):
    session = start(("desk", "sofa"))
    clock.advance_s(1)
    session.live.pause("sofa")
    clock.advance_s(1)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    assert state.paused
    in_thread(clock, lambda: session.live.add(session.plug("sofa"), state))
    clock.advance_s(1)
    camera = session.cameras["sofa"]
    assert camera.opened == 0
    assert session.windows("sofa")[-1].state == "paused"
    session.live.resume("sofa")
    clock.advance_s(2)
    assert camera.opened == 1
    assert session.windows("sofa")[-1].state == "ok"


class Unreadable(dict):
    def get(self, _):
        raise SourceError("talk.mp4: no such file")


def test_what_can_not_be_is_refused_in_words_and_leaves_nothing(clock, start):
    session = start(settings={"host": {"max_streams": 2}})
    clock.advance_s(1)
    threads = threading.active_count()
    live = session.live
    state = live.snapshot("desk")

    def refusal(do):
        error = in_thread(clock, do)
        assert isinstance(error, AgfnError)
        return str(error)

    assert "there is a stream desk already" in refusal(lambda: live.add(session.plug("desk")))
    assert "there is no stream sofa" in refusal(lambda: live.remove("sofa"))
    assert "there is no stream sofa" in refusal(lambda: live.snapshot("sofa"))
    assert "the state is of stream desk" in refusal(lambda: live.add(session.plug("sofa"), state))
    other = state.model_copy(update={"stream": "sofa", "hop_s": 0.5})
    assert "a hop of 0.5 s" in refusal(lambda: live.add(session.plug("sofa"), other))

    session.files = Unreadable()
    assert "talk.mp4: no such file" in refusal(lambda: live.add(StreamConfig(name="talk", source="talk.mp4")))
    session.files = {}
    in_thread(clock, lambda: live.add(session.plug("sofa")))
    assert "2 streams already, which is host.max_streams" in refusal(lambda: live.add(session.plug("hall")))
    in_thread(clock, lambda: live.remove("sofa"))
    clock.advance_s(1)
    assert threading.active_count() == threads
    assert list(live.streams) == ["desk"]


def test_a_stream_whose_stages_cannot_be_taken_in_is_given_up(clock, start, monkeypatch):
    session = start()
    clock.advance_s(1)
    threads = threading.active_count()
    monkeypatch.setattr(LiveStream, "begin", lambda *_: (_ for _ in ()).throw(UsageError("no")))
    assert isinstance(in_thread(clock, lambda: session.live.add(session.plug("sofa"))), UsageError)
    clock.advance_s(1.5)
    assert session.cameras["sofa"].held == 0
    assert threading.active_count() == threads
    monkeypatch.undo()


def test_a_session_that_does_not_run_takes_nothing(clock):
    session = MockSession(clock)
    with pytest.raises(AgfnError, match="does not run"):
        session.live.add(session.plug("sofa"))
    session.run(1.0)
    with pytest.raises(AgfnError, match="does not run"):
        session.live.remove("desk")


def test_a_session_ends_with_its_last_stream_unless_it_stays(clock):
    for stays in (False, True):
        session = MockSession(clock, stays=stays)
        session.start()
        clock.advance_s(1)
        in_thread(clock, lambda live=session.live: live.remove("desk"))
        clock.advance_s(1)
        assert session.thread.is_alive() == stays
        if stays:
            in_thread(clock, lambda made=session: made.live.add(made.plug("sofa")))
            clock.advance_s(1)
            assert session.windows("sofa")
        session.close()


def test_a_session_may_begin_without_a_stream(clock):
    session = MockSession(clock, (), stays=True)
    session.start()
    clock.advance_s(1)
    in_thread(clock, lambda: session.live.add(session.plug("sofa")))
    clock.advance_s(1)
    session.close()
    assert session.windows("sofa")
    assert not session.windows("desk")


def test_a_file_that_has_ended_may_be_removed_and_played_again(clock, start):
    session = start(files={"talk": 1.0})
    clock.advance_s(3)
    assert [event.kind for event in session.events("talk", "stream")] == ["ended"]
    in_thread(clock, lambda: session.live.remove("talk"))
    assert [event.kind for event in session.events("talk", "stream")] == ["ended"]
    before = len(session.windows("talk"))
    in_thread(clock, lambda: session.live.add(StreamConfig(name="talk", source="made.mp4")))
    clock.advance_s(3)
    again = session.windows("talk")[before:]
    assert [message.seq for message in again] == list(range(len(again)))
    assert before <= len(again) <= before + 2  # it begins within a window
    assert [event.kind for event in session.events("talk", "stream")] == ["ended", "ended"]


def test_a_stream_that_comes_again_is_recorded_into_a_file_of_its_own_which_replays_alike(clock, start, tmp_path):
    session = start(
        ("desk", "sofa"),
        script=script_of([(100.3, "this was really lovely", 2.0), (103.9, "but I hated the end", -2.0)]),
        settings={"record": {"folder": str(tmp_path)}, "fusion": {"backend": "torch"}},
    )
    clock.advance_s(2)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    before = len(session.windows("sofa"))
    in_thread(clock, lambda: session.live.add(session.plug("sofa"), state.leased(2)))
    clock.advance_s(4)
    in_thread(clock, lambda: session.live.remove("sofa"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desk.mcap", "sofa-2.mcap", "sofa.mcap"]

    (recording,) = open_recordings(tmp_path / "sofa-2.mcap")
    got = []
    config, virtual = recorded_settings(Config(), recording), VirtualClock()
    outlet = Outlet.into(got.append)
    RecordingReplay(config, recording, session.models.fuser, virtual, outlet, fast=True).run(threading.Event())
    live, again = session.windows("sofa")[before:], [said for said in got if isinstance(said, Sentiment)]
    assert len(live) > 12
    assert [said.seq for said in again] == [said.seq for said in live]
    assert [said.window.end_s for said in again] == [said.window.end_s for said in live]
    first = next(number for number, said in enumerate(live) if said.score is not None)
    # Frames of the mock microphone are longer than those that a recording is made for: what is heard differs a little.
    assert again[first].score == pytest.approx(live[first].score, abs=0.1)


class Follower:
    def __init__(self):
        self.told = []

    def stream_came(self, stream, origin):
        self.told.append(("came", stream, origin.epoch))

    def stream_went(self, stream):
        self.told.append(("went", stream, None))


def test_sinks_are_told_before_the_first_message_and_after_the_last(clock, start):
    session = start(("desk", "sofa"))
    follower = Follower()
    session.outlet.follow(follower)
    session.outlet.subscribe(lambda message: follower.told.append(("said", message.stream, None)), Sentiment)
    clock.advance_s(1)
    state = in_thread(clock, lambda: session.live.remove("sofa"))
    in_thread(clock, lambda: session.live.add(session.plug("sofa"), state.leased(3)))
    clock.advance_s(1)
    sofa = [told for told in follower.told if told[1] == "sofa"]
    went, came = sofa.index(("went", "sofa", None)), sofa.index(("came", "sofa", 3))
    assert came == went + 1
    assert {what for what, *_ in sofa[:went]} == {what for what, *_ in sofa[came + 1 :]} == {"said"}


def test_a_hundred_adds_and_removes_leave_nothing_behind(clock, start, caplog, request):
    caplog.set_level(logging.WARNING)
    session = start((), stays=True, settings={"window": {"hop_s": 0.5}})
    outlet = session.outlet
    metrics, rules = Metrics([]), Rules({"low": RuleConfig(when="score < -1", command=("/bin/true",))}, ["desk"])
    osc = OscSink("127.0.0.1:9", words=True)
    for sink in (metrics, rules, osc, LogView(["desk"], None, clock)):
        sink.subscribe(outlet)
    for sink in (rules, osc):
        request.addfinalizer(sink.close)
    clock.advance_s(0.5)
    alive, counts, held = [], [], []
    for number in range(100):
        name = f"guest-{number}"
        in_thread(clock, lambda name=name: session.live.add(session.plug(name)))
        alive.append(weakref.ref(session.live.streams[name]))
        clock.advance_s(0.6)
        assert session.windows(name)
        in_thread(clock, lambda name=name: session.live.remove(name))
        del session.cameras[name], session.microphones[name]
        if number in {9, 99}:
            session.sent.clear()
            gc.collect()
            held.append((threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))
            counts.append(
                (
                    sum(len(each) for each in outlet._subscribers.values()),
                    len(list(metrics.registry.collect())),
                    sum(len(family.samples) for family in metrics.registry.collect()),
                )
            )
    assert counts[0] == counts[1]
    # Of the whole process, in which what an earlier test left may end meanwhile.
    assert [after - before for before, after in zip(*held, strict=True) if after > before] == []
    assert [ref() for ref in alive if ref() is not None] == []
    assert not session.live._told_ns
    assert [line for line in caplog.messages if "guest-" in line] == []


def test_a_sink_that_can_not_take_a_stream_keeps_it_from_nobody(caplog):
    class Broken(Follower):
        def stream_came(self, *_):
            raise OSError("no more sockets")

    outlet, follower = Outlet(), Follower()
    outlet.follow(Broken())
    outlet.follow(follower)
    outlet.came("sofa", Origin(2))
    outlet.went("sofa")
    assert follower.told == [("came", "sofa", 2), ("went", "sofa", None)]
    assert "stream sofa: Broken did not take it" in caplog.text
