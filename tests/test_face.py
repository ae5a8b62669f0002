"""The face: who is the main one, what counts as rest, and a real extractor that survives whatever a camera gives."""

import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import zoo
from realtime.config.schema import FaceConfig
from realtime.extract.face.baseline import PULL_LIMIT, Baseline
from realtime.extract.face.tracker import HOLD_S, TAKEOVER_S, Box, MainFace
from realtime.extract.schema import BLENDSHAPES, FACE_COLUMNS, FACE_DIM
from realtime.types import NS_PER_S, Frame

SMILE = FACE_COLUMNS.index("mouthSmileLeft")
FRAME_NS = NS_PER_S // 15


def box(x, y, size):
    return Box(x, y, x + size, y + size)


def follow(main, boxes, start_s, duration_s, rate_hz=10):
    """Show the same boxes for a while; returns the last choice."""
    chosen = None
    for i in range(int(duration_s * rate_hz)):
        chosen = main.pick(boxes, int((start_s + i / rate_hz) * NS_PER_S))
    return chosen


# Which face


def test_the_largest_face_is_the_main_one_at_first():
    assert MainFace().pick([box(0, 0, 50), box(200, 0, 90), box(400, 0, 60)], 0) == 1


def test_the_main_face_is_kept_when_the_order_changes_and_another_is_somewhat_larger():
    main = MainFace()
    main.pick([box(0, 0, 100)], 0)
    assert follow(main, [box(300, 0, 120), box(8, 3, 98)], 0.1, 10) == 1
    assert main.face_id == 1


def test_a_face_that_moves_is_the_same_face():
    main = MainFace()
    for i in range(50):
        assert main.pick([box(10 * i, 0, 60), box(10 * i, 300, 60)], i * FRAME_NS) == 0
    assert main.face_id == 1


def test_while_the_main_face_is_away_for_a_moment_no_other_takes_its_place():
    main = MainFace()
    main.pick([box(0, 0, 100)], 0)
    assert main.pick([box(400, 0, 90)], int(0.5 * HOLD_S * NS_PER_S)) is None
    assert main.pick([box(400, 0, 90), box(3, 0, 99)], int(0.6 * HOLD_S * NS_PER_S)) == 1
    assert main.face_id == 1


def test_when_the_main_face_stays_away_another_becomes_a_new_one():
    main = MainFace()
    main.pick([box(0, 0, 100)], 0)
    assert main.pick([box(400, 0, 90)], int((HOLD_S + 0.1) * NS_PER_S)) == 0
    assert main.face_id == 2


def test_a_clock_that_goes_back_holds_no_face_for_ever():
    main = MainFace()
    main.pick([box(0, 0, 100)], 10**15)
    assert main.pick([box(400, 0, 90)], 0) is None
    assert main.pick([box(400, 0, 90)], int((HOLD_S + 0.1) * NS_PER_S)) == 0


def test_a_much_larger_face_takes_over_only_after_a_while():
    main = MainFace()
    main.pick([box(0, 0, 100)], 0)
    both = [box(0, 0, 100), box(300, 0, 200)]
    assert follow(main, both, 0.1, TAKEOVER_S * 0.9) == 0
    assert follow(main, [box(0, 0, 100)], 2, 0.2) == 0, "it left again: the count starts anew"
    assert follow(main, both, 2.3, TAKEOVER_S * 0.9) == 0
    assert follow(main, both, 2.3 + TAKEOVER_S * 0.9, 1.0) == 1
    assert main.face_id == 2


@given(
    st.lists(
        st.lists(
            st.builds(box, st.floats(-50, 700), st.floats(-50, 500), st.floats(0, 300)),
            max_size=4,
        ),
        max_size=30,
    ),
    st.lists(st.integers(0, 10**11), min_size=30, max_size=30),
)
def test_a_choice_is_always_one_of_the_faces_or_none(pictures, times):
    main = MainFace()
    for boxes, t_ns in zip(pictures, times, strict=False):
        chosen = main.pick(boxes, t_ns)
        assert chosen is None or 0 <= chosen < len(boxes)


# What counts as rest


def rest(values=(0.2, 0.0), time_s=60.0):
    return Baseline(np.array(values, np.float32), time_s)


