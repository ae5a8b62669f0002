"""Weights and graphs that are not what they say: noticed before they are parsed, and by what they compute."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace

import onnxruntime
import pytest
import torch
from safetensors.torch import save as save_tensors

from models import checkpoint, manifest, weightsfile
from models.agfn_config import Ablation
from models.agfn_graph import beside, digest
from models.calibrate import Calibration
from models.checkpoint import load
from models.context import Context
from models.export import to_onnx
from models.live import build
from models.text_weights import TextWeights
from models.textline import LINES
from models.weightsfile import CheckpointError
from realtime.clock import VirtualClock
from realtime.errors import ModelError
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS, Fuser


@pytest.fixture(scope="module")
def weights():
    return load(WEIGHTS, schema_hash())


@pytest.fixture
def copy(tmp_path):
    """The shipped weights with their graph and the list of both, in a folder of a user's own."""
    for name in (WEIGHTS.name, beside(WEIGHTS).name, manifest.NAME):
        shutil.copy(WEIGHTS.with_name(name), tmp_path)
    return tmp_path / WEIGHTS.name


@pytest.fixture
def sessions(monkeypatch):
    """Counts the graphs that ONNX Runtime was given."""
    made = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **more: made.append(1) or real(*args, **more))
    return made


def forged(weights, copy):
    """A graph of other numbers that names the hash of the weights, as anyone can write one."""
    model = build(weights.model.config).eval()
    with torch.no_grad():
        model.load_state_dict(weights.model.state_dict())
        model.own_bias += 1.5
    return to_onnx(model, {"weights": digest(copy), "schema_hash": schema_hash()})


def fuser(path, backend="auto"):
    return Fuser(path, "cpu", VirtualClock(), 1, backend)


TEXT_WEIGHTS = [weights for _, weights in LINES.values()]


def test_the_shipped_files_are_listed_and_right():
    for path in (WEIGHTS, beside(WEIGHTS), *TEXT_WEIGHTS):
        assert manifest.problem(path, path.read_bytes(), listed=True) is None


@pytest.mark.parametrize("path", TEXT_WEIGHTS, ids=lambda path: path.name)
def test_a_byte_that_fell_over_in_the_text_line_is_noticed(path, tmp_path):
    for name in (path.name, manifest.NAME):
        shutil.copy(path.with_name(name), tmp_path)
    copy = tmp_path / path.name
    assert TextWeights.load(copy).name == TextWeights.load(path).name
    content = bytearray(copy.read_bytes())
    content[-2] ^= 1  # the lowest bits of a number: still a number, and the file still safetensors
    copy.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"is not what {manifest.NAME} beside it lists"):
        TextWeights.load(copy)


def test_text_weights_that_nobody_lists_are_refused_where_the_shipped_ones_lie(tmp_path, monkeypatch):
    shutil.copy(TEXT_WEIGHTS[0], tmp_path / "other.safetensors")
    assert TextWeights.load(tmp_path / "other.safetensors").base, "of a user's own, they may be anything"
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match="is not listed"):
        TextWeights.load(tmp_path / "other.safetensors")


def test_text_weights_that_are_written_again_are_listed_anew(tmp_path):
    for name in (TEXT_WEIGHTS[0].name, manifest.NAME):
        shutil.copy(TEXT_WEIGHTS[0].with_name(name), tmp_path)
    copy = tmp_path / TEXT_WEIGHTS[0].name
    replace(TextWeights.load(copy), metadata={"other": 1}).save(copy)
    assert TextWeights.load(copy).metadata == {"other": 1}


def test_a_listed_graph_of_these_weights_is_used(copy, sessions):
    assert fuser(copy).engine.name == "onnx"
    assert sessions


def test_a_foreign_graph_that_copies_the_hash_of_the_weights_is_not_even_parsed(weights, copy, sessions, caplog):
    caplog.set_level(logging.WARNING)
    beside(copy).write_bytes(forged(weights, copy))
    assert fuser(copy).engine.name == "torch"
    assert sessions == []
    assert manifest.NAME in caplog.text
    with pytest.raises(ModelError, match=manifest.NAME):
        fuser(copy, "onnx")


