"""The exported graph: the same numbers as PyTorch for any batch and lengths, and never one of other weights."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.agfn import AGFN, AgfnConfig
from models.calibrate import Calibration
from models.checkpoint import Checkpoint, save
from models.export import MAX_BYTES, beside, digest, example, to_onnx
from realtime.clock import VirtualClock
from realtime.config import Config, FusionConfig
from realtime.errors import ModelError
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM, schema_hash
from realtime.fuse.collate import Batch
from realtime.fuse.engine import HALF_TOLERANCE, OnnxEngine, TorchEngine
from realtime.fuse.worker import Fuser
from realtime.parts import WEIGHTS, fuser_of

EXPORT = Path(__file__).resolve().parent.parent / "scripts" / "export.py"
SIZES = {"text": TEXT_DIM, "voice": VOICE_DIM, "face": FACE_DIM}
BASE = AgfnConfig(SIZES, width=16, entropy="predictive", tau=0.5, anchor=True)
CONFIGS = {
    "shipped": replace(BASE, worth=True, columns={"text": [TEXT_DIM - 1]}, judgement={"text": TEXT_DIM - 1}),
    "all columns": BASE,
    "recurrent": replace(BASE, encoder="gru", layers=1),
    "as printed": AgfnConfig(SIZES, width=16, variant="literal"),
    "without attention": replace(BASE, cross_modal=False),
}


def network(config=BASE, seed=0):
    torch.manual_seed(seed)
    model = AGFN(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def weights_file(path, model):
    calibration = Calibration("normalised", 1.6, 0.0, 1.0, (0.0, 0.0, 0.0), 2.0)
    save(path, Checkpoint(model, schema_hash(), calibration, {}))
    return path


def graph_file(path, model, **metadata):
    path.write_bytes(to_onnx(model, metadata))
    return path


def differ(one, other, batch):
    return max(float(np.abs(a - b).max()) for a, b in zip(one.run(batch), other.run(batch), strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_runtime_agrees_for_any_number_of_windows_and_steps(name, tmp_path):
    model = network(CONFIGS[name])
    graph = OnnxEngine(graph_file(tmp_path / "a.onnx", model), 1)
    plain = TorchEngine(model, torch.device("cpu"))
    for seed, (windows, steps) in enumerate([(1, 1), (1, 40), (2, 3), (7, 64), (70, 20)]):
        assert differ(graph, plain, Batch(*example(SIZES, windows, steps, seed))) < 1e-4


def test_it_agrees_on_damaged_and_on_missing_input(tmp_path):
    model = network()
    graph, plain = OnnxEngine(graph_file(tmp_path / "a.onnx", model), 1), TorchEngine(model, torch.device("cpu"))
    inputs = example(SIZES, 6, 12)
    for row, rubbish in enumerate([np.nan, np.inf, -np.inf, 1e30]):
        inputs.values["voice"][row, 3] = rubbish
    inputs.reliability[4] = 0
    inputs.reliability[5, 0] = np.nan
    assert differ(graph, plain, Batch(*inputs)) < 1e-4
    assert all(np.isfinite(part).all() for part in graph.run(Batch(*inputs)))
    assert not graph.run(Batch(*inputs)).weights[4].any()


def test_the_shipped_graph_was_made_from_the_shipped_weights():
    metadata = {entry.key: entry.value for entry in onnx.load(beside(WEIGHTS)).metadata_props}
    assert metadata["weights"] == digest(WEIGHTS), "run scripts/export.py"
    fuser = fuser_of(Config(fusion=FusionConfig(device="cpu")), VirtualClock())
    assert fuser.engine.name == "onnx"
    plain = TorchEngine(fuser.checkpoint.model, torch.device("cpu"))
    assert differ(fuser.engine, plain, Batch(*example(SIZES, 9, 50))) < 1e-4


def test_the_script_writes_compares_and_tells_the_speed(tmp_path):
    weights = weights_file(tmp_path / "my.safetensors", network())
    done = subprocess.run(
        [sys.executable, EXPORT, "--weights", weights], capture_output=True, text=True, check=True, timeout=120
    )
    report = json.loads(done.stdout)
    assert report["largest_difference"] < 1e-4
    assert report["ms"]["torch"].keys() == report["ms"]["onnx"].keys() >= {"1", "32"}
    assert (tmp_path / "my.onnx").stat().st_size == report["bytes"]
    assert Fuser(weights, "cpu", VirtualClock()).engine.name == "onnx"
    assert str(Path.cwd()).encode() not in (tmp_path / "my.onnx").read_bytes()
    asked = subprocess.run(
        [sys.executable, EXPORT, "--weights", tmp_path / "none.safetensors"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert asked.stderr.startswith("error: ")


def test_a_graph_of_other_weights_is_never_run(tmp_path):
    weights = weights_file(tmp_path / "w.safetensors", network())
    graph_file(beside(weights), network(seed=1), format="agfn.onnx/1", weights=digest(weights)[::-1])
    assert Fuser(weights, "cpu", VirtualClock()).engine.name == "torch"
    with pytest.raises(ModelError, match=r"other weights.*scripts/export\.py"):
        Fuser(weights, "cpu", VirtualClock(), backend="onnx")


def test_a_backend_that_is_asked_for_is_taken_or_missed_in_words(tmp_path):
    weights = weights_file(tmp_path / "w.safetensors", network())
    with pytest.raises(ModelError, match=r"no such file.*scripts/export\.py"):
        Fuser(weights, "cpu", VirtualClock(), backend="onnx")
    graph_file(beside(weights), network(), weights=digest(weights))
    assert Fuser(weights, "cpu", VirtualClock(), backend="torch").engine.name == "torch"
    assert Fuser(weights, "cpu", VirtualClock(), backend="onnx").engine.name == "onnx"


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(MAX_BYTES + 1)])
def test_a_damaged_graph_is_an_error_of_one_line(content, tmp_path):
    weights = weights_file(tmp_path / "w.safetensors", network())
    beside(weights).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Fuser(weights, "cpu", VirtualClock())
    assert "\n" not in str(caught.value)
    assert str(beside(weights)) in str(caught.value)


def test_both_backends_give_the_same_estimates(tmp_path):
    weights = weights_file(tmp_path / "w.safetensors", network())
    shutil.copy(weights, tmp_path / "v.safetensors")
    graph_file(beside(weights), network(), weights=digest(weights))
    graph = Fuser(weights, "cpu", VirtualClock(), backend="onnx").engine
    plain = Fuser(tmp_path / "v.safetensors", "cpu", VirtualClock()).engine
    assert (graph.name, plain.name) == ("onnx", "torch")
    assert differ(graph, plain, Batch(*example(SIZES, 5, 30))) < 1e-4


def test_half_precision_is_used_only_where_the_scores_stay():
    small, wild = network(), network()
    with torch.no_grad():
        wild.head.weight.mul_(40)
    assert TorchEngine(small, torch.device("cpu"), half=True).half
    assert not TorchEngine(wild, torch.device("cpu"), half=True).half
    assert not TorchEngine(small, torch.device("cpu")).half
    halved, exact = TorchEngine(network(), torch.device("cpu"), half=True), TorchEngine(network(), torch.device("cpu"))
    batch = Batch(*example(SIZES, 50, 30, seed=9))
    assert float(np.abs(halved.run(batch).score - exact.run(batch).score).max()) <= 2 * HALF_TOLERANCE


def test_a_forward_pass_asks_the_device_for_nothing():
    """On the meta device there are no numbers: an operation that needs one on the host, and so would wait, fails."""
    model = network(CONFIGS["shipped"]).to("meta")
    values, times, mask, reliability = example(SIZES, 4, 20)
    parts = [{name: tensor.to("meta") for name, tensor in part.items()} for part in (values, times, mask)]
    assert model(*parts, reliability.to("meta")).score.shape == (4,)


def test_a_batch_is_copied_only_where_it_must_be():
    batch = Batch(*example(SIZES, 2, 5))
    assert batch.to(torch.device("cpu")) is batch
    assert batch.to(torch.device("meta")).values["face"].device.type == "meta"
