"""The weights that are shipped: real, small, of this program's features, and better than knowing nothing."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.agfn_config import Ablation
from models.checkpoint import MAX_BYTES, load, save
from models.live import LiveAGFN
from realtime.clock import VirtualClock
from realtime.config.schema import Config, WindowConfig
from realtime.errors import ModelError
from realtime.extract.schema import FACE_COLUMNS, OLDER, schema_hash
from realtime.fuse.window import DIMS, Window
from realtime.fuse.worker import WEIGHTS, Fuser, fuser_of
from realtime.session.models import SharedModels
from realtime.types import FaceFeatures, Segment, SpeechFrame, Transcript, WindowView, Word
from scripts.training.sentences import sst

MS = 1_000_000


def test_the_file_is_small_and_made_for_the_features_of_this_program():
    assert WEIGHTS.stat().st_size <= MAX_BYTES
    checkpoint = load(WEIGHTS, schema_hash())
    assert replace(checkpoint.model.config.ablation, columns={}) == Ablation()
    assert checkpoint.metadata["command"].startswith(("python -m scripts.fit", "python scripts/fit.py"))


@pytest.mark.models
@pytest.mark.corpus
def test_on_sentences_of_strangers_it_has_not_seen_it_beats_a_constant(data_dir):
    """The test split of the Stanford Sentiment Treebank, which no training reads; the words alone are heard."""
    parts = SharedModels(Config(), VirtualClock())
    unseen = [each for each, whole in sst(data_dir, "test") if whole][::50]
    label = np.array([each.label for each in unseen])
    score = np.array([score_of(parts, each.words) for each in unseen])
    assert len(label) > 40
    assert np.abs(score - label).mean() < 0.85 * np.abs(label - np.median(label)).mean()
    assert np.corrcoef(score, label)[0, 1] > 0.5


def score_of(parts, words):
    """What the program says when the last of the words was spoken into a clear microphone."""
    said = tuple(Word(i * 300 * MS, (i * 300 + 250) * MS, word, 0.95, True) for i, word in enumerate(words, 20))
    end_ns = said[-1].end_ns
    window = Window("desk", WindowConfig(), {"text": "microphone"}, VirtualClock(end_ns))
    window.saw("microphone", end_ns)
    for step in range(125, 0, -1):
        window.add_speech(SpeechFrame(end_ns - step * 32 * MS, np.zeros(512, np.float32), 0.95, -20.0, 30.0, 0.0))
    for features in parts.text().feed(Transcript(end_ns, said, ())):
        window.add_text(features)
    [estimate] = parts.fuser.fuse([window.close(end_ns)])
    return estimate.raw


def test_weights_for_other_features_are_refused(monkeypatch):
    monkeypatch.setattr("realtime.fuse.worker.schema_hash", lambda: "other")
    with pytest.raises(ModelError, match="other"):
        Fuser(WEIGHTS, "cpu", VirtualClock())


@pytest.mark.parametrize("older", sorted(OLDER))
def test_weights_for_older_features_fuse_the_columns_that_they_know(tmp_path, older):
    torch.manual_seed(0)
    shipped = load(WEIGHTS, schema_hash())
    network = LiveAGFN(replace(shipped.model.config, inputs=dict(OLDER[older]), ablation=Ablation())).eval()
    save(tmp_path / "older.safetensors", replace(shipped, model=network, schema_hash=older))
    fuser = Fuser(tmp_path / "older.safetensors", "cpu", VirtualClock(), backend="torch")
    rng = np.random.default_rng(0)

    def scored(**changed):
        found = {}
        for name, width in DIMS.items():
            values = rng.standard_normal((5, width)).astype(np.float32) if name not in changed else changed[name]
            found[name] = Segment(values, -np.arange(5, dtype=np.float32)[::-1], 0.9, "ok", None, 0)
        segments.update(found)
        return fuser.fuse([WindowView("desk", 0, 0, 0, dict(found))])[0].raw

    segments = {}
    raw = scored()
    kept = {name: segment.values.copy() for name, segment in segments.items()}
    for name, values in kept.items():
        values[:, OLDER[older][name] :] = 7.0
    assert scored(**kept) == pytest.approx(raw)
    kept["voice"][:, 0] += 3.0
    assert scored(**kept) != pytest.approx(raw)


def test_cuda_is_refused_in_words_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="cuda"):
        Fuser(WEIGHTS, "cuda", VirtualClock())


@pytest.mark.models
@pytest.mark.corpus
def test_a_happy_face_and_voice_score_above_an_angry_one(data_dir):
    """CREMA-D: one actor, one neutral sentence, never trained on; the words are left out."""
    scores = {}
    for emotion in ("HAP", "ANG"):
        clip = data_dir / "cremad" / f"1001_DFA_{emotion}_XX.flv"
        options = ["--source", clip, "--pace", "fast", "--mqtt", "off", "--set", "asr.enabled=false", "--output", "-"]
        command = [sys.executable, "-m", "realtime.run", "--no-view", *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        raws = [float(part.split(",")[0]) for part in done.stdout.split('"raw":')[1:] if not part.startswith("null")]
        scores[emotion] = np.mean(raws)
    assert scores["HAP"] > scores["ANG"] + 0.5


def smiling(seen_s, happy=0.9):
    """The window of a face that has been seen for so long and smiles, or not."""
    window = Window("desk", WindowConfig(), {"face": "camera"}, VirtualClock())
    values = dict.fromkeys(FACE_COLUMNS, 0.0) | {"expression_happy": happy, "expression_neutral": -0.7 * happy}
    values |= dict.fromkeys(("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft"), 0.6 * happy)
    own = np.array([*(values | {"expression_known": 1.0}).values()], np.float32)
    for step in range(int(seen_s * 15) + 1):
        t_ns = step * 1000 * MS // 15
        window.saw("camera", t_ns)
        window.add_face(FaceFeatures(t_ns, own, True, 1, 0.95, 300.0, 0.5, 0.01, 1))
    return window.close(int(seen_s * 1000) * MS)


def test_a_silent_smile_is_positive_once_the_face_is_known_and_a_first_picture_says_little():
    fuser = Fuser(WEIGHTS, "cpu", VirtualClock())
    first, later, plain = fuser.fuse([smiling(0.1), smiling(4.0), smiling(4.0, 0.0)])
    assert abs(first.raw) <= 0.5
    assert later.raw > 1.0
    assert abs(plain.raw) <= 0.5


def test_the_default_configuration_loads_the_shipped_file_and_another_name_another_file(tmp_path):
    shipped, other = load(WEIGHTS, schema_hash()), tmp_path / "other.safetensors"
    save(other, replace(shipped, metadata={"command": "another training"}))
    plain = Config.model_validate({"fusion": {"device": "cpu", "backend": "torch"}})
    named = Config.model_validate({"fusion": {"device": "cpu", "backend": "torch", "weights": str(other)}})
    commands = [fuser_of(config, VirtualClock()).checkpoint.metadata["command"] for config in (plain, named)]
    assert commands == [shipped.metadata["command"], "another training"]
