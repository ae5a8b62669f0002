"""The two text lines on the same sentences: time of one reading, in turns, and what each adds to a process's memory."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from models import zoo
from models.text_graph import PROBES
from models.textline import LINES, TextLine

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 20


def load(name: str) -> TextLine:
    """Load a line as the live program does."""
    base, weights = LINES[name]
    return TextLine.load(zoo.path(base), weights, graphs=zoo.cache().parent / "graphs")


def memory_mb(name: str) -> float:
    """Resident memory that a line and a reading with it add to a process that has PyTorch, in MB."""
    load(name).read(PROBES[0])  # makes the graph if there is none, which takes memory of its own
    return _fresh(_grown, name)


def _fresh(function: Any, name: str) -> float:  # noqa: ANN401 - a function of this module
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return float(pool.submit(function, name).result())


def _grown(name: str) -> float:
    process = psutil.Process()
    before = int(process.memory_info().rss)
    line = load(name)
    for words in PROBES:
        line.read(words)
    return (int(process.memory_info().rss) - before) / 1e6


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py text", description=__doc__)
    cli.add_argument("--quick", action="store_true", help="one round: to see that it works")
    args, _ = cli.parse_known_args(options)
    memory = {name: memory_mb(name) for name in LINES}
    lines = {name: load(name) for name in LINES}
    spent: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(1 if args.quick else ROUNDS):
        for words in PROBES:
            for name, line in lines.items():
                begin_s = time.perf_counter()
                line.read(words)
                spent[name].append(1000 * (time.perf_counter() - begin_s))
    medians = {name: float(np.median(values)) for name, values in spent.items()}
    result = {
        "text_ms": {name: round(value, 2) for name, value in medians.items()},
        "text_engine": {name: line.engine for name, line in lines.items()},
        "text_small_vs_large": round(medians["minilm"] / medians["mpnet"], 3),
        "text_memory_mb": {name: round(value) for name, value in memory.items()},
    }
    print(json.dumps(result))
    return result
