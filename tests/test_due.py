"""Windows that close early: as soon as nothing is on its way to them, and never with less than at their last moment."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import WindowConfig
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.fuse.due import Due
from realtime.fuse.window import Window
from realtime.types import FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures, Word

MS = 1_000_000
HOP, LATENESS = 250 * MS, 150 * MS
DEVICES = {"face": "camera", "voice": "microphone", "text": "microphone"}
STEP = np.zeros(512, np.float32)


def face(t_ns):
    return FaceFeatures(t_ns, np.full(FACE_DIM, t_ns / 1e9, np.float32), True, 1, 0.9, 300.0, 0.5, 0.02, 1)


class Script:
    """What arrives at a window, and when: devices deliver in order, each stage works in order and takes its time."""

    def __init__(self):
        self.arrivals = []

    def at(self, t_ns, name, *given):
        self.arrivals.append((t_ns, len(self.arrivals), name, given))

    def pictures(self, moments, on_the_way, costs, looked_at):
        """A stage that takes the newest picture: those that come while it works are dropped but for the last."""
        free_ns, waiting, came_ns = 0, None, 0
        worked = []
        for t_ns, late, cost, looks in zip(moments, on_the_way, costs, looked_at, strict=True):
            came_ns = max(came_ns, t_ns + late)
            if not looks:
                self.at(came_ns, "passed_over", "camera", t_ns)
                continue
            if waiting is not None and came_ns >= free_ns:
                worked.append((waiting[0], free_ns := max(free_ns, waiting[1]) + waiting[2]))
                waiting = None
            self.at(came_ns, "saw", "camera", t_ns)
            waiting = (t_ns, came_ns, cost)
        if waiting is not None:
            worked.append((waiting[0], max(free_ns, waiting[1]) + waiting[2]))
        for t_ns, done_ns in worked:
            self.at(done_ns, "add_face", face(t_ns))
            self.at(done_ns, "worked_off", "face", t_ns)

    def sound(self, ends, on_the_way, costs):
        """Blocks of any length; a vector every 100 ms and a step every 32 ms of it, each by a stage of its own."""
        came_ns, arrived = 0, []
        for end_ns, late in zip(ends, on_the_way, strict=True):
            came_ns = max(came_ns, end_ns + late)
            arrived.append(came_ns)
            self.at(came_ns, "saw", "microphone", end_ns)
        for stage, step_ns in (("voice", 100 * MS), ("speech", 32 * MS)):
            free_ns = number = 0
            for end_ns, came_ns, cost in zip(ends, arrived, costs, strict=True):
                free_ns = max(free_ns, came_ns) + cost
                while (number + 1) * step_ns <= end_ns:
                    number += 1
                    if stage == "voice":
                        self.at(free_ns, "add_voice", VoiceFeatures(number * step_ns, np.full(VOICE_DIM, number)))
                    else:
                        begin_ns = (number - 1) * step_ns
                        self.at(free_ns, "add_speech", SpeechFrame(begin_ns, STEP, 0.9, -20.0, 20.0, 0.0))
                self.at(free_ns, "worked_off", stage, end_ns)


def times(least_ms, most_ms, count):
    gaps = st.lists(st.integers(least_ms * MS, most_ms * MS), min_size=count, max_size=count)
    return gaps.map(lambda found: np.cumsum(found).tolist())


def delays(count, most_ms):
    return st.lists(st.integers(0, most_ms * MS), min_size=count, max_size=count)


@st.composite
def scripts(draw):
    script, looked_at = Script(), [True]
    for looks in draw(st.lists(st.booleans(), min_size=29, max_size=29)):
        looked_at.append(looks or not looked_at[-1])
    script.pictures(draw(times(20, 150, 30)), draw(delays(30, 60)), draw(delays(30, 220)), looked_at)
    script.sound(draw(times(5, 60, 60)), draw(delays(60, 50)), draw(delays(60, 15)))
    return sorted(script.arrivals)


class Playing:
    """A window that takes in a script, and is closed when a test says so."""

    def __init__(self, arrivals):
        self.clock = VirtualClock()
        self.window = Window("desk", WindowConfig(), DEVICES, self.clock)
        self.told = []
        self.window.on_whole = lambda: self.told.append(self.clock.now_ns())
        self._left = list(arrivals)[::-1]

    def next(self, before_ns):
        """Take the next that arrives before a time; False where there is none."""
        if not self._left or self._left[-1][0] >= before_ns:
            self.clock.advance_to(before_ns)
            return False
        at_ns, _, name, given_ = self._left.pop()
        self.clock.advance_to(at_ns)
        getattr(self.window, name)(*given_)
        return True

    def close(self, end_ns, *, early):
        """Close a window when it is whole, or when it is due, and return the time with it."""
        while self.next(end_ns):
            pass
        waits = not early or self.window.awaits(end_ns)
        while waits and not self.told and self.next(end_ns + LATENESS):
            pass
        assert len(self.told) <= 1
        self.told.clear()
        return self.clock.now_ns(), self.window.close(end_ns)


def moments_ns(arrivals, device):
    """When samples of a device were seen, and their times."""
    return [(at_ns, given_[1]) for at_ns, _, name, given_ in arrivals if name == "saw" and given_[0] == device]


@given(scripts())
@settings(max_examples=80, deadline=None)
def test_a_window_that_closes_early_holds_what_it_would_have_held_when_due(arrivals):
    """While both devices deliver: what is lost, or was never there, is not waited for."""
    cameras, sounds = (moments_ns(arrivals, device) for device in ("camera", "microphone"))
    begin_ns, end_of_all = max(cameras[0][0], sounds[0][0]), min(cameras[-1][1], sounds[-1][1])
    early, due, sooner = Playing(arrivals), Playing(arrivals), 0
    for end_ns in range(HOP, end_of_all + 1, HOP):
        at_ns, view = early.close(end_ns, early=True)
        due_ns, other = due.close(end_ns, early=False)
        assert end_ns <= at_ns <= due_ns == end_ns + LATENESS
        sooner += at_ns < due_ns
        for name, part in view.segments.items() if end_ns > begin_ns else ():
            kept = other.segments[name]
            np.testing.assert_array_equal(part.values, kept.values)
            np.testing.assert_array_equal(part.times_s, kept.times_s)
            assert (part.reliability, part.state, part.age_ms) == (kept.reliability, kept.state, kept.age_ms), name
    assert sooner or end_of_all < 2 * HOP


def whole(due, end_ms=1000):
    return due.nothing(end_ms * MS)


def healthy():
    due = Due(DEVICES)
    for t_ms in range(0, 1001, 20):
        due.saw("microphone", t_ms * MS)
        due.worked_off("voice", t_ms * MS)
        due.worked_off("speech", t_ms * MS)
    for t_ms in range(0, 1001, 100):
        due.saw("camera", t_ms * MS)
        due.worked_off("face", t_ms * MS)
    return due


def test_a_window_waits_for_the_sound_up_to_its_end():
    due = healthy()
    assert whole(due)
    assert not whole(due, 1010)
    due.saw("microphone", 1020 * MS)
    due.saw("camera", 1020 * MS)
    due.worked_off("voice", 1020 * MS)
    assert not whole(due, 1010), "how much of it is speech is not known yet"
    due.worked_off("speech", 1020 * MS)
    assert whole(due, 1010)


def test_a_window_waits_for_a_picture_that_is_being_looked_at_and_not_for_one_after_its_end():
    due = healthy()
    due.saw("camera", 1100 * MS)
    assert whole(due), "the picture in work is not of this window"
    for stage in ("voice", "speech"):
        due.worked_off(stage, 1120 * MS)
    assert not whole(due, 1100)
    due.saw("camera", 1150 * MS)
    assert not whole(due, 1120), "that of 1.1 s is in work"
    due.worked_off("face", 1100 * MS)
    assert whole(due, 1120)


def test_a_picture_that_is_not_looked_at_tells_that_none_before_it_is_missing():
    due = healthy()
    for stage in ("voice", "speech"):
        due.worked_off(stage, 1120 * MS)
    assert not whole(due, 1050)
    due.passed_over("camera", 1040 * MS)
    assert not whole(due, 1050)
    due.passed_over("camera", 1060 * MS)
    assert whole(due, 1050)
    due.saw("camera", 1070 * MS)
    assert not whole(due, 1080)


def test_a_picture_that_was_dropped_for_a_newer_one_is_not_waited_for():
    due = healthy()
    for t_ms in (1040, 1080, 1120):
        due.saw("camera", t_ms * MS)
    for stage in ("voice", "speech"):
        due.worked_off(stage, 1120 * MS)
    due.worked_off("face", 1080 * MS)
    assert whole(due, 1100)


@pytest.mark.parametrize("why", ["lost", "silent", "never", "stale", "off"])
def test_what_is_lost_stale_or_off_is_never_waited_for(why):
    due = Due(DEVICES if why != "off" else {"voice": "microphone", "text": "microphone"})
    end_ms = 3000
    if why != "never":
        due.saw("camera", (2400 if why == "silent" else 2900) * MS)
        due.worked_off("face", (900 if why == "stale" else 2400) * MS)
    due.saw("microphone", end_ms * MS)
    for stage in ("voice", "speech"):
        due.worked_off(stage, end_ms * MS)
    if why == "lost":
        assert not whole(due, end_ms)
        due.lost("camera")
    assert whole(due, end_ms)
    if why == "lost":
        due.saw("camera", 2950 * MS)
        assert not whole(due, end_ms), "it is back"


def test_after_a_pause_nothing_from_before_is_waited_for():
    window = Window("desk", WindowConfig(), DEVICES, VirtualClock())
    window.saw("camera", 900 * MS)
    told = []
    window.on_whole = lambda: told.append(1)
    assert window.awaits(1000 * MS)
    window.pause()
    assert told == [1]
    assert not window.awaits(1000 * MS)
    window.resume()
    assert not window.awaits(1250 * MS)
    window.saw("camera", 1200 * MS)
    assert window.awaits(1250 * MS)


def said(*locations, committed, begin_ms=500):
    words = tuple(
        Word((begin_ms + 300 * n) * MS, (begin_ms + 300 * n + 250) * MS, "word", 0.9, n < committed)
        for n in range(len(locations))
    )
    values = np.zeros((len(words), TEXT_DIM), np.float32)
    values[:, 0] = locations
    return TextFeatures(2000 * MS, words, values)


def test_an_opinion_word_is_told_once_when_it_is_committed_and_again_only_after_the_next_window():
    window = Window("desk", WindowConfig(), DEVICES, VirtualClock())
    told = []
    window.on_word = lambda: told.append(len(told))
    window.add_text(said(0.1, 0.2, 2.0, committed=2))
    assert not told, "it may be taken back"
    window.add_text(said(0.1, 0.2, 2.0, committed=3))
    assert told == [0]
    window.add_text(said(0.1, 0.2, 2.0, -1.0, committed=4))
    assert told == [0], "the message is on its way"
    window.close(1000 * MS)
    window.add_text(said(0.1, 0.2, 2.0, -1.0, -1.4, committed=5))
    assert told == [0], "what was said is what the last message said"
    window.add_text(said(0.1, 0.2, 2.0, -1.0, -1.4, -1.6, committed=6))
    assert told == [0, 1]
    window.close(1250 * MS)
    window.add_text(replace(said(-1.0, 2.0, committed=2), language="de"))
    assert told == [0, 1], "it is not judged"


def test_a_new_utterance_begins_at_nothing_said():
    window = Window("desk", WindowConfig(), DEVICES, VirtualClock())
    told = []
    window.on_word = lambda: told.append(1)
    window.add_text(said(2.0, committed=1))
    window.close(1000 * MS)
    window.add_text(said(0.2, committed=1, begin_ms=3000))
    assert told == [1], "that the one before was positive makes no word of the next one news"
    window.add_text(said(0.2, 0.6, committed=2, begin_ms=3000))
    assert told == [1, 1]
