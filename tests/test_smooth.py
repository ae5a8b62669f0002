"""The published score (realtime/fuse/smooth.py): at once where something was said, calm in between."""

import pytest

from realtime.fuse.smooth import EVENT_S, QUIET, QUIET_S, Smoother

HOP_NS = 250_000_000


def play(smoother, raws, events=None, opinion="partial", start=0):
    return [
        smoother.feed((start + number + 1) * HOP_NS, raw, events[number] if events else "same", opinion)
        for number, raw in enumerate(raws)
    ]


def test_a_committed_word_moves_the_score_within_half_a_second():
    smoother = Smoother(1.0)
    play(smoother, [-2.0] * 12)
    after = play(smoother, [2.0] * 3, ["new"] * 3, start=12)
    assert after[int(EVENT_S / 0.25) - 1] > 1.5


def test_with_a_word_the_score_goes_as_far_at_once_as_it_would_have_by_the_next_hop():
    by_hop, at_once = Smoother(1.0), Smoother(1.0)
    for smoother in (by_hop, at_once):
        play(smoother, [-2.0] * 12)
    wanted = play(by_hop, [2.0], ["new"], start=12)[0]
    soon = at_once.feed(12 * HOP_NS + 10_000_000, 2.0, "new", "partial")
    assert soon == pytest.approx(wanted)
    assert wanted < at_once.feed(13 * HOP_NS, 2.0, "new", "partial") < 2.0


def test_without_an_event_it_moves_calmly():
    smoother = Smoother(1.0)
    play(smoother, [1.0] * 12)
    assert play(smoother, [2.0], start=12)[0] < 1.4


def test_a_swing_past_zero_in_an_open_utterance_is_no_flip_and_in_a_whole_one_it_is():
    smoother = Smoother(0.2)
    play(smoother, [1.5] * 8)
    assert min(play(smoother, [-0.45] * 8, start=8)) == 0.0
    assert play(smoother, [-1.5] * 8, start=16)[-1] < -1.2
    assert play(smoother, [0.1] * 8, opinion="final", start=24)[-1] > 0


def test_a_weak_score_of_an_open_utterance_takes_no_side():
    assert set(play(Smoother(0.2), [0.7] * 3)) == {0.0}
    assert set(play(Smoother(0.2), [0.4] * 12)) == {0.0}
    assert play(Smoother(0.2), [0.7] * 8)[-1] == pytest.approx(0.7), "unless it says so for long"
    assert play(Smoother(0.2), [0.7] * 4, opinion="final")[-1] == pytest.approx(0.7)


def test_before_anything_is_said_a_moment_is_not_enough_for_a_strong_score():
    smoother = Smoother(1.0)
    moment = play(smoother, [2.5, 2.5], opinion="listening")
    assert max(moment) <= QUIET
    long = play(smoother, [2.5] * 20, opinion="listening", start=2)
    assert long[-1] > 2.0
    assert max(long[: int(QUIET_S / 0.25) - 3]) <= QUIET


def test_a_face_that_changes_its_mind_starts_anew():
    smoother = Smoother(1.0)
    assert max(map(abs, play(smoother, [2.0, -2.0] * 10, opinion="listening"))) <= QUIET


def test_after_a_gap_or_a_reset_it_starts_afresh_and_zero_switches_it_off():
    smoother = Smoother(1.0)
    play(smoother, [2.0] * 4)
    assert smoother.feed(100 * HOP_NS, -1.0, "x", "final") == -1.0
    smoother.reset()
    assert smoother.feed(101 * HOP_NS, 1.0, "x", "final") == 1.0
    assert Smoother(0.0).feed(HOP_NS, 2.5, None, "listening") == 2.5


def test_it_follows_the_raw_score_in_the_end():
    assert play(Smoother(1.0), [1.25] * 40)[-1] == pytest.approx(1.25)
