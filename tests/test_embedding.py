"""The utterance embedding of a voice: what is pooled, what is subtracted, and how it comes into a window."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from models import embedding
from models.embedding import VoiceEmbedder, pooled, spoken
from models.weightsfile import CheckpointError
from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig, WindowConfig
from realtime.extract.asr.transcriber import AsrModel
from realtime.extract.asr.voice_mean import VoiceMean
from realtime.extract.schema import EMBEDDING_DIM, VOICE_DIM, VOICE_INPUT_DIM
from realtime.fuse.window import Window
from realtime.types import NS_PER_S, SpeechFrame, TextFeatures, VoiceFeatures
from scripts.benchmarks.sound import noise
from scripts.train_embedding import fitted

RNG = np.random.default_rng(0)


def voice(seconds, level=0.1):
    return (level * RNG.standard_normal(int(seconds * 16_000))).astype(np.float32)


def test_pauses_are_not_pooled():
    sound = np.concatenate((voice(1), np.zeros(16_000, np.float32), voice(1)))
    states = np.repeat(np.array([[1.0], [100.0], [3.0]], np.float32), 50, axis=0)
    assert spoken(sound).tolist() == [True] * 50 + [False] * 50 + [True] * 50
    assert pooled(states, sound) == pytest.approx([2.0, 1.0, 3.0])


def test_too_little_speech_has_no_embedding():
    assert pooled(np.ones((200, 4), np.float32), voice(0.1)) is None
    assert pooled(np.ones((0, 4), np.float32), np.zeros(0, np.float32)) is None


def test_the_columns_follow_their_targets_and_not_who_speaks():
    speaker = np.repeat(["a", "b", "c"], 200)
    wanted = RNG.standard_normal((600, 2))
    who = 5 * RNG.standard_normal((3, 30))[np.repeat(np.arange(3), 200)]
    rows = who + wanted @ (10 * RNG.standard_normal((2, 30))) + 0.1 * RNG.standard_normal((600, 30))
    found = fitted(rows, speaker, np.full(600, "one"), wanted).project(rows)
    apart = np.concatenate([found[speaker == name] - found[speaker == name].mean(0) for name in "abc"])
    assert apart.std(0) == pytest.approx([1, 1], abs=0.1)
    for column in range(2):
        assert np.corrcoef(apart[:, column], wanted[:, column])[0, 1] > 0.9


def test_a_small_corpus_counts_as_much_as_a_large_one():
    corpus = np.repeat(["large", "small"], [20_000, 2_000])
    speaker = np.array([f"{name}-{number % 4}" for number, name in enumerate(corpus)])
    rows = RNG.standard_normal((22_000, 2))
    wanted = np.where(corpus == "large", rows[:, 0], rows[:, 1])[:, None]
    large, small = fitted(rows, speaker, corpus, wanted).weight[0]
    assert small == pytest.approx(large, rel=0.15)


def test_the_shipped_projection_is_of_the_model_that_hears_english(tmp_path):
    assert VoiceEmbedder.load(AsrConfig().hears_with).weight.shape == (EMBEDDING_DIM, 3 * 384)
    assert VoiceEmbedder.load("base") is None
    own = tmp_path / "own.safetensors"
    broken = {"x.weight": np.full((2, 3), np.nan, np.float32), "x.bias": np.zeros(2, np.float32)}
    own.write_bytes(save(broken, {"format": embedding.FORMAT, "models": json.dumps(["x"])}))
    with pytest.raises(CheckpointError, match="damaged"):
        VoiceEmbedder.load("x", own)
    own.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        VoiceEmbedder.load("x", own)


def test_a_decode_embeds_the_voice_and_a_model_of_its_own_folder_does_not():
    model = AsrModel(AsrConfig(reading_model="none"))
    found = model.decode(noise(2.0), (), 20, None)[0].embedding
    assert len(found) == EMBEDDING_DIM
    assert np.isfinite(found).all()
    plain = AsrModel(AsrConfig(reading_model="none"), embeds=False)
    assert plain.decode(noise(2.0), (), 20, None)[0].embedding is None


EMBEDDINGS = st.lists(st.floats(-8, 8), min_size=EMBEDDING_DIM, max_size=EMBEDDING_DIM)


@given(st.lists(EMBEDDINGS, max_size=6), EMBEDDINGS, st.integers(0, 6))
def test_a_mean_cut_anywhere_subtracts_the_same(said, newest, cut):
    whole, part = VoiceMean(), VoiceMean()
    for number, each in enumerate(said):
        if number == cut:
            state, part = part.snapshot(), VoiceMean()
            part.restore(type(state).model_validate_json(state.model_dump_json()))
        whole.learn(each)
        part.learn(each)
    assert part.subtract(newest) == pytest.approx(whole.subtract(newest), abs=0.006)


def test_of_a_first_utterance_all_is_left_and_of_a_constant_voice_less_and_less():
    mean, one = VoiceMean(), np.ones(EMBEDDING_DIM)
    left = []
    for _ in range(10):
        left.append(float(mean.subtract(one)[0]))
        mean.learn(one)
    assert left[0] == 1
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.2


@pytest.mark.parametrize(("heard_s", "age_s"), [(1.5, 2.5), (4.0, 0.0), (5.0, 0.0)])
def test_a_window_holds_the_newest_embedding_and_its_age(heard_s, age_s):
    window = Window("desk", WindowConfig(), {"voice": "mic", "text": "mic"}, VirtualClock())
    for step in range(40):
        window.saw("mic", step * NS_PER_S // 10)
        window.add_voice(VoiceFeatures(step * NS_PER_S // 10, np.zeros(VOICE_DIM, np.float32)))
    for step in range(124):
        window.add_speech(SpeechFrame(step * 32_000_000, np.zeros(512, np.float32), 0.9, -20.0, 20.0, 0.0))
    own = np.arange(EMBEDDING_DIM, dtype=np.float32)
    window.add_text(TextFeatures(int(heard_s * NS_PER_S), (), np.zeros((0, 2), np.float32), embedding=own))
    values = window.close(4 * NS_PER_S).segments["voice"].values
    assert values.shape[1] == VOICE_INPUT_DIM
    assert (values[:, VOICE_DIM:-2] == own).all()
    assert (values[:, -2] == 1).all()
    assert values[:, -1] == pytest.approx(age_s)


def test_an_embedding_of_another_window_and_none_are_zeros_that_say_so():
    window = Window("desk", WindowConfig(), {"voice": "mic", "text": "mic"}, VirtualClock())
    window.add_text(TextFeatures(NS_PER_S, (), np.zeros((0, 2), np.float32), embedding=np.ones(EMBEDDING_DIM)))
    for step in range(60, 100):
        window.saw("mic", step * NS_PER_S // 10)
        window.add_voice(VoiceFeatures(step * NS_PER_S // 10, np.ones(VOICE_DIM, np.float32)))
    values = window.close(10 * NS_PER_S).segments["voice"].values
    assert (values[:, VOICE_DIM:] == 0).all()
    assert (values[:, :VOICE_DIM] == 1).all()
