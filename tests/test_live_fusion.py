"""The live fusion (models/live.py): distributions weighed by what is known of each."""

import numpy as np
import pytest
import torch

from models.agfn_config import FULL, Ablation, AgfnConfig
from models.agfn_graph import flat, input_names
from models.export import to_onnx
from models.live import LiveAGFN, build

INPUTS = {"text": 2, "voice": 5, "face": 4}
CONFIG = AgfnConfig(INPUTS, width=16)


def network():
    torch.manual_seed(1)
    return build(CONFIG).eval()


def windows(count=6, steps=4, location=1.0, log_scale=-0.5, seed=0):
    random = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(count, steps, size, generator=random) for name, size in INPUTS.items()}
    values["text"][:, -1] = torch.tensor([location, log_scale])
    times = {name: torch.linspace(-2, 0, steps).expand(count, -1) for name in INPUTS}
    mask = {name: torch.ones(count, steps, dtype=torch.bool) for name in INPUTS}
    return values, times, mask, torch.ones(count, len(INPUTS))


def test_it_is_what_a_configuration_with_a_given_modality_means():
    assert isinstance(network(), LiveAGFN)
    assert not isinstance(build(AgfnConfig(INPUTS, width=16, ablation=FULL)), LiveAGFN)
    with pytest.raises(ValueError, match="voice"):
        build(AgfnConfig(INPUTS, width=16, ablation=Ablation(given="voice")))


def test_alone_the_words_are_believed_as_they_are():
    values, times, mask, trust = windows(location=1.7)
    out = network()(values, times, mask, trust * torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(out.score, torch.tensor(1.7))
    assert torch.equal(out.weights, torch.tensor([1.0, 0.0, 0.0]).expand(6, -1))


def test_voice_and_face_correct_the_words_by_no_more_than_their_weight():
    out = network()(*windows(location=0.5))
    assert torch.allclose(out.weights.sum(-1), torch.ones(6))
    assert ((out.score - 0.5).abs() <= 3 * (1 - out.weights[:, 0]) + 1e-6).all()


def test_doubtful_late_or_open_words_leave_more_to_the_others():
    model, (values, times, mask, trust) = network(), windows()
    sure = model(values, times, mask, trust).weights[:, 0]
    doubtful = model(values, times, mask, trust * torch.tensor([0.3, 1.0, 1.0])).weights[:, 0]
    open_values = windows(log_scale=0.7)[0]
    wide = model(open_values, times, mask, trust).weights[:, 0]
    assert (doubtful < sure).all()
    assert (wide < sure).all()


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
def test_what_is_masked_weighs_nothing_and_changes_no_bit(name, rubbish):
    model, (values, times, mask, trust) = network(), windows()
    index = list(INPUTS).index(name)
    trust[:, index] = 0.0
    clean = model(values, times, mask, trust)
    values[name] = torch.full_like(values[name], rubbish)
    dirty = model(values, times, mask, trust)
    assert (clean.weights[:, index] == 0).all()
    assert torch.equal(clean.score, dirty.score)
    assert torch.equal(clean.spread, dirty.spread)
    assert torch.equal(clean.weights, dirty.weights)


def test_with_nothing_there_nothing_is_said():
    values, times, mask, trust = windows()
    out = network()(values, times, mask, 0 * trust)
    assert not out.present.any()
    assert not out.weights.any()
    assert not out.score.any()


def test_disagreement_makes_it_less_sure():
    model = network()
    _, times, mask, trust = windows()
    other = model(*windows(location=0.0)).own_score[0, 2].item()
    agreeing, opposed = (
        model(windows(location=at)[0], times, mask, trust).spread[0] for at in (other, -3 * np.sign(other))
    )
    assert opposed > agreeing


def test_the_graph_says_the_same():
    onnxruntime = pytest.importorskip("onnxruntime")
    model = network()
    session = onnxruntime.InferenceSession(to_onnx(model, {}), providers=["CPUExecutionProvider"])
    values, times, mask, trust = windows()
    trust[0, 1] = trust[1, 0] = 0.0
    given = dict(zip(input_names(INPUTS), flat(values, times, mask, trust), strict=True))
    names = {part.name for part in session.get_inputs()}
    score, spread, weights = session.run(None, {name: value.numpy() for name, value in given.items() if name in names})
    out = model(values, times, mask, trust)
    assert np.allclose(score, out.score.detach(), atol=1e-5)
    assert np.allclose(spread, out.spread.detach(), atol=1e-5)
    assert np.allclose(weights, out.weights.detach(), atol=1e-5)
