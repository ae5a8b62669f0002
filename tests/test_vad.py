import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.capture.media import MediaFile
from realtime.config.schema import Config
from realtime.extract.vad import FORGET_FRAMES, FRAME_SAMPLES, PAUSE_BELOW, SnrEstimate, SpeechDetector
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk
from scripts.evaluation.live import read_clips

RANDOM = np.random.default_rng(0)
NOISE = (0.1 * RANDOM.standard_normal(5000)).astype(np.float32)


def at_ns(sample):
    return sample * NS_PER_S // SAMPLE_RATE_HZ


def detect(sound, *cuts, t0_ns=0):
    detector = SpeechDetector()
    edges = [0, *sorted(cuts), len(sound)]
    frames = []
    for start, end in itertools.pairwise(edges):
        frames += detector.feed(Chunk(t0_ns + at_ns(start), sound[start:end]))
    return [*frames, *detector.flush()]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, len(NOISE)), max_size=12))
def test_any_chunking_gives_the_same_frames(cuts):
    whole, cut = detect(NOISE), detect(NOISE, *cuts)
    assert [frame.probability for frame in cut] == [frame.probability for frame in whole]
    assert [frame.level_db for frame in cut] == [frame.level_db for frame in whole]
    assert max(abs(one.t_ns - other.t_ns) for one, other in zip(whole, cut, strict=True)) <= at_ns(1)
    np.testing.assert_array_equal(np.concatenate([frame.samples for frame in cut]), NOISE)


def test_frames_carry_the_time_of_their_first_sample():
    frames = detect(NOISE, 700, t0_ns=5 * NS_PER_S)
    assert [len(frame.samples) for frame in frames] == [FRAME_SAMPLES] * 9 + [5000 - 9 * FRAME_SAMPLES]
    for index, frame in enumerate(frames):
        assert abs(frame.t_ns - 5 * NS_PER_S - at_ns(index * FRAME_SAMPLES)) <= at_ns(1)


def test_the_times_follow_the_clock_of_the_source_when_it_drifts():
    detector = SpeechDetector()
    frames = []
    for index in range(100):
        frames += detector.feed(Chunk(index * 20_010_000, np.zeros(320, np.float32)))
    assert frames[-1].end_ns == pytest.approx(100 * 20_010_000, abs=40_000_000)


def test_silence_is_no_speech_and_has_the_floor_as_its_level():
    frames = detect(np.zeros(SAMPLE_RATE_HZ, np.float32))
    assert max(frame.probability for frame in frames) < 0.2
    assert {frame.level_db for frame in frames} == {-120.0}
    assert frames[-1].snr_db is None


def test_a_gap_is_marked_and_the_broken_frame_counts_as_lost():
    detector = SpeechDetector()
    before = list(detector.feed(Chunk(0, NOISE[:600])))
    after = list(detector.feed(Chunk(at_ns(1600), NOISE[600:1700], lost_samples=1000)))
    assert len(before) == 1
    assert [frame.lost_samples for frame in after] == [1000 + 600 - FRAME_SAMPLES, 0]
    assert after[0].t_ns == at_ns(1600)
    np.testing.assert_array_equal(after[0].samples, NOISE[600 : 600 + FRAME_SAMPLES])


def test_after_a_gap_the_network_begins_anew():
    detector = SpeechDetector()
    detector.feed(Chunk(0, NOISE[:2048]))
    after = list(detector.feed(Chunk(NS_PER_S, NOISE[:1024], lost_samples=9000)))
    assert [frame.probability for frame in after] == [frame.probability for frame in detect(NOISE[:1024])]


def test_a_jump_of_the_time_without_a_marker_is_a_gap_too():
    detector = SpeechDetector()
    list(detector.feed(Chunk(0, NOISE[:512])))
    after = list(detector.feed(Chunk(NS_PER_S, NOISE[:512])))
    assert after[0].lost_samples == SAMPLE_RATE_HZ - 512


def test_clipping_is_the_share_of_samples_at_full_scale():
    sound = np.zeros(FRAME_SAMPLES, np.float32)
    sound[:128] = 1.0
    assert detect(sound)[0].clipped == 0.25


def test_broken_samples_do_no_harm():
    sound = NOISE[:1024].copy()
    sound[:3] = np.nan, np.inf, -np.inf
    assert all(np.isfinite([frame.probability, frame.level_db]).all() for frame in detect(sound))