def test_without_a_list_no_graph_is_used(copy, sessions):
    (copy.parent / manifest.NAME).unlink()
    assert fuser(copy).engine.name == "torch"
    assert sessions == []


def test_a_listed_graph_that_says_something_else_than_its_weights_is_not_used(weights, copy):
    content = forged(weights, copy)
    beside(copy).write_bytes(content)
    manifest.note(beside(copy), content)
    assert fuser(copy).engine.name == "torch"
    with pytest.raises(ModelError, match="something else"):
        fuser(copy, "onnx")


def test_weights_that_are_not_what_the_list_says_are_refused_before_they_are_parsed(copy, monkeypatch):
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    monkeypatch.setattr(weightsfile, "load_tensors", lambda _: pytest.fail("parsed"))
    with pytest.raises(CheckpointError, match=manifest.NAME):
        load(copy, schema_hash())


def test_in_the_shipped_folder_what_is_not_listed_is_refused(copy, monkeypatch):
    monkeypatch.setattr(manifest, "SHIPPED", copy.parent)
    load(copy, schema_hash())
    (copy.parent / manifest.NAME).unlink()
    with pytest.raises(CheckpointError, match="not listed"):
        load(copy, schema_hash())


def test_what_training_writes_over_what_is_listed_is_listed_anew(weights, copy):
    checkpoint.save(copy, replace(weights, metadata={"command": "another"}))
    assert manifest.expected(copy) == digest(copy) != digest(WEIGHTS)
    assert load(copy, schema_hash()).metadata == {"command": "another"}


@pytest.mark.parametrize("text", ["", "\0" * 100, "x  agfn.onnx\n", f"{'a' * 64}  ../agfn.onnx\n"])
def test_a_damaged_list_lists_nothing(tmp_path, text):
    (tmp_path / manifest.NAME).write_text(text)
    assert manifest.expected(tmp_path / "agfn.onnx") is None


HUNGRY = """
import resource, sys
import torch
from models.checkpoint import load
from models.weightsfile import CheckpointError
from realtime.extract.schema import schema_hash
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1], schema_hash())
except CheckpointError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_header_that_asks_for_a_gigabyte_gets_none(weights, tmp_path):
    config = replace(
        weights.model.config,
        width=512,
        layers=8,
        inputs={f"m{n}": 4096 for n in range(16)},
        ablation=Ablation(),
    )
    header = {
        "format": weightsfile.FORMAT,
        "schema_hash": schema_hash(),
        "config": config.to_json(),
        "calibration": json.dumps(weights.calibration.to_dict()),
        "context": "{}",
        "training": "{}",
    }
    path = tmp_path / "hungry.safetensors"
    state = {f"model.{name}": value.contiguous() for name, value in weights.model.state_dict().items()}
    path.write_bytes(save_tensors(state, header))
    done = subprocess.run([sys.executable, "-c", HUNGRY, str(path)], capture_output=True, text=True, check=True)
    grown_kb, _, said = done.stdout.partition(" ")
    assert "larger than its weights" in said
    assert int(grown_kb) < 150_000


@pytest.mark.parametrize("value", [1e308, 1e5, float("inf"), -1.0])
@pytest.mark.parametrize("name", ["factor", "constant", "slope", "blank_half"])
def test_no_coefficient_of_an_interval_is_out_of_all_bounds(weights, name, value):
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_dict(weights.calibration.to_dict() | {name: value})


def test_the_smallest_divisor_and_the_largest_context_are_bounded(weights):
    with pytest.raises(ValueError, match="calibration"):
        Calibration.from_dict(weights.calibration.to_dict() | {"blank_half": 5e-324})
    for wrong in ({"gain": 1e308}, {"memory_s": 5e-324}):
        with pytest.raises(ValueError, match="context"):
            Context.from_dict(wrong)
