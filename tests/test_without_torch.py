"""On the CPU nothing of a run imports PyTorch: half a gigabyte, and seconds before the first message."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models import text_graph
from models.agfn_graph import beside, example
from models.checkpoint import load
from models.graphs import GraphError
from realtime.errors import ModelError
from realtime.extract.schema import schema_hash
from realtime.fuse.collate import MAX_STEPS, Batch
from realtime.fuse.engine import OnnxEngine, pick_device
from realtime.fuse.torch_engine import TorchEngine
from realtime.fuse.worker import WEIGHTS
from realtime.system import cuda

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import sys
from realtime.run import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "torchaudio", "matplotlib"} & set(sys.modules)), "ctranslate2" in sys.modules)
"""


@pytest.mark.models
@pytest.mark.parametrize("pace", ["realtime", "fast"])
def test_a_run_with_words_imports_neither_torch_nor_torchaudio(clip, tmp_path, pace):
    options = ["--source", str(clip), "--pace", pace, "--mqtt", "off", "--no-view", "--output", "out.jsonl"]
    options += ["--set", "fusion.device=auto" if not cuda.devices() else "fusion.device=cpu"]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){RUN}", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150)
    assert done.stdout == "0 [] True\n", done.stderr
    said = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    weights = [one["modalities"] for one in said if one["schema"] == "agfn.sentiment/1" and one["score"] is not None]
    if pace == "fast":  # at real pace a busy machine may be late with both
        assert any(one["text"]["weight"] and one["voice"]["weight"] for one in weights), "words and voice were analysed"


def test_the_shipped_graph_computes_what_the_weights_do():
    model = load(WEIGHTS, schema_hash()).model
    engines = TorchEngine(model, torch.device("cpu")), OnnxEngine(beside(WEIGHTS), 1)
    for seed, (windows, steps) in enumerate([(1, 1), (1, 60), (3, 2), (32, max(MAX_STEPS.values()))]):
        batch = Batch(*example(model.config.inputs, windows, steps, seed))
        for ours, theirs in zip(*(engine.run(batch) for engine in engines), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


class Driver:
    """What the library of the driver answers."""

    def __init__(self, status, count):
        self.cuInit = lambda _: status
        self.cuDeviceGetCount = lambda to: setattr(to._obj, "value", count) or 0


@pytest.fixture
def driver(monkeypatch):
    cuda.devices.cache_clear()
    yield lambda made: monkeypatch.setattr(ctypes, "CDLL", made)
    cuda.devices.cache_clear()


def absent(_):
    raise OSError("no such library")


@pytest.mark.parametrize(("made", "count"), [(absent, 0), (lambda _: Driver(100, 3), 0), (lambda _: Driver(0, 2), 2)])
def test_the_driver_is_asked_for_devices(driver, made, count):
    driver(made)
    assert cuda.devices() == count


def test_auto_is_cuda_only_where_driver_and_pytorch_both_know_one(driver, monkeypatch):
    driver(lambda _: Driver(0, 1))
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto") == device
    with pytest.raises(ModelError, match="no CUDA device"):
        pick_device("cuda:1")
    assert pick_device("cpu") == "cpu"


def test_a_maker_of_graphs_that_fails_is_quoted(monkeypatch, tmp_path):
    with pytest.raises(GraphError, match=r"no graph can be made: .*No such file"):
        text_graph.make(tmp_path, tmp_path / "gone.safetensors", tmp_path)
    monkeypatch.setattr(text_graph, "LAUNCH", "import models.nobody")
    with pytest.raises(GraphError, match="No module named"):
        text_graph.make(tmp_path, tmp_path, tmp_path)
    died = SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(text_graph.subprocess, "run", lambda *_, **__: died)
    with pytest.raises(GraphError, match="exit code -9"):
        text_graph.make(tmp_path, tmp_path, tmp_path)
