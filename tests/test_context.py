"""What was said before: models/context.py and realtime/fuse/context.py."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.context import Context
from realtime.fuse.context import QUIET, SpeakerContext
from realtime.fuse.worker import NOTHING, WHOLE_WORDS, Estimate, state_of
from realtime.publish import compose
from realtime.types import MODALITIES, NS_PER_S, Ended, Segment, WindowView, Word

FOND = Context(keep=0.9, lean=0.5, prior=2.0)


def test_nothing_is_leaned_on_before_anything_was_said():
    assert FOND.leaned(1.5, ()) == 1.5
    assert FOND.before(()) == 0.0


def test_praise_before_leans_towards_praise_the_more_of_it_the_more():
    assert FOND.leaned(0.0, (2.0,)) == pytest.approx(0.5 * 2 / 3)
    assert FOND.leaned(1.0, (2.0,) * 4) == pytest.approx(0.9 + 0.5 * 8 / 6)


def test_without_coefficients_nothing_changes():
    assert Context().leaned(-1.25, (2.0, 2.0)) == -1.25
    assert not Context().counts


@given(st.lists(st.floats(-3, 3), max_size=20), st.floats(-3, 3))
def test_the_score_stays_in_its_range(earlier, said):
    assert -3 <= Context(1.0, 3.0, 0.5).leaned(said, earlier) <= 3


@pytest.mark.parametrize("broken", [{"lean": -1}, {"prior": 0}, {"keep": float("nan")}, {"odd": 1}, []])
def test_broken_coefficients_are_refused(broken):
    with pytest.raises(ValueError, match="not a context"):
        Context.from_dict(broken)


def test_coefficients_travel():
    assert Context.from_dict(FOND.to_dict()) == FOND


def view(at_s, location=None, ended=(), face_id=1, opinion="partial"):
    shape = (0 if location is None else 2, 2)
    values = np.full(shape, 0.0 if location is None else location, np.float32)
    parts = {
        name: Segment(values, np.zeros(shape[0], np.float32), float(shape[0] > 0), "ok", None, 0) for name in MODALITIES
    }
    said = tuple(Ended(int(end_s * NS_PER_S), value) for end_s, value in ended)
    return WindowView("s", 0, 0, int(at_s * NS_PER_S), parts, face_id=face_id, opinion=opinion, ended=said)


def test_the_words_are_leaned_and_the_context_is_what_was_said():
    found = SpeakerContext(FOND).lean(view(5, 0.0, [(1, 2.0), (3, 1.0)]))
    assert found.context == pytest.approx(1.5)
    assert found.segments["text"].values[:, 0] == pytest.approx([0.0, 0.5 * 3 / 4])


def test_an_utterance_is_no_witness_for_itself():
    found = SpeakerContext(FOND).lean(view(5, 2.0))
    assert found.segments["text"].values[-1, 0] == 2.0
    assert found.context is None


def test_another_face_starts_afresh_and_no_face_in_sight_does_not():
    stream = SpeakerContext(FOND)
    before = [(1, 2.0)]
    assert stream.lean(view(2, 0.0, before)).context == 2.0
    assert stream.lean(view(3, 0.0, before, face_id=0)).context == 2.0
    assert stream.lean(view(4, 0.0, before, face_id=2)).context is None
    assert stream.lean(view(9, 0.0, [*before, (6, -1.0)], face_id=2)).context == -1.0


def test_a_pause_of_the_stream_forgets():
    stream = SpeakerContext(FOND)
    stream.lean(view(2, 0.0, [(1, 2.0)]))
    stream.reset()
    assert stream.lean(view(3, 0.0, [(1, 2.0)])).context is None


def test_what_was_said_before_is_expected_of_silence_but_never_strongly():
    stream, estimate = (
        SpeakerContext(FOND),
        Estimate(0.1, (-1.0, 1.2), (-0.4, 0.6), 1.0, dict.fromkeys(MODALITIES, 1 / 3)),
    )
    quiet = stream.lean(view(9, None, [(at, 3.0) for at in range(1, 8)], opinion="listening"))
    found = stream.expect(quiet, estimate)
    assert found.raw == pytest.approx(0.1 + QUIET)
    assert found.interval == pytest.approx((-1.0 + QUIET, 1.2 + QUIET))
    assert found.band == pytest.approx((-0.4 + QUIET, 0.6 + QUIET)), "the band moves along"
    assert stream.expect(view(9, 1.0), estimate) is estimate
    assert stream.expect(quiet, NOTHING) is NOTHING


def test_what_is_published_moves_with_the_score_before_it_is_cut_to_the_scale():
    estimate = Estimate(2.5, (1.0, 4.0), (2.0, 3.5), 1.0, {"text": 1.0, "voice": 0.0, "face": 0.0})
    message = compose.sentiment(view(9, 2.5, opinion="final"), estimate, 1.5, 0, 0.0, 0.0)
    assert (message.interval, message.band) == ((0.0, 3.0), (1.0, 2.5))


@pytest.mark.parametrize(("count", "state"), [(WHOLE_WORDS - 1, "partial"), (WHOLE_WORDS, "final")])
def test_a_few_words_are_not_known_to_be_a_whole_utterance(count, state):
    words = tuple(Word(at, at + 1, "so", 0.9, True) for at in range(count))
    assert state_of(replace(view(9, 2.5, opinion="final"), words=words)) == state
