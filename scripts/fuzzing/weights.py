"""Weights files: the header of safetensors and what stands in it."""

from __future__ import annotations

import torch

from models.agfn_config import AgfnConfig
from models.calibrate import Calibration
from models.checkpoint import Checkpoint, load, save
from models.live import build
from models.weightsfile import CheckpointError
from scripts.fuzzing.checks import expect_one_line, scratch

SCHEMA = "abc"


def seeds() -> list[bytes]:
    """Weights of a tiny network."""
    torch.manual_seed(0)
    model = build(AgfnConfig({"text": 2, "face": 3}, width=8, heads=2)).eval()
    calibration = Calibration("reliability", 1.5, 0.1, 1.0, (0.2, 0.1), 2.5)
    path = scratch() / "seed.safetensors"
    save(path, Checkpoint(model, SCHEMA, calibration, {"data": "clips"}, {"adapter.a": torch.ones(2, 3)}))
    return [path.read_bytes()]


def run(data: bytes) -> bool:
    """Read a file as `fusion.weights` names it."""
    path = scratch() / "any.safetensors"
    path.write_bytes(data)
    try:
        load(path, SCHEMA)
    except CheckpointError as refusal:
        expect_one_line(refusal)
        return False
    return True