@pytest.mark.parametrize("snr_db", [0, 10, 20, 30])
def test_the_ratio_of_speech_to_background_is_estimated(snr_db):
    estimate = SnrEstimate()
    for _ in range(10):
        estimate.feed(0.02, 1e-4)
        value = estimate.feed(0.98, 1e-4 * (1 + 10 ** (snr_db / 10)))
    assert value == pytest.approx(snr_db, abs=0.01)


def test_there_is_no_ratio_before_both_were_heard():
    estimate = SnrEstimate()
    assert {estimate.feed(0.98, 1.0) for _ in range(50)} == {None}


def speak(estimate, seconds, noise=0.0, loud=1e-2, seed=0):
    """Syllables of 0.2 s with gaps of 0.1 s between them, never a pause that the detector would notice."""
    rng = np.random.default_rng(seed)
    value = None
    for frame in range(round(seconds / 0.032)):
        voice = loud * rng.uniform(0.5, 2.0) if frame % 9 < 6 else 1e-3 * loud
        value = estimate.feed(0.95, voice + noise * rng.uniform(0.9, 1.1))
    return value


def test_noise_that_begins_while_nobody_pauses_is_heard_within_a_window():
    estimate = SnrEstimate()
    assert speak(estimate, 4) > 20
    assert speak(estimate, 3, noise=1e-2) < 3


def test_noise_that_ended_is_forgotten_without_a_pause():
    estimate = SnrEstimate()
    for _ in range(60):
        estimate.feed(0.02, 1e-2)
    assert speak(estimate, 2, noise=1e-2) < 3
    assert speak(estimate, 4) > 8
    assert speak(estimate, 6) > 18  # nor is it half remembered until the next pause


def test_digital_silence_is_no_quiet_room():
    estimate = SnrEstimate()
    noisy = speak(estimate, 4, noise=1e-2)
    for _ in range(20):
        estimate.feed(0.5, 0.0)
    assert estimate.feed(0.95, 2e-2) == pytest.approx(noisy, abs=3)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=50))
def test_the_ratio_stays_in_its_range(frames):
    estimate = SnrEstimate()
    for probability, power in frames:
        value = estimate.feed(probability, power)
        assert value is None or -20 <= value <= 60


def at_rest(seed):
    """A pause of noise whose last frame is the same whatever came before it."""
    noise = (0.001 * np.random.default_rng(seed).standard_normal(FORGET_FRAMES * FRAME_SAMPLES)).astype(np.float32)
    noise[-FRAME_SAMPLES:] = NOISE[:FRAME_SAMPLES] / 100
    return noise


def test_after_half_a_second_without_speech_the_network_begins_anew():
    heard = [detect(np.concatenate((at_rest(seed), NOISE[:4096]))) for seed in (1, 2)]
    one, other = ([frame.probability for frame in frames[FORGET_FRAMES:]] for frames in heard)
    assert max(frame.probability for frame in heard[0]) < PAUSE_BELOW
    assert one == other


@pytest.mark.corpus
def test_sentences_are_heard_after_a_pause_in_a_noisy_room(data_dir):
    detector, at, heard = SpeechDetector(), 0, []
    room = np.random.default_rng(0)
    for clip in [clip for clip in read_clips(data_dir / "mosi_clips") if clip.video == "1DmNV9C1hbY"][:8]:
        items = MediaFile(clip.path, Config().camera).items(0)
        sound = np.concatenate([item.samples for item in items if isinstance(item, Chunk)])
        frames = list(detector.feed(Chunk(at_ns(at), sound)))
        quiet = np.sqrt(np.percentile([np.mean(frame.samples**2) for frame in frames], 10))
        pause = room.normal(0.0, quiet, 2 * SAMPLE_RATE_HZ).astype(np.float32)
        list(detector.feed(Chunk(at_ns(at + len(sound)), pause)))
        at += len(sound) + len(pause)
        heard.append(max(frame.probability for frame in frames))
    assert min(heard) > 0.5


@pytest.mark.parametrize("level_db", [-70, -50, -30, -15])
@pytest.mark.parametrize("slope", [0, 1, 2], ids=["white", "pink", "brown"])
def test_noise_is_no_speech_however_often_the_network_begins_anew(slope, level_db):
    count = 20 * SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(np.random.default_rng(slope).standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    spectrum[hz < 20] = 0.0
    noise = np.fft.irfft(spectrum / np.maximum(hz, 20.0) ** (slope / 2), count)
    noise *= 10 ** (level_db / 20) / np.sqrt(np.mean(noise**2))
    assert max(frame.probability for frame in detect(noise.clip(-1, 1).astype(np.float32))) < 0.5
