"""What is published when no words can be had, and the fusion of fitted weights outside of the network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_live_fusion import CONFIG, network, windows
from test_published import told

from models.uncertainty import STATES
from scripts import evaluate
from scripts.evaluation import lost
from scripts.evaluation.lost import figures
from scripts.training.gate import as_shipped


def test_size_of_the_score_and_coverage_are_of_ends_and_of_all_windows_with_a_score():
    found = figures([told([np.nan, 0.2, -0.4], label=0.8), told([0.0, 0.6], label=-0.2)])
    assert (found["clips"], found["windows"]) == (2, 4)
    assert found["end_score"] == pytest.approx(0.5)
    assert found["score"] == pytest.approx(0.3)
    assert found["end_coverage"] == 0.5
    assert found["coverage"] == 0.75
    assert found["width"] == pytest.approx(2.0)


def test_fitted_weights_fuse_their_streams_as_the_network_does():
    model = network()
    with torch.no_grad():
        model.gain.copy_(torch.tensor([1.0, 0.4, 0.7]))
        model.gate_bias.copy_(torch.tensor([0.0, -1.0, 0.5]))
        model.exponent.copy_(torch.tensor([1.0, 2.0, 0.5]))
        values, times, mask, _ = windows()
        trust = torch.rand(6, 3, generator=torch.Generator().manual_seed(4))
        trust[2, 0] = trust[4, 1] = 0.0
        out = model(values, times, mask, trust)
    rows = SimpleNamespace(own=out.own_score, log_spread=out.own_spread.log(), reliability=trust * out.used)
    score, spread = as_shipped(model, rows)
    np.testing.assert_allclose(score, out.score, atol=1e-5)
    np.testing.assert_allclose(spread, out.spread, atol=1e-4)
    assert CONFIG.ablation.given == "text"
    assert "none" in STATES


def test_without_tapes_it_says_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(lost.corpora, "mosi_clips", lambda _: iter(()))
    with pytest.raises(SystemExit, match=r"scripts\.features"):
        evaluate.main(["lost", "--data", str(tmp_path), "--cache", str(tmp_path)])