def test_a_single_picture_is_compared_with_the_usual_face():
    np.testing.assert_allclose(rest().subtract(np.array([0.5, 0.1], np.float32), 0), [0.3, 0.1], atol=1e-6)


def test_a_lasting_difference_is_learned():
    baseline = rest()
    for i in range(15 * 180):
        left = baseline.subtract(np.array([0.5, 0.1], np.float32), i * FRAME_NS)
    assert abs(left).max() < 0.05


def test_a_smile_of_five_seconds_is_not_swallowed():
    baseline = rest()
    for i in range(15 * 10):
        baseline.subtract(np.array([0.2, 0.0], np.float32), i * FRAME_NS)
    for i in range(15 * 10, 15 * 15):
        left = baseline.subtract(np.array([0.2, 0.9], np.float32), i * FRAME_NS)
    assert left[1] > 0.85


def test_the_baseline_does_not_depend_on_the_frame_rate():
    slow, fast = rest(), rest()
    shown = np.array([0.5, 0.9], np.float32)
    for i in range(5 * 20 + 1):
        last_slow = slow.subtract(shown, i * NS_PER_S // 5)
    for i in range(30 * 20 + 1):
        last_fast = fast.subtract(shown, i * NS_PER_S // 30)
    np.testing.assert_allclose(last_slow, last_fast, atol=0.01)


def test_time_that_jumps_pulls_no_more_than_one_picture_may():
    baseline = rest()
    shown = np.array([0.9, 0.9], np.float32)
    before = baseline.subtract(shown, 10**12)
    for t_ns in (10**15, 5, 10**18, 0):
        after = baseline.subtract(shown, t_ns)
    assert (before - after).max() < 4 * 0.5 / 15 * PULL_LIMIT


def test_a_new_face_starts_from_the_usual_face_again():
    baseline = rest()
    for i in range(600):
        baseline.subtract(np.array([0.6, 0.3], np.float32), i * FRAME_NS)
    baseline.reset()
    np.testing.assert_allclose(baseline.subtract(np.array([0.2, 0.0], np.float32), 0), [0.0, 0.0], atol=1e-6)


# The real extractor


@pytest.fixture(scope="module")
def portrait():
    """A smiling astronaut, 480 x 640."""
    image = cv2.imread(str(zoo.path("demo-face")))
    return cv2.copyMakeBorder(cv2.resize(image, (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE)


@pytest.fixture
def make():
    from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - MediaPipe only where it is used

    made = []

    def build(**options):
        made.append(FaceExtractor(FaceConfig(), zoo.path("face"), **options))
        return made[-1]

    yield build
    for extractor in made:
        extractor.close()


def see(extractor, image, t_ns=0):
    (features,) = extractor.feed(Frame(t_ns, image))
    assert features.t_ns == t_ns
    assert features.values.shape == (FACE_DIM,)
    assert features.values.dtype == np.float32
    assert np.isfinite(features.values).all()
    assert 0 <= features.score <= 1
    assert 0 <= features.brightness <= 1
    assert 0 <= features.motion <= 1
    return features


@pytest.mark.models
def test_a_smiling_portrait_is_found_sure_sharp_and_smiling(make, portrait):
    features = see(make(), portrait)
    assert features.found
    assert (features.faces, features.face_id) == (1, 1)
    assert features.score > 0.8
    assert features.sharpness > 20
    assert 0.2 < features.brightness < 0.9
    assert features.values[SMILE] > 0.5
    assert abs(features.values[-3:]).max() < 0.5, "she looks nearly straight at the camera"


@pytest.mark.models
def test_yaw_and_roll_change_sign_in_the_mirror(make, portrait):
    tilted = cv2.warpAffine(portrait, cv2.getRotationMatrix2D((320, 140), 20, 1), (640, 480))
    straight, turned = see(make(stills=True), tilted), see(make(stills=True), np.ascontiguousarray(tilted[:, ::-1]))
    one, other = (found.values[FACE_COLUMNS.index("roll_rad")] for found in (straight, turned))
    assert one * other < 0
    assert abs(one) == pytest.approx(np.radians(20), abs=0.12)
    assert one > 0, "positive: turned against the clock"


@pytest.mark.models
def test_motion_is_0_only_for_the_very_same_picture(make, portrait):
    extractor = make()
    assert see(extractor, portrait, 0).motion > 0
    assert see(extractor, portrait.copy(), FRAME_NS).motion == 0
    touched = portrait.copy()
    touched[1, 1, 0] ^= 1
    assert see(extractor, touched, 2 * FRAME_NS).motion > 0


@pytest.mark.models
def test_damage_shows_in_the_quality(make, portrait):
    clean = see(make(stills=True), portrait)
    blurred = see(make(stills=True), cv2.GaussianBlur(portrait, (0, 0), 6))
    dark = see(make(stills=True), (portrait * 0.25).astype(np.uint8))
    assert blurred.sharpness < 0.2 * clean.sharpness
    assert dark.brightness < 0.4 * clean.brightness
    covered = portrait.copy()
    covered[:] = 0
    assert not see(make(stills=True), covered).found


@pytest.mark.models
def test_whatever_the_camera_gives_the_next_good_picture_is_read(make, portrait):
    extractor = make()
    odd = [
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8),
        cv2.resize(portrait, (1920, 1440)),
        cv2.resize(portrait, (33, 400)),
        portrait[::2, ::2],
        portrait[:, ::-1],
    ]
    times = [10**9, 10**9, 5, 0, 10**15, 10**9, 10**9 + 1, 2, 3]
    for image, t_ns in zip(odd, times, strict=True):
        see(extractor, image, t_ns)
    assert see(extractor, portrait, 4).found


@pytest.mark.models
def test_the_same_pictures_give_the_same_features(make, portrait):
    pictures = [np.roll(portrait, 3 * i, axis=1) for i in range(8)]
    one, other = ([see(extractor, p, i * FRAME_NS) for i, p in enumerate(pictures)] for extractor in (make(), make()))
    for a, b in zip(one, other, strict=True):
        assert a.values.tobytes() == b.values.tobytes()
        assert (a.score, a.sharpness, a.motion) == (b.score, b.sharpness, b.motion)


@pytest.mark.models
def test_a_second_smaller_face_is_counted_and_not_followed(make, portrait):
    head = cv2.resize(portrait[20:210, 195:385], (300, 300))
    scene = np.full((480, 640, 3), 90, np.uint8)
    scene[100:400, 10:310] = head
    scene[100:350, 360:610] = cv2.resize(head, (250, 250))
    extractor = make()
    for i in range(4):
        features = see(extractor, np.roll(scene, i, axis=1), i * FRAME_NS)
    assert features.faces == 2
    assert features.face_id == 1
    larger_alone = see(make(), np.ascontiguousarray(np.roll(scene, 3, axis=1)[:, :330]))
    np.testing.assert_allclose(features.values, larger_alone.values, atol=0.25)
    assert features.brightness == pytest.approx(larger_alone.brightness, abs=0.02)


@pytest.mark.models
def test_a_still_is_compared_with_the_usual_face_however_many_came_before(make, portrait):
    extractor = make(stills=True)
    first = see(extractor, portrait, 0)
    for i in range(1, 6):
        last = see(extractor, portrait, i * NS_PER_S)
    assert (first.values == last.values).all()


def test_the_usual_face_names_every_blendshape():
    from realtime.extract.face.neutral_blendshapes import NEUTRAL_BLENDSHAPES  # noqa: PLC0415 - beside its only use

    assert list(NEUTRAL_BLENDSHAPES) == list(BLENDSHAPES)
    assert all(0 <= value <= 1 for value in NEUTRAL_BLENDSHAPES.values())


# The native side


@pytest.mark.models
def test_the_terminal_stays_clean_and_what_others_print_is_passed_on(make, portrait, capfd):
    from realtime.system.stderr import native_lines_to_log  # noqa: PLC0415 - MediaPipe only where it is used

    extractor = make()
    see(extractor, portrait)
    extractor.close()
    with native_lines_to_log():
        os.write(2, b"INFO: chatter\nE0000 a real error\n")
    assert capfd.readouterr().err == "E0000 a real error\n"


def test_no_model_is_given_certificates_to_report_its_use_with():
    from realtime.extract.face.mediapipe_options import LocalOptions  # noqa: PLC0415 - MediaPipe only where it is used

    assert LocalOptions(model_asset_path="x").to_ctypes().ca_bundle_path == os.devnull.encode()
