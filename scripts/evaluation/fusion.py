"""Benchmark of fusion methods on vectors: the runs, then tables, plots and tests of significance in docs/."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from evaluation.ensemble import Recipe
from evaluation.fusion_data import DATA
from evaluation.fusion_methods import METHODS
from evaluation.fusion_runs import Run, run

if TYPE_CHECKING:
    import argparse

    from evaluation.fusion_data import FusionData

SINGLE = ("text only", "voice only", "face only")
PEERS = ("ridge", "concat", "concat + r", "late", "late + r", "TFN", "LMF", "EF-LSTM", "MulT", "MISA")
ABLATIONS = (
    "robust, IEG only",
    "robust, MIG only",
    "robust, no gate",
    "robust, no cross-modal",
    "robust, no VAT",
    "robust, predictive entropy",
    "robust, gate supervised",
)
MAIN = (*PEERS, "AGFN literal", "AGFN robust", "robust, anchored")
ALL = (*SINGLE, *MAIN, *ABLATIONS)
QUICK = ("ridge", "concat + r", "late + r", "AGFN robust")
PLAN: dict[str, dict[str, tuple[str, ...]]] = {
    "ravdess_av": {"damage": ALL, "dropout": MAIN, "plain": MAIN},
    "mosi_b": {"dropout": ALL, "plain": MAIN},
    "mosi_a": {"dropout": (*SINGLE, *MAIN), "plain": MAIN},
}
"""Which methods are trained how: ablations where it decides, noise in training where two modalities carry signal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `evaluate.py fusion`."""
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "agfn-live" / "fusion")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-sets", nargs="+", choices=sorted(DATA), default=["ravdess_av", "mosi_b", "mosi_a"])
    parser.add_argument("--quick", action="store_true", help="four methods, two epochs: to see that it works")


def runs(name: str, data: FusionData, args: argparse.Namespace) -> dict[tuple[str, str], Run]:
    """Every run of a data set by (regime, method)."""
    done: dict[tuple[str, str], Run] = {}
    recipe = Recipe(epochs=2) if args.quick else Recipe()
    for regime, methods in PLAN[name].items():
        for method in QUICK if args.quick else methods:
            if method in SINGLE and method.split()[0] not in data.values:
                continue
            made = run(data, METHODS[method], regime, list(range(args.seeds)), recipe, args.cache)
            done[regime, method] = made
            print(f"{name:10s} {regime:8s} {method:28s} {made.seconds:6.1f} CPU s", file=sys.stderr, flush=True)
    return done


def main(args: argparse.Namespace) -> int:
    """Run all and write docs/fusion.md, fusion.json and the plots."""
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.data_sets:
        data = DATA[name](args.data)
        results[name] = data, runs(name, data, args)
    return 0
