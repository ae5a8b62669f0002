"""The voice: the same vectors in any chunking, no analysis across a gap, little effect of the microphone's gain."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from models import manifest
from realtime.errors import ModelError
from realtime.extract.schema import MELS, VOICE_COLUMNS, VOICE_DIM
from realtime.extract.voice.dft import Dft
from realtime.extract.voice.extractor import VoiceExtractor
from realtime.extract.voice.pitch import PitchTracker
from realtime.extract.voice.prosody import BLOCK, GRAPH, PAST, Block, OwnVoice, Prosody, alone, prosody
from realtime.extract.voice.prosody_net import ProsodyNet
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk
from scripts import export_voice


def ns(samples):
    return samples * NS_PER_S // SAMPLE_RATE_HZ


def vowel(seconds, f0_hz=140.0, gain=0.1, seed=1):
    """A glottal pulse train with slow swells, harmonics that fall off, and a little breath."""
    t = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    sound = sum(np.sin(2 * np.pi * k * f0_hz * t) / k for k in range(1, 20))
    sound = sound * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    breath = np.random.default_rng(seed).standard_normal(t.size)
    return (gain * (sound / 3 + 0.01 * breath)).astype(np.float32)


def run(extractor, sound, sizes, t_ns=0):
    out, at = [], 0
    while at < len(sound):
        size = next(sizes)
        out += extractor.feed(Chunk(t_ns + ns(at), sound[at : at + size]))
        at += size
    return out


def column(features, name):
    return np.array([item.values[VOICE_COLUMNS.index(name)] for item in features])


SOUND = vowel(0.9)
WHOLE = list(VoiceExtractor().feed(Chunk(5, SOUND)))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 200 * len(sizes)))
def test_any_chunking_gives_the_same_vectors_bit_for_bit(sizes):
    pieces = run(VoiceExtractor(), SOUND, iter(sizes * len(SOUND)), t_ns=5)
    assert [item.t_ns for item in pieces] == [item.t_ns for item in WHOLE]
    assert all(a.values.tobytes() == b.values.tobytes() for a, b in zip(pieces, WHOLE, strict=True))


def test_one_finite_vector_per_100_ms_stamped_with_the_end_of_its_block():
    assert len(WHOLE) == (len(SOUND) - PAST) // BLOCK
    assert [item.t_ns for item in WHOLE] == [5 + ns(PAST + BLOCK * (k + 1)) for k in range(len(WHOLE))]
    assert all(item.values.shape == (VOICE_DIM,) and item.values.dtype == np.float32 for item in WHOLE)
    assert all(np.isfinite(item.values).all() for item in WHOLE)


def test_nothing_is_computed_across_a_gap():
    extractor = VoiceExtractor()
    before = list(extractor.feed(Chunk(0, SOUND[:4000])))
    resumed_at = 4000 + 800
    after = list(extractor.feed(Chunk(ns(resumed_at), SOUND[resumed_at:12000], lost_samples=800)))
    assert len(before) == (4000 - PAST) // BLOCK
    assert after[0].t_ns == ns(resumed_at + PAST + BLOCK)


def test_a_jump_in_time_counts_as_a_gap_even_without_a_marker():
    extractor = VoiceExtractor()
    extractor.feed(Chunk(0, SOUND[: PAST + BLOCK - 1]))
    assert list(extractor.feed(Chunk(5 * NS_PER_S, SOUND[:BLOCK]))) == []


def test_flush_drops_the_incomplete_block():
    extractor = VoiceExtractor()
    extractor.feed(Chunk(0, SOUND[: PAST + BLOCK - 1]))
    assert list(extractor.flush()) == []
    assert list(extractor.feed(Chunk(ns(PAST + BLOCK - 1), SOUND[:10]))) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_do_not_poison_later_vectors(bad):
    extractor = VoiceExtractor()
    spoiled = SOUND[:8000].copy()
    spoiled[100:200] = bad
    out = list(extractor.feed(Chunk(0, spoiled)))
    assert out
    assert all(np.isfinite(item.values).all() for item in out)


@pytest.mark.parametrize("sound", [np.zeros(8000, np.float32), np.ones(8000, np.float32)], ids=["silence", "dc"])
def test_silence_and_a_stuck_level_are_finite_and_unvoiced(sound):
    out = list(VoiceExtractor().feed(Chunk(0, sound)))
    assert all(np.isfinite(item.values).all() for item in out)
    assert column(out, "voiced_share").max() == 0


@pytest.mark.parametrize("f0_hz", [90.0, 140.0, 220.0, 330.0, 450.0])
def test_pitch_is_within_a_quarter_of_a_semitone(f0_hz):
    frames = torch.from_numpy(vowel(0.5, f0_hz)).unfold(0, 640, 160)
    octaves, periodicity = PitchTracker(640)(frames)
    assert float((octaves - np.log2(f0_hz)).abs().max()) < 0.25 / 12
    assert float(periodicity.min()) > 0.9


def test_white_noise_is_not_voiced():
    noise = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * 0.1
    assert column(VoiceExtractor().feed(Chunk(0, noise)), "voiced_share").mean() < 0.1


def test_the_gain_of_the_microphone_matters_less_and_less():
    loud, soft = (list(VoiceExtractor().feed(Chunk(0, vowel(40, gain=gain)))) for gain in (0.2, 0.02))
    gap = np.abs(column(loud, "level_mean") - column(soft, "level_mean"))
    assert gap[0] > 1.5, "at first a tenth of the amplitude (20 dB) is heard as softer"
    assert gap[-1] < 0.3, "after 40 s of voice it is this microphone's usual level"


def test_the_pitch_of_a_voice_becomes_its_own_reference():
    out = list(VoiceExtractor().feed(Chunk(0, vowel(40, f0_hz=340.0))))
    relative = column(out, "f0_relative")
    assert relative[0] > 0.5, "an octave above the usual voice"
    assert abs(relative[-1]) < 0.15
    assert column(out, "f0_mean").min() > 0.9, "the absolute pitch stays known"


def test_a_louder_stretch_stands_out_against_the_voice_before_it():
    sound = np.concatenate((vowel(5, gain=0.03), vowel(1, gain=0.2)))
    level = column(VoiceExtractor().feed(Chunk(0, sound)), "level_mean")
    assert level[-5:].mean() - level[30:45].mean() > 1.0


def test_voices_analysed_together_get_what_each_gets_alone():
    sounds = [vowel(0.13, f0_hz=120.0 + 30 * number, gain=0.02 * (number + 1)) for number in range(3)]
    sounds.append(np.zeros(PAST + BLOCK, np.float32))
    sounds = [sound[: PAST + BLOCK] for sound in sounds]
    together, apart = ([OwnVoice() for _ in sounds] for _ in range(2))
    found = prosody()([Block(sound, own) for sound, own in zip(sounds, together, strict=True)])
    for sound, own, other, values in zip(sounds, apart, together, found, strict=True):
        np.testing.assert_allclose(values, alone(Block(sound, own)), atol=1e-5)
        np.testing.assert_allclose(own.usual, other.usual, atol=1e-4)
    assert together[0].usual[0] != together[1].usual[0]
    assert together[-1].usual.tolist() == OwnVoice().usual.tolist()  # silence teaches nothing


NET = ProsodyNet().eval()


@pytest.mark.parametrize("count", [1, 8, 33])
def test_the_graph_computes_what_pytorch_and_torchaudio_do(count):
    assert export_voice.difference(NET, prosody(), count) < 1e-4


def test_over_a_whole_sentence_the_graph_stays_with_pytorch(speech):
    blocks = np.lib.stride_tricks.sliding_window_view(speech, PAST + BLOCK)[::BLOCK]
    own, usual = OwnVoice(), OwnVoice().usual[None]
    for block in blocks:
        wanted, usual = export_voice.by_torch(NET, block[None].copy(), usual)
        np.testing.assert_allclose(alone(Block(block, own)), wanted[0], atol=1e-4)
    np.testing.assert_allclose(own.usual, usual[0], atol=1e-4)
    assert own.usual[2] > 4.5, "it was voiced"


def test_the_bands_are_those_of_torchaudios_own_transform():
    spectrum = MelSpectrogram(
        SAMPLE_RATE_HZ, n_fft=512, win_length=400, hop_length=160, f_min=40.0, n_mels=MELS, center=False
    )
    block = SOUND[: PAST + BLOCK]
    # torchaudio lays the window of 400 samples into the middle of its frame of 512.
    padded = torch.from_numpy(np.pad(block, (0, 56)))[PAST + 160 - 400 - 56 :]
    own = OwnVoice()
    found = alone(Block(block, own))[:MELS]
    gain = 10 ** (-float(own.usual[0]) / 10)
    wanted = torch.log10(spectrum(padded) / 400 * gain + 1e-5).mean(1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(("length", "given", "bins"), [(512, 400, 257), (1024, 640, 513), (2048, 513, 429), (8, 8, 5)])
def test_the_transform_by_two_products_is_a_fourier_transform(length, given, bins):
    samples = torch.from_numpy(np.random.default_rng(0).standard_normal((3, given)).astype(np.float32))
    wanted = torch.fft.rfft(samples, length)[:, :bins]
    transform = Dft(length, given, bins)
    real, imaginary = transform(samples)
    torch.testing.assert_close(torch.complex(real, imaginary), wanted, atol=2e-4, rtol=0)
    torch.testing.assert_close(transform.real(samples), wanted.real, atol=2e-4, rtol=0)
    torch.testing.assert_close(transform.power(samples), wanted.abs().square(), atol=1e-3, rtol=1e-4)


def test_a_graph_of_the_voice_that_is_not_the_shipped_one_is_refused(tmp_path):
    for name in (GRAPH.name, manifest.NAME):
        shutil.copy(GRAPH.with_name(name), tmp_path)
    assert Prosody(tmp_path / GRAPH.name)
    content = bytearray(GRAPH.read_bytes())
    content[-1] ^= 1
    (tmp_path / GRAPH.name).write_bytes(content)
    with pytest.raises(ModelError, match=f"is not what {manifest.NAME} beside it lists; install"):
        Prosody(tmp_path / GRAPH.name)
    with pytest.raises(ModelError, match="No such file"):
        Prosody(tmp_path / "gone.onnx")
