"""What the stages of training teach: voices shown first are understood though no later sample has one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.agfn_config import FULL, AgfnConfig
from realtime.types import NS_PER_S, Segment, WindowView
from scripts.training.fusion import Recipe, Sample, predict, train
from scripts.training.windows import absent

DIMS = {"text": 2, "voice": 77, "face": 54}
RNG = np.random.default_rng(3)
TILT = {name: RNG.normal(0, 1, size) for name, size in DIMS.items()}


def said(name, label):
    """Make a window with one modality, whose columns lean with the label."""
    segments = {other: replace(absent(other), values=np.zeros((0, DIMS[other]), np.float32)) for other in DIMS}
    values = (label * TILT[name] + RNG.normal(0, 1, (4, DIMS[name]))).astype(np.float32)
    segments[name] = Segment(values, np.array([-3, -2, -1, 0], np.float32), 1.0, "ok", None, 0)
    return Sample((WindowView("train", 0, 0, NS_PER_S, segments),), label, 1.0)


def correlation(model, name):
    labels = np.linspace(-2.5, 2.5, 40)
    views = [view for label in labels for view in said(name, float(label)).views]
    return float(np.corrcoef(labels, predict(model, views)["score"])[0, 1])


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_voices_shown_first_are_understood_though_only_words_follow():
    labels = RNG.uniform(-2.5, 2.5, 120)
    words, voices = ([said(name, float(label)) for label in labels] for name in ("text", "voice"))
    config = AgfnConfig(inputs=DIMS, width=16, layers=1, ablation=FULL)
    recipe = Recipe(epochs=2, per_epoch=240, first_epochs=2, first_per_epoch=480, vat=0.0, unrelated=0.0, acted=0.0)
    unshown = train(words, config, recipe)
    shown = train(words, config, recipe, voices)
    assert correlation(shown, "text") > 0.8
    assert correlation(shown, "voice") > 0.8
    assert correlation(shown, "voice") > abs(correlation(unshown, "voice")) + 0.2
    assert all(parameter.requires_grad for parameter in shown.parameters())
