"""Measure the program against its bars: each benchmark ends in one line of JSON, `all` in one with all their keys.

python -m scripts.bench asr|pipeline|streams|fusion|window_cost|text|face|memory|profile|peers|gpu|all [options of
    the benchmark]
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from realtime.system.threads import leave

BENCHMARKS = {
    "asr": "speech recognition: lag, words, decoder time",
    "pipeline": "one stream from device to message",
    "streams": "several streams in one process",
    "fusion": "the fusion alone, beside other networks",
    "asr_pool": "the ASR pool of a fleet: decodes a second by batch, and what its failures cost",
    "window_cost": "one window from its items to the broker: what a stream of a fleet costs beside its extractors",
    "text": "the two text lines: time of a reading, memory",
    "face": "the face extractor, beside one picture at a time",
    "memory": "what each import and model takes; hours at full speed: does it stay flat?",
    "profile": "a picture of where the time goes",
    "peers": "our recogniser beside others on the same sound, each in an environment of its own",
    "gpu": "every stage that can run on a CUDA device, and how many streams it would serve",
}
ASKED_FOR = {"asr_pool", "memory", "profile", "window_cost", "peers", "gpu"}
"""Not part of `all`: one takes an hour, one writes a picture, two need mosquitto, one other programs, one a GPU."""


def main() -> int:
    """Run one benchmark, or all; its module is benchmarks/<name>.py with a function `main(arguments)`."""
    parser = argparse.ArgumentParser(description="Measure the program against its bars.")
    chosen = "; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items())
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"], help=chosen)
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file, beside those it holds already")
    parser.add_argument("--page", type=Path, help="put the figures of --out into the tables of this page")
    arguments, rest = parser.parse_known_args()
    # As the program does: else numpy's second thread, which spins after each product, is counted as decoding.
    importlib.import_module("realtime.system.threads").limit_pools()
    names = (
        [name for name in BENCHMARKS if name not in ASKED_FOR]
        if arguments.benchmark == "all"
        else [arguments.benchmark]
    )
    found: dict[str, Any] = {}
    for name in names:
        found |= importlib.import_module(f"scripts.benchmarks.{name}").main(rest) or {}
    if arguments.out is not None:
        report = importlib.import_module("scripts.benchmarks.report")
        kept = report.keep(arguments.out, found)
        if arguments.page is not None:
            report.fill(arguments.page, kept)
    if len(names) > 1:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    leave(main())  # a thread of a model may be left behind in native code
