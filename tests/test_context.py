"""The memory of what was said before: models/context.py and realtime/fuse/remember.py."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checkpoint import load
from models.context import DELAY_S, Context, Memory
from realtime.extract.schema import schema_hash
from realtime.fuse.remember import Remembering
from realtime.fuse.worker import NOTHING, Estimate
from realtime.parts import WEIGHTS
from realtime.types import MODALITIES, NS_PER_S, Segment, WindowView

FOND = Context(gain=0.5, give=0.3, prior_s=2.0, memory_s=60.0, pause_s=10.0)


def say(memory, begin_s, end_s, raw, said=1.0):
    steps = range(int(begin_s * 4) + 1, int(end_s * 4) + 1)
    return [memory.feed(step / 4, raw, said) for step in steps][-1]


def test_nothing_is_leaned_on_before_anything_was_said():
    memory = Memory(FOND)
    assert memory.feed(0.25, 1.5, 1.0) == 1.5
    assert memory.mean() is None


def test_a_neutral_word_after_praise_leans_towards_praise():
    memory = Memory(FOND)
    say(memory, 0, 10, 2.0)
    assert memory.mean() == pytest.approx(2.0)
    assert 0.3 < memory.feed(10.25, 0.0, 1.0) < 1.0


def test_a_window_is_no_witness_for_itself():
    memory = Memory(FOND)
    assert say(memory, 0, DELAY_S - 0.25, 2.0) == 2.0


def test_a_window_without_words_is_leaned_but_not_remembered():
    memory = Memory(FOND)
    say(memory, 0, 8, 2.0)
    before = memory.mean()
    assert say(memory, 8, 13, -1.0, said=0.0) > -1.0
    assert memory.mean() == pytest.approx(before)


def test_a_long_pause_forgets():
    memory = Memory(FOND)
    say(memory, 0, 10, 2.0)
    assert memory.feed(21.0, -1.0, 1.0) == -1.0


def test_older_words_count_less():
    memory = Memory(replace(FOND, memory_s=5.0))
    say(memory, 0, 10, 2.0)
    say(memory, 10, 20, -2.0)
    assert memory.mean() < -0.8


def test_without_coefficients_nothing_changes():
    memory = Memory(Context())
    say(memory, 0, 10, 2.0)
    assert memory.feed(10.25, -1.25, 1.0) == -1.25


@given(st.lists(st.tuples(st.floats(0.01, 40), st.floats(-3, 3), st.floats(0, 1)), max_size=40))
def test_the_score_stays_in_its_range(windows):
    memory, now_s = Memory(Context(1.0, 0.0, 0.1)), 0.0
    for step_s, raw, said in windows:
        now_s += step_s
        assert -3 <= memory.feed(now_s, raw, said) <= 3


@pytest.mark.parametrize("broken", [{"gain": -1}, {"give": 2}, {"memory_s": 0}, {"gain": float("nan")}, {"odd": 1}, []])
def test_broken_coefficients_are_refused(broken):
    with pytest.raises(ValueError, match="not a context"):
        Context.from_dict(broken)


def test_coefficients_travel():
    assert Context.from_dict(FOND.to_dict()) == FOND


def view(number, face_id=1, text=1.0):
    values, times_s = np.zeros((1, 1), np.float32), np.zeros(1, np.float32)
    parts = {name: Segment(values, times_s, text if name == "text" else 1.0, "ok", None, 0) for name in MODALITIES}
    return WindowView("s", number, 0, int(number * NS_PER_S / 4), parts, face_id=face_id)


def tell(stream, numbers, raw, **how):
    estimate = Estimate(raw, (raw - 1, raw + 1), 0.5, dict.fromkeys(MODALITIES, 1 / 3))
    return [stream.feed(view(number, **how), estimate) for number in numbers][-1]


def test_the_interval_moves_with_the_score_and_the_message_says_what_is_remembered():
    stream = Remembering(FOND)
    tell(stream, range(40), 2.0)
    found = tell(stream, [40], 0.0)
    assert found.context == pytest.approx(2.0)
    assert found.interval == pytest.approx((found.raw - 1, found.raw + 1))


def test_another_face_starts_afresh():
    stream = Remembering(FOND)
    tell(stream, range(40), 2.0)
    assert tell(stream, [40], 0.0, face_id=0).raw > 0, "no face in sight is no other face"
    assert tell(stream, [41], 0.0, face_id=2) == Estimate(0.0, (-1.0, 1.0), 0.5, dict.fromkeys(MODALITIES, 1 / 3))


def test_what_does_not_count_is_not_remembered():
    stream = Remembering(Context())
    tell(stream, range(40), 2.0)
    assert tell(stream, [40], 0.0).context is None


def test_the_weights_shipped_remember_nothing_before_it_helps_unseen_speakers():
    assert not load(WEIGHTS, schema_hash()).context.counts


def test_a_window_without_a_score_passes():
    assert Remembering(FOND).feed(view(1), NOTHING) is NOTHING
