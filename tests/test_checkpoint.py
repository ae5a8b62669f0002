import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as pack

from models import checkpoint, weightsfile
from models.agfn import AGFN
from models.agfn_config import FULL, AgfnConfig
from models.calibrate import Calibration
from models.checkpoint import Checkpoint, load, save
from models.weightsfile import CheckpointError, header_of

CALIBRATION = Calibration("reliability", 1.5, 0.1, 1.0, (0.2, 0.1), 2.5)


@pytest.fixture
def made():
    torch.manual_seed(0)
    model = AGFN(AgfnConfig({"text": 5, "face": 3}, width=8, heads=2, ablation=replace(FULL, skill=True))).eval()
    model.set_prior_spread(1.5)
    return Checkpoint(model, "abc", CALIBRATION, {"data": "clips", "mae": 0.7}, {"adapter.a": torch.ones(2, 3)})


@pytest.fixture
def weights(made, tmp_path):
    save(tmp_path / "agfn.safetensors", made)
    return tmp_path / "agfn.safetensors"


def repack(path, tensors=lambda t: t, header=lambda h: h):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + size])["__metadata__"]
    path.write_bytes(pack(tensors(load_tensors(content)), header(found)))


def test_files_keep_the_names_that_they_always_had(made, weights):
    content = weights.read_bytes()
    tensors = load_tensors(content)
    assert tensors["model.blank"] == 1.5
    assert "model.prior_spread" not in tensors
    assert json.loads(header_of(weights, content)["config"])["worth"] is True
    assert load(weights, "abc").model.prior_spread == made.model.prior_spread


def test_what_is_saved_is_what_is_loaded(made, weights):
    found = load(weights, "abc")
    assert (found.calibration, found.metadata, found.schema_hash) == (CALIBRATION, made.metadata, "abc")
    assert found.model.config == made.model.config
    assert not found.model.training
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name])
    assert torch.equal(found.extra["adapter.a"], torch.ones(2, 3))
    assert list(weights.parent.iterdir()) == [weights]


def test_weights_for_other_features_are_refused(weights):
    with pytest.raises(CheckpointError, match=r"made for features 'abc'.*'xyz'"):
        load(weights, "xyz")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"make them with python -m scripts\.fit"):
        load(tmp_path / "none.safetensors", "abc")


@pytest.mark.parametrize(
    "content", [b"", b"123", b"\xff" * 64, (50_000_000).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}"]
)
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(CheckpointError, match="bad"):
        load(tmp_path / "bad", "abc")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(weights, keep):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError):
        load(weights, "abc")


def test_a_file_that_is_too_large_is_not_read(monkeypatch, weights):
    monkeypatch.setattr(weightsfile, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100"):
        load(weights, "abc")


def test_too_many_weights_are_not_saved(tmp_path, monkeypatch, made):
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100"):
        save(tmp_path / "agfn.safetensors", made)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "model.head.bias"}, "model|head.bias"),
        (lambda t: {**t, "model.more": torch.ones(1)}, "more"),
        (lambda t: {**t, "other": torch.ones(1)}, "parts"),
        (lambda t: {**t, "model.head.bias": torch.ones(3)}, "head.bias has shape"),
        (lambda t: {**t, "model.head.bias": torch.full((2,), torch.nan)}, "finite"),
    ],
)
def test_weights_that_do_not_fit_the_network_are_refused(weights, change, words):
    repack(weights, tensors=change)
    with pytest.raises(CheckpointError, match=words):
        load(weights, "abc")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "agfn/0"},
        {"config": "{}"},
        {"config": "[1]"},
        {"config": '{"inputs": {"a": 1000000000}}'},
        {"config": '{"inputs": {"a": 3}, "width": 7}'},
        {"config": '{"inputs": {"a": 3}, "encoder": "magic"}'},
        {"config": "[" * 5000},
        {"calibration": "{}"},
        {"calibration": json.dumps({**CALIBRATION.to_dict(), "doubt": [0.1]})},
        {"training": "no json"},
    ],
)
def test_a_header_that_makes_no_sense_is_refused(weights, change):
    repack(weights, header=lambda found: {**found, **change})
    with pytest.raises(CheckpointError):
        load(weights, "abc")
