"""The weights that are shipped: real, small, of this program's features, and better than knowing nothing."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import torch

from models.checkpoint import MAX_BYTES, load
from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.errors import ModelError
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS, Fuser


def test_the_file_is_small_and_made_for_the_features_of_this_program():
    assert WEIGHTS.stat().st_size <= MAX_BYTES
    checkpoint = load(WEIGHTS, schema_hash())
    assert checkpoint.model.config.variant == "robust"
    assert checkpoint.metadata["command"].startswith("python scripts/fit.py")


def test_on_speakers_it_has_not_seen_it_beats_a_constant(data_dir):
    with (data_dir / "mosi_clips" / "labels.csv").open() as file:
        label = np.array([float(row["label"]) for row in csv.DictReader(file)])
    constant = np.abs(label - np.median(label)).mean()
    metrics = load(WEIGHTS, schema_hash()).metadata["metrics"]["clean"]
    assert metrics["mae"] < 0.85 * constant
    assert metrics["r"] > 0.5


def test_weights_for_other_features_are_refused(monkeypatch):
    monkeypatch.setattr("realtime.fuse.worker.schema_hash", lambda: "other")
    with pytest.raises(ModelError, match="other"):
        Fuser(WEIGHTS, "cpu", VirtualClock())


def test_cuda_is_refused_in_words_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelError, match="cuda"):
        Fuser(WEIGHTS, "cuda", VirtualClock())


@pytest.mark.models
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


def test_the_default_configuration_names_the_shipped_file():
    assert Config().fusion.weights == "default"
