"""Everyone in the picture: whose face is whose, a reading for each, and whose voice it is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import zoo
from realtime.clock import VirtualClock
from realtime.config.schema import FaceConfig, WindowConfig
from realtime.extract.face.tracker import FORGET_S, Box
from realtime.extract.face.tracks import Tracks, unit
from realtime.extract.schema import FACE_DIM
from realtime.fuse.reliability import SETTLED_S
from realtime.fuse.speaking import Speaking
from realtime.fuse.window import Window
from realtime.types import NS_PER_S, FaceFeatures, Frame, Person, SpeechFrame

RATE_HZ = 15
LOOKS = [unit(np.random.default_rng(seed).standard_normal(144).astype(np.float32)) for seed in range(2)]
HAPPY = np.array([0, 0, 0, 1, 0, 0, 0], np.float32)
SAD = np.array([0, 0, 0, 0, 0, 1, 0], np.float32)


def ns(seconds):
    return int(seconds * NS_PER_S)


def at(x, y=0.3, size=0.2):
    return Box(x, y, x + size, y + size)


def noisy(look, rng):
    return unit(look + 0.02 * rng.standard_normal(len(look)).astype(np.float32))


def crossing(looks, seconds=8.0, hidden=(0.4, 0.6), order=(0, 1)):
    """Two who change places; the second is not found while the first is in front. Returns the ids of each in order."""
    tracks, rng = Tracks(), np.random.default_rng(3)
    seen = {0: [], 1: []}
    for number in range(int(seconds * RATE_HZ)):
        share = number / (seconds * RATE_HZ)
        boxes = {0: at(0.1 + share), 1: at(1.1 - share)}
        who = [which for which in order if which == 0 or not hidden[0] < share < hidden[1]]
        ids = tracks.follow([boxes[w] for w in who], [noisy(looks[w], rng) for w in who], number * NS_PER_S // RATE_HZ)
        for which, number_of in zip(who, ids, strict=True):
            seen[which].append(number_of)
    return seen


@pytest.mark.parametrize("seconds", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ids_stay_with_their_owners_when_two_cross_and_one_is_hidden(seconds, order):
    seen = crossing(LOOKS, seconds, order=order)
    assert [set(ids) for ids in seen.values()] == [{1 + order.index(0)}, {1 + order.index(1)}]


def test_twins_are_told_apart_by_the_way_they_go():
    seen = crossing([LOOKS[0], LOOKS[0]], seconds=3.0, hidden=(0.46, 0.54))
    assert seen[0][0] != seen[1][0]
    assert [set(ids) for ids in seen.values()] == [{seen[0][0]}, {seen[1][0]}]


def test_an_id_survives_a_loss_of_some_seconds_and_a_long_one_ends_it():
    tracks = Tracks()
    assert tracks.follow([at(0.2)], [LOOKS[0]], 0) == [1]
    assert tracks.follow([], [], ns(1)) == []
    assert tracks.follow([at(0.25)], [LOOKS[0]], ns(5)) == [1]
    assert tracks.follow([at(0.25)], [LOOKS[0]], ns(5 + FORGET_S + 1)) == [2]


def test_somebody_else_at_the_same_place_is_somebody_else():
    tracks = Tracks()
    assert tracks.follow([at(0.2)], [LOOKS[0]], 0) == [1]
    assert tracks.follow([at(0.2)], [LOOKS[1]], ns(2)) == [2]
    assert tracks.follow([at(0.2)], [LOOKS[0]], ns(4)) == [1], "the first is back"


def test_a_face_that_is_found_twice_is_one():
    assert Tracks().follow([at(0.2), at(0.21)], [LOOKS[0], LOOKS[0]], 0) == [1, None]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**11),
            st.lists(st.builds(at, st.floats(-1, 3), st.floats(-1, 2), st.floats(0, 2)), max_size=5),
        ),
        max_size=20,
    )
)
def test_whatever_is_found_no_id_is_given_twice_in_a_picture(pictures):
    tracks = Tracks()
    for t_ns, boxes in pictures:
        ids = [number for number in tracks.follow(boxes, [LOOKS[i % 2] for i in range(len(boxes))], t_ns) if number]
        assert len(set(ids)) == len(ids)
        assert set(ids) <= tracks.ids


# In a window


def person(number, mouth=0.1, *, likely=HAPPY, main=False, left=0.1):
    return Person(number, main, (left, 0.2, left + 0.2, 0.5), mouth, 300.0, 0.5, likely)


def window(**told):
    return Window(
        "desk",
        WindowConfig(),
        {"face": "camera 0", "voice": "microphone default", "text": "microphone default"},
        VirtualClock(),
        **told,
    )


def show(made, people_of, begin_s, end_s, loudness=None):
    """Pictures with people, and speech with a level where there is any."""
    for t_s in np.arange(begin_s, end_s, 1 / RATE_HZ):
        made.saw("camera 0", ns(t_s))
        values = np.zeros(FACE_DIM, np.float32)
        made.add_face(FaceFeatures(ns(t_s), values, True, 2, 0.9, 300.0, 0.5, 0.02, 1, people=people_of(t_s)))
    if loudness is not None:
        for t_s in np.arange(begin_s, end_s, 0.032):
            made.saw("microphone default", ns(t_s))
            level = loudness(t_s)
            made.add_speech(SpeechFrame(ns(t_s), np.zeros(512, np.float32), float(level > -50), level, 25.0, 0.0))


def test_nobody_is_told_where_it_was_not_asked_for():
    made = window()
    show(made, lambda _: (person(1),), 0, 3)
    assert made.close(ns(3)).people is None


def test_each_has_a_reading_of_their_own_once_their_face_is_known():
    made = window(people=True)
    both = (person(1, likely=HAPPY, main=True), person(2, likely=SAD, left=0.6))
    show(made, lambda _: both, 0, SETTLED_S + 1)
    early = made.close(ns(0.1)).people
    assert early == (), "two pictures are nobody yet"
    (one, other), soon = made.close(ns(SETTLED_S + 1)).people, made.close(ns(SETTLED_S / 2)).people
    assert (one.id, one.main, one.expression) == (1, True, "happy")
    assert (other.id, other.main, other.expression) == (2, False, "sad")
    assert one.valence > 0.5 > -0.5 > other.valence
    assert one.box == both[0].box
    assert one.reliability == other.reliability == pytest.approx(1.0)
    assert 0 < soon[0].reliability < one.reliability


def test_who_leaves_is_not_there_any_more_and_a_pause_forgets_everyone():
    made = window(people=True)
    show(made, lambda t_s: (person(1), person(2)) if t_s < 3 else (person(1),), 0, 5)
    assert [each.id for each in made.close(ns(3)).people] == [1, 2]
    assert [each.id for each in made.close(ns(5)).people] == [1]
    made.pause()
    assert made.close(ns(6)).people == ()


def test_the_voice_is_given_to_the_lips_that_move_with_it_and_to_nobody_in_silence():
    def voice(t_s):
        return 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * t_s)

    def loudness(t_s):
        return -35.0 + 20 * voice(t_s) if t_s < 9 else -80.0

    def people(t_s):
        talks = 0.2 + 0.15 * voice(t_s + 0.15) * np.sin(2 * np.pi * 4.3 * t_s)
        chews = 0.2 + 0.15 * np.sin(2 * np.pi * 4.3 * t_s)
        return person(1, mouth=chews), person(2, mouth=talks, left=0.6)

    made = window(people=True)
    show(made, people, 0, 12, loudness)
    for t_s in np.arange(0.25, 8.6, 0.25):
        told = made.close(ns(t_s)).people
    assert told[1].speaking > 0.8
    assert told[0].speaking < 0.2
    assert sum(each.speaking for each in told) <= 1
    assert [each.speaking for each in made.close(ns(11.9)).people] == [0.0, 0.0]


def test_without_sound_nobody_knows_who_speaks():
    made = window(people=True)
    show(made, lambda _: (person(1),), 0, 3)
    assert [each.speaking for each in made.close(ns(3)).people] == [None]


@given(
    st.lists(st.lists(st.floats(0, 2), max_size=30), max_size=3),
    st.lists(st.floats(-120, 0), max_size=60),
)
def test_whatever_lips_and_sound_do_probabilities_are_probabilities(mouths, levels):
    speech = [SpeechFrame(i * 32_000_000, np.zeros(512, np.float32), 0.9, db, None, 0.0) for i, db in enumerate(levels)]
    lips = {i: [(n * NS_PER_S // RATE_HZ, v) for n, v in enumerate(row)] for i, row in enumerate(mouths) if row}
    told = Speaking().close(lips, speech, len(levels) * 32_000_000)
    assert set(told) == set(lips)
    known = [value for value in told.values() if value is not None]
    assert all(0 <= value <= 1 for value in known)
    assert sum(known) <= 1 + 1e-9


# With real faces


@pytest.mark.models
def test_two_faces_have_ids_and_readings_and_what_the_fusion_gets_is_the_same_as_without(clip):
    from models.expression import ExpressionReader  # noqa: PLC0415 - torch only where it is used
    from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - MediaPipe only where it is used
    from scripts.harness.side_by_side import SideBySide  # noqa: PLC0415 - as above

    film = SideBySide([clip, clip], seconds=2.0, mirrored=True)
    frames = [item for item in film.items(0) if isinstance(item, Frame)]
    reader, model = ExpressionReader(), zoo.path("face")
    with_people = FaceExtractor(FaceConfig(people=True), model, reader)
    without = FaceExtractor(FaceConfig(), model, reader)
    told = []
    for frame in frames:
        [ours], [plain] = with_people.feed(frame), without.feed(frame)
        assert ours.values.tobytes() == plain.values.tobytes()
        assert plain.people is None
        told.append(ours)
    with_people.close()
    without.close()
    settled = told[5:]
    assert all([each.id for each in features.people] == [1, 2] for features in settled)
    assert all([each.main for each in features.people].count(True) == 1 for features in settled)
    left, right = sorted(settled[-1].people, key=lambda each: each.box[0])
    assert left.box[2] < 0.5 < right.box[0]
    for one, other in pairwise(settled):
        assert one.likely is not None
        assert np.isclose(one.likely.sum(), 1, atol=1e-4)
        assert {p.id for f in (one, other) for p in f.people if p.likely is not None} == {1, 2}, "the other in turns"
