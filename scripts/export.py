"""Write AGFN as an ONNX graph beside its weights, compare it with PyTorch, and say how fast both are.

python -m scripts.export [--weights FILE.safetensors]

Run it after scripts/fit.py: the live program uses a graph only with the weights it was made from.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from models import manifest
from models.agfn_graph import beside, digest, example
from models.checkpoint import load
from models.export import to_onnx
from models.weightsfile import CheckpointError
from realtime.extract.schema import schema_hash
from realtime.fuse.collate import MAX_STEPS, Batch
from realtime.fuse.engine import OnnxEngine
from realtime.fuse.torch_engine import TorchEngine
from realtime.fuse.worker import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.agfn import AGFN
    from realtime.fuse.scores import Engine

TOLERANCE = 1e-4
BATCHES = (1, 8, 32, 128)
ROUNDS = 15


def write(weights: Path) -> tuple[AGFN, Path]:
    """Write the graph of a weights file, whole or not at all; returns the model and the graph's file.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    model = load(weights, schema_hash()).model
    content = to_onnx(model, {"weights": digest(weights), "schema_hash": schema_hash()})
    manifest.note(weights, weights.read_bytes())
    return model, put(beside(weights), content)


def put(target: Path, content: bytes) -> Path:
    """Write a graph, whole or not at all, and list it; returns its file."""
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    part.replace(target)
    manifest.note(target, content)
    return target


def difference(engines: Sequence[Engine], sizes: Mapping[str, int]) -> float:
    """Largest difference of any output of two engines, over batches and lengths from 1 up."""
    worst = 0.0
    for seed, (windows, steps) in enumerate([(1, 1), (1, 60), (3, 2), (32, max(MAX_STEPS.values()))]):
        one, other = (engine.run(Batch(*example(sizes, windows, steps, seed))) for engine in engines)
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True)))
    return worst


def speed(engines: Sequence[Engine], sizes: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Median milliseconds a batch, by engine and number of windows; the engines take turns."""
    spent: dict[str, dict[str, float]] = {engine.name: {} for engine in engines}
    for windows in BATCHES:
        batch = Batch(*example(sizes, windows, 40))
        times: dict[str, list[float]] = {engine.name: [] for engine in engines}
        for _ in range(ROUNDS):
            for engine in engines:
                begin_s = time.perf_counter()
                engine.run(batch)
                times[engine.name].append(1000 * (time.perf_counter() - begin_s))
        for name, values in times.items():
            spent[name][str(windows)] = round(float(np.median(values)), 3)
    return spent


def main() -> int:
    """Export, check, report; 1 when the two disagree."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--weights", type=Path, default=WEIGHTS, help="weights file (default: the shipped one)")
    args = cli.parse_args()
    torch.set_num_threads(1)
    try:
        model, target = write(args.weights)
    except CheckpointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    engines: list[Engine] = [TorchEngine(model, torch.device("cpu")), OnnxEngine(target, 1)]
    worst = difference(engines, model.config.inputs)
    report = {
        "file": target.name,
        "bytes": target.stat().st_size,
        "largest_difference": worst,
        "ms": speed(engines, model.config.inputs),
    }
    print(json.dumps(report))
    if worst > TOLERANCE:
        target.unlink()
        print(f"error: the graph is off by {worst:.1e}, more than {TOLERANCE:.0e}; it is not kept", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
