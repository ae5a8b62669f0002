"""Recordings played as the streams of a fleet: one axis of time for all, windows taken together, and a pause."""

from dataclasses import dataclass
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.fuse.worker import fuser_of
from realtime.types import NS_PER_S
from scripts.fleeting.arrivals import Heard
from scripts.fleeting.dues import Dues, Together
from scripts.fleeting.loop import Loop, PlayedClock
from scripts.fleeting.session import phase_ns
from scripts.fleeting.twin import AFTER_S, BEFORE_S, difference, quiet_in_s, twin

MS = 1_000_000
NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


def dues(*at, gather_ns=40 * MS, most=64):
    made = Dues(gather_ns, most)
    for due_ns, stream in at:
        made.put(due_ns, stream)
    return made


def test_windows_that_are_due_soon_after_one_another_are_closed_together_once_all_of_them_are():
    found = dues((130 * MS, "c"), (100 * MS, "a"), (141 * MS, "d"), (120 * MS, "b"))
    assert found.take(0) == Together(130 * MS, ("a", "b", "c"))
    assert found.take(0) == Together(141 * MS, ("d",))
    assert found.take(0) is None


def test_a_window_that_no_other_follows_soon_is_not_held_up():
    assert dues((100 * MS, "a"), (1000 * MS, "b")).take(0) == Together(100 * MS, ("a",))


def test_what_is_due_by_now_goes_at_once_and_a_batch_has_its_bound():
    late = dues(*[(second * NS_PER_S, f"s{second}") for second in range(1, 6)], most=4)
    assert late.take(10 * NS_PER_S).streams == ("s1", "s2", "s3", "s4")
    assert late.take(10 * NS_PER_S).streams == ("s5",)


def test_a_stream_that_has_gone_is_due_no_more():
    found = dues((100 * MS, "a"), (110 * MS, "b"))
    found.forget("a")
    assert found.take(0) == Together(110 * MS, ("b",))


@given(st.lists(st.integers(0, 500), max_size=40), st.integers(0, 60), st.integers(1, 8))
def test_each_window_is_taken_once_in_order_and_waits_no_longer_than_it_may(at, gather, most):
    found, taken = dues(*[(due, str(number)) for number, due in enumerate(at)], gather_ns=gather, most=most), []
    while (batch := found.take(0)) is not None:
        assert len(batch.streams) <= most
        waits = [batch.due_ns - at[int(stream)] for stream in batch.streams]
        assert all(0 <= wait <= gather for wait in waits)
        taken += batch.streams
    assert sorted(taken, key=lambda stream: (at[int(stream)], stream)) == taken
    assert len(taken) == len(at)


def test_streams_in_one_turn_of_a_recording_share_its_items(recording):
    loop = Loop(recording)
    one, other = loop.beats(3 * loop.length_ns), loop.beats(3 * loop.length_ns)
    for _ in range(50):
        assert next(one) is next(other)


def test_a_recording_goes_on_where_it_begins_again_and_from_any_place(recording):
    loop = Loop(recording)
    first, begin_ns = list(_of(loop, 0, loop.length_ns)), 7 * loop.length_ns
    again = list(_of(loop, begin_ns, begin_ns + loop.length_ns))
    assert [(beat.at_ns + begin_ns, beat.topic) for beat in first] == [(beat.at_ns, beat.topic) for beat in again]
    faces = [(one.item, two.item) for one, two in zip(first, again, strict=True) if one.topic == "face"]
    assert faces
    assert all(two.t_ns - one.t_ns == begin_ns for one, two in faces)
    assert all(two.values is one.values for one, two in faces)
    middle_ns = begin_ns + loop.length_ns // 2
    assert list(_of(loop, middle_ns, begin_ns + loop.length_ns)) == [beat for beat in again if beat.at_ns >= middle_ns]


def test_a_played_stream_is_at_its_own_place_of_the_loop_and_at_the_time_of_what_is_fed():
    real = VirtualClock(100)
    clock = PlayedClock(real, ahead_ns=7)
    assert clock.now_ns() == 107
    clock.at_ns = 93
    assert clock.now_ns() == 93


def test_in_the_pause_of_a_recording_camera_and_microphone_go_on_and_nobody_speaks(recording):
    loop, spoken = Loop(recording, pause_s=5), Loop(recording)
    assert (loop.speaks_ns, loop.length_ns) == (spoken.length_ns, spoken.length_ns + 5 * NS_PER_S)
    pause = list(_of(loop, loop.speaks_ns + 1, loop.length_ns))
    for second in range(5):
        begin_ns = loop.speaks_ns + second * NS_PER_S
        there = [beat for beat in pause if begin_ns <= beat.at_ns < begin_ns + NS_PER_S]
        assert {beat.topic for beat in there} == {"seen", "face", "voice", "speech"}
        assert len({beat.item[0] for beat in there if beat.topic == "seen"}) == 2
        assert all(beat.item.probability == 0 for beat in there if beat.topic == "speech")
        assert all(beat.item.t_ns > begin_ns - NS_PER_S for beat in there if beat.topic != "seen")


@dataclass
class Turn:
    """A loop of which only the lengths count."""

    speaks_ns: int
    length_ns: int


@given(st.lists(st.integers(0, 59), min_size=1, max_size=30))
def test_the_moment_at_which_most_streams_are_quiet_is_found(at_s):
    turn = Turn(40 * NS_PER_S, 60 * NS_PER_S)
    first, last = 40 + 4 + BEFORE_S, 60 - AFTER_S
    wait_s, quiet = quiet_in_s([second * NS_PER_S for second in at_s], turn, 4.0)

    def quiet_after(wait_s):
        return sum(first <= (second + wait_s) % 60 <= last for second in at_s)

    assert quiet == quiet_after(wait_s) == max(quiet_after(each) for each in range(60))
    assert 0 <= wait_s < 60


def test_without_a_pause_that_is_long_enough_nothing_is_waited_for():
    assert quiet_in_s([0], Turn(40 * NS_PER_S, 45 * NS_PER_S), 4.0) == (0.0, 0)


def test_an_heir_is_compared_with_its_twin_but_for_a_turn_of_the_recording_in_between(recording):
    config, loop = Config.model_validate({"window": {"hop_s": 1.0}}), Loop(recording, pause_s=25)
    fuser, name = fuser_of(config, VirtualClock()), "s0001"
    turns = -(-loop.length_ns // NS_PER_S)
    said = twin(name, NOON, 2 * turns, config, loop, fuser)
    begin = -phase_ns(name, loop) % loop.length_ns // NS_PER_S  # the first window of the next turn

    def heir(cut):
        """What is heard when the host dies at a window, and its heir says the same from the third after it on."""
        heard = [arrival(message, 1 if seq <= cut else 2) for seq, message in said.items() if not cut < seq < cut + 3]
        return difference(heard, NOON, config, loop, fuser)

    quiet = heir(begin + turns - 12)
    assert (quiet.score, quiet.raw, quiet.context) == (0.0, 0.0, 0.0)
    assert (quiet.spoken, quiet.turned) == (False, False)
    assert heir(begin + 2).spoken
    assert heir(begin + turns - 3).turned


def arrival(message, epoch):
    """A message as it is heard, at once."""
    end_s = NOON.timestamp() + message.window.end_s
    told = message.score, message.raw, message.context
    return Heard(end_s, message.stream, message.seq, epoch, None, end_s, *told, 0.0)


def _of(loop, from_ns, until_ns):
    for beat in loop.beats(from_ns):
        if beat.at_ns >= until_ns:
            return
        yield beat
