"""Windows and reliability: what a damaged, late or missing stream does to its own weight and to nobody else's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import WindowConfig
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.fuse.reliability import coverage, mean, ramp
from realtime.fuse.window import Window
from realtime.types import NS_PER_S, FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures, Word

SILENCE = np.zeros(512, np.float32)
DEVICES = {"face": "camera 0", "voice": "microphone default", "text": "microphone default"}


def ns(seconds):
    return int(seconds * NS_PER_S)


def face(t_s, **changes):
    values = {"found": True, "faces": 1, "score": 0.95, "sharpness": 300.0, "brightness": 0.5, "motion": 0.01}
    return FaceFeatures(ns(t_s), np.full(FACE_DIM, t_s, np.float32), **(values | changes))


def speech(t_s, **changes):
    values = {"probability": 0.95, "level_db": -25.0, "snr_db": 25.0, "clipped": 0.0}
    return SpeechFrame(ns(t_s), SILENCE, **(values | changes))


class Scene:
    """A stream on a virtual clock in which everything is well, unless told otherwise."""

    def __init__(self, **devices):
        self.clock = VirtualClock()
        self.window = Window("desk", WindowConfig(), DEVICES | devices, self.clock)

    def play(self, begin_s, end_s, *, camera=True, mic=True, fps=15, face_of=face, speech_of=speech, words=True):
        if camera:
            for t_s in np.arange(begin_s, end_s, 1 / fps):
                self.clock.advance_to(ns(t_s))
                self.window.saw("camera 0", ns(t_s))
                self.window.add_face(face_of(t_s))
        if mic:
            for t_s in np.arange(begin_s, end_s, 0.032):
                self.window.saw("microphone default", ns(t_s))
                self.window.add_speech(speech_of(t_s))
            for t_s in np.arange(begin_s, end_s, 0.1):
                self.window.add_voice(VoiceFeatures(ns(t_s), np.zeros(VOICE_DIM, np.float32)))
            if words:
                spoken = tuple(
                    Word(ns(t_s - 0.3), ns(t_s), "good", 0.9, True)
                    for t_s in np.arange(begin_s + 0.4, end_s - 0.2, 0.4)
                )
                self.window.add_text(TextFeatures(ns(end_s), spoken, np.zeros((len(spoken), TEXT_DIM), np.float32)))
        return self

    def segments(self, end_s):
        return self.window.close(ns(end_s)).segments


def test_a_healthy_stream_is_trusted_in_all_its_modalities():
    segments = Scene().play(0, 5).segments(5)
    assert {name: part.state for name, part in segments.items()} == dict.fromkeys(DEVICES, "ok")
    assert all(part.reliability > 0.8 for part in segments.values())
    assert all(part.cause is None for part in segments.values())


def test_a_window_holds_its_last_seconds_in_order_and_nothing_from_the_future():
    view = Scene().play(0, 6).window.close(ns(5))
    for name, part in view.segments.items():
        assert len(part.values) == len(part.times_s)
        assert np.all(np.diff(part.times_s) > 0)
        assert name == "text" or part.times_s[0] >= -4.0
        assert part.times_s[-1] <= 0
    assert view.start_ns == ns(1)


def test_a_sentence_that_reaches_into_the_window_is_there_whole_and_one_that_ended_before_is_not():
    scene = Scene().play(0, 6)
    sentence = scene.segments(6)["text"]
    assert sentence.times_s[0] < -4.0
    scene.play(6, 9, words=False, speech_of=lambda t_s: speech(t_s, probability=0.01))
    assert len(scene.segments(9)["text"].values) == len(sentence.values)
    scene.play(9, 10, words=False, speech_of=lambda t_s: speech(t_s, probability=0.01))
    part = scene.segments(10)["text"]
    assert (len(part.values), part.reliability, part.cause) == (0, 0.0, "silence")


def test_sequence_numbers_go_on_through_a_reset():
    scene = Scene()
    first = scene.window.close(ns(1)).seq
    scene.window.reset()
    assert scene.window.close(ns(2)).seq == first + 1


@pytest.mark.parametrize(
    ("missing", "dead", "alive"), [("camera", {"face"}, {"voice", "text"}), ("mic", {"voice", "text"}, {"face"})]
)
def test_a_device_that_stops_is_lost_within_half_a_second_and_leaves_the_others_alone(missing, dead, alive):
    scene = Scene().play(0, 5)
    before = scene.segments(5)
    scene.play(5, 5.6, **{missing: False}, words=False)
    after = scene.segments(5.6)
    for name in dead:
        assert after[name].state == "lost"
        assert after[name].reliability == 0
        assert "nothing for 0." in after[name].cause
    for name in alive:
        assert after[name].state == "ok"
        assert after[name].reliability == pytest.approx(before[name].reliability, abs=0.2)


def test_a_lost_device_that_returns_is_trusted_again():
    scene = Scene().play(0, 3).play(3, 6, camera=False)
    scene.window.lost("camera 0", "camera 0: unplugged")
    assert scene.segments(6)["face"].cause == "camera 0: unplugged"
    scene.play(6, 7)
    assert scene.segments(7)["face"].reliability > 0.2
    scene.play(7, 10)
    assert scene.segments(10)["face"].reliability > 0.8


def test_a_frozen_picture_is_lost_though_frames_keep_coming():
    scene = Scene().play(0, 4).play(4, 5.2, face_of=lambda t_s: face(t_s, motion=0.0))
    part = scene.segments(5.2)["face"]
    assert (part.state, part.reliability) == ("lost", 0.0)
    assert "frozen" in part.cause
    assert part.trouble == "frozen"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"sharpness": 3.0}, "blurred"), ({"brightness": 0.04}, "dark"), ({"score": 0.35}, "score")],
)
def test_a_bad_picture_is_noisy_and_says_why(change, says):
    clean = Scene().play(0, 5).segments(5)["face"]
    part = Scene().play(0, 5, face_of=lambda t_s: face(t_s, **change)).segments(5)["face"]
    assert part.state == "noisy"
    assert says in part.cause
    assert part.reliability < clean.reliability / 2


def test_no_face_in_the_picture_masks_the_face_and_is_no_lost_camera():
    part = Scene().play(0, 5, face_of=lambda t_s: face(t_s, found=False)).segments(5)["face"]
    assert (part.state, part.reliability, len(part.values)) == ("stale", 0.0, 0)
    assert "no face" in part.cause


def test_noise_halves_voice_and_text_within_a_window():
    clean = Scene().play(0, 5).segments(5)
    noisy = Scene().play(0, 5, speech_of=lambda t_s: speech(t_s, snr_db=0.0)).segments(5)
    for name in ("voice", "text"):
        assert noisy[name].state == "noisy"
        assert noisy[name].cause == "snr 0 dB"
        assert noisy[name].reliability < clean[name].reliability / 2


@given(st.floats(-20, 40), st.floats(-20, 40))
def test_a_better_signal_is_never_trusted_less(one_db, other_db):
    low, high = sorted([one_db, other_db])
    worse, better = (
        Scene().play(0, 2, speech_of=lambda t_s, snr=snr: speech(t_s, snr_db=snr)).segments(2) for snr in (low, high)
    )
    assert worse["voice"].reliability <= better["voice"].reliability
    assert worse["text"].reliability <= better["text"].reliability


def test_silence_is_no_fault():
    segments = (
        Scene().play(0, 5, speech_of=lambda t_s: speech(t_s, probability=0.01, level_db=-60), words=False).segments(5)
    )
    for name in ("voice", "text"):
        assert segments[name].idle
        assert segments[name].reliability == 0
        assert segments[name].cause == "silence"


def test_a_muted_microphone_is_not_silence():
    part = (
        Scene()
        .play(0, 5, speech_of=lambda t_s: speech(t_s, probability=0.0, level_db=-120), words=False)
        .segments(5)["voice"]
    )
    assert (part.state, part.idle) == ("lost", False)
    assert "muted" in part.cause
    assert part.trouble == "frozen"


def test_words_from_before_the_mute_key_count_no_more():
    scene = Scene().play(0, 5).play(5, 6.5, words=False, speech_of=lambda t_s: speech(t_s, level_db=-120.0))
    part = scene.segments(6.5)["text"]
    assert (part.state, part.reliability) == ("lost", 0)


def test_an_analysis_that_lags_is_not_called_a_dark_picture():
    scene = Scene().play(0, 5)
    for t_s in np.arange(5, 6.45, 0.1):
        scene.window.saw("camera 0", ns(t_s))
    part = scene.segments(6.5)["face"]
    assert (part.state, part.reliability) == ("stale", 0)
    assert "behind" in part.cause


def test_words_that_the_recogniser_doubts_count_less():
    scene = Scene().play(0, 5)
    sure = scene.segments(5)["text"].reliability
    words = tuple(Word(ns(t_s), ns(t_s + 0.3), "you", 0.25, False) for t_s in (3.0, 3.5, 4.0))
    scene.window.add_text(TextFeatures(ns(5), words, np.zeros((3, TEXT_DIM), np.float32)))
    part = scene.segments(5)["text"]
    assert part.reliability < sure / 2
    assert "probability" in part.cause


def test_a_modality_without_a_device_is_off():
    clock = VirtualClock()
    window = Window("desk", WindowConfig(), {"face": "camera 0"}, clock)
    segments = window.close(ns(1)).segments
    assert segments["voice"].state == segments["text"].state == "off"
    assert segments["face"].state == "lost"


def test_nothing_grows():
    scene = Scene()
    for begin in range(0, 60, 2):
        scene.play(begin, begin + 2)
        scene.segments(begin + 2)
    assert len(scene.window._faces) <= 5 * 15
    assert len(scene.window._speech) <= 5 / 0.032


def test_coverage_counts_holes_only():
    steady = np.arange(-4, 0, 0.1)
    assert coverage(steady, -4, 0) == 1.0
    assert coverage(np.array([t for t in steady if not -3 < t < -1]), -4, 0) == pytest.approx(0.55, abs=0.03)
    assert coverage(np.array([]), -4, 0) == 0.0


@given(st.floats(allow_nan=False), st.floats(-10, 10), st.floats(0.1, 10))
def test_a_ramp_stays_between_0_and_1(value, low, width):
    assert 0 <= ramp(value, low, low + width) <= 1


def test_a_camera_of_less_than_two_pictures_a_second_is_lost_for_good_and_does_not_flicker():
    scene = Scene().play(0, 3)
    said = []
    for step in range(40):  # ten seconds at 1.5 frames/s, a window each hop
        begin_s = 3 + step * 0.25
        scene.play(begin_s, begin_s + 0.25, camera=False)
        for t_s in np.arange(3, 13, 1 / 1.5):
            if begin_s <= t_s < begin_s + 0.25:
                scene.window.saw("camera 0", ns(t_s))
                scene.window.add_face(face(t_s))
        said.append(scene.segments(begin_s + 0.25)["face"])
    states = [segment.state for segment in said]
    assert states[0] == "ok"
    first = states.index("lost")
    assert first <= 3
    assert set(states[first:]) == {"lost"}
    assert {segment.reliability for segment in said[first:]} == {0.0}
    assert said[-1].cause == "camera 0: delivers only every 0.7 s"
    scene.play(13, 13.5)
    assert scene.segments(13.5)["face"].reliability > 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.booleans())
def test_the_mean_of_a_window_is_numpys_to_the_last_bit(values, single):
    values = [np.float32(value) for value in values] if single else values
    assert mean(values) == float(np.mean(values))


@given(st.lists(st.floats(-4, 0), max_size=60).map(sorted), st.floats(-4, -0.1))
def test_the_coverage_of_a_window_is_the_sum_of_its_holes_to_the_last_bit(times, start_s):
    edges = np.concatenate(([start_s], times, [0.0]))
    holes = np.maximum(0.0, np.diff(edges) - 0.25).sum()
    expected = float(max(0.0, 1.0 - holes / (0.0 - start_s))) if times else 0.0
    assert coverage(np.array(times), start_s, 0.0) == expected
