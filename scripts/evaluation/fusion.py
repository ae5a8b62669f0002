"""Benchmark of fusion methods on vectors: the runs, then tables, plots and tests of significance in docs/."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from platformdirs import user_cache_path

from scripts.evaluation import fusion_data, fusion_report
from scripts.evaluation import fusion_plots as plots
from scripts.evaluation import fusion_stats as stats
from scripts.evaluation.ensemble import Recipe
from scripts.evaluation.fusion_damage import alone
from scripts.evaluation.fusion_methods import METHODS
from scripts.evaluation.fusion_runs import Run, cache_file, run, tested
from scripts.evaluation.psc import over_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.evaluation.fusion_data import FusionData

    Runs = dict[tuple[str, str], Run]

ROOT = Path(__file__).resolve().parent.parent.parent
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
    "distributions, no entropy",
    "distributions, text not led",
)
MAIN = (*PEERS, "AGFN literal", "AGFN robust", "robust, anchored", "AGFN distributions")
ALL = (*SINGLE, *MAIN, *ABLATIONS)
LED = "distributions, text not led"
"""Means something only where there is text."""
QUICK = ("ridge", "concat + r", "late + r", "AGFN robust")
GATES = (
    "voice only",
    "face only",
    "concat + r",
    "late + r",
    "AGFN literal",
    "AGFN robust",
    "AGFN distributions",
    "robust, no gate",
)
PLAN: dict[str, dict[str, tuple[str, ...]]] = {
    "mixture": {"damage": GATES, "plain": GATES},
    "ravdess_av": {"damage": ALL, "dropout": MAIN, "plain": MAIN},
    "mosi_b": {"dropout": ALL, "plain": MAIN},
    "mosi_a": {"dropout": (*SINGLE, *MAIN), "plain": MAIN},
}
"""Which methods are trained how: ablations where it decides, noise in training where two modalities carry signal."""
OURS = ("AGFN robust", "robust, anchored", "AGFN distributions")
CONTROLS = ("concat", "concat + r", "late", "late + r", "TFN", "MulT", "MISA", "robust, no gate", "AGFN literal")
PLACE = {"mixture": "one", "ravdess_av": "one", "mosi_b": "all", "mosi_a": "all"}
TITLES = {name: "one modality damaged" if place == "one" else "all missing at a rate" for name, place in PLACE.items()}
PSC_SEEDS = 5


def mixture(data: Path) -> FusionData:
    """RAVDESS voices with FER2013 faces, see there."""
    from scripts.evaluation.fusion_mixture import read  # noqa: PLC0415 - heavy: it may have to listen and to look

    return read(data)


DATA: dict[str, Callable[[Path], FusionData]] = {**fusion_data.DATA, "mixture": mixture}


def parse(options: Sequence[str]) -> argparse.Namespace:
    """Options of `evaluate.py fusion`."""
    cli = argparse.ArgumentParser(prog="evaluate.py fusion", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", ROOT.parent / "shared" / "data")))
    cli.add_argument("--cache", type=Path, default=user_cache_path("agfn-live") / "fusion", help="finished runs")
    cli.add_argument("--out", type=Path, default=ROOT / "docs")
    cli.add_argument("--seeds", type=int, default=5)
    cli.add_argument("--data-sets", nargs="+", choices=sorted(DATA), default=list(PLAN))
    cli.add_argument("--finished", action="store_true", help="report the runs that are in the cache, start none")
    cli.add_argument(
        "--add",
        nargs="+",
        choices=sorted(METHODS),
        metavar="METHOD",
        help="run these only, and put them beside the rows that fusion.json in --out holds of the others",
    )
    cli.add_argument("--quick", action="store_true", help="four methods, two epochs: to see that it works")
    return cli.parse_args(options)


def runs(name: str, data: FusionData, args: argparse.Namespace) -> Runs:
    """Every run of a data set by (regime, method)."""
    done: Runs = {}
    recipe = Recipe(epochs=2) if args.quick else Recipe()
    for regime, methods in PLAN[name].items():
        for method in QUICK if args.quick else methods:
            if method in SINGLE and method.split()[0] not in data.values:
                continue
            if method == LED and "text" not in data.values:
                continue
            settings = (data, METHODS[method], regime, list(range(args.seeds)), recipe, args.cache)
            wanted = method in args.add if args.add else not args.finished
            if not wanted and not cache_file(*settings).exists():
                continue
            made = run(*settings)
            done[regime, method] = made
            print(f"{name:10s} {regime:8s} {method:28s} {made.seconds:6.1f} CPU s", file=sys.stderr, flush=True)
    return done


def known(args: argparse.Namespace) -> dict[str, Any]:
    """What fusion.json holds; nothing if there is none."""
    file = args.out / "fusion.json"
    return read(file) if file.exists() else {"data": {}}


def read(file: Path) -> dict[str, Any]:
    """Read a fusion.json; NaN where it has null."""
    found: dict[str, Any] = json.loads(
        file.read_text(encoding="utf-8"),
        object_hook=lambda part: {k: math.nan if v is None else v for k, v in part.items()},
    )
    return found


def together(name: str, fresh: dict[str, dict[str, Any]], held: dict[str, Any], added: Sequence[str]) -> dict[str, Any]:
    """Summaries by regime and method in the order of the plan: what is held, and in its place what is added."""
    before = held["data"].get(name, {}).get("summaries", {}) if added else {}
    found: dict[str, Any] = {}
    for regime, methods in PLAN[name].items():
        own, new = before.get(regime, {}), fresh.get(regime, {})
        chosen = {
            method: new[method] if method in added or method not in own else own[method]
            for method in methods
            if method in own or method in new
        }
        if chosen:
            found[regime] = chosen
    return found


def report(results: dict[str, tuple[FusionData, Runs]], args: argparse.Namespace) -> dict[str, Any]:
    """Draw plots into args.out; return what goes into the JSON: what it holds of other data sets stays."""
    held, added = known(args), tuple(args.add or ())
    command = f"{fusion_report.COMMAND} --seeds {args.seeds}"
    parts = dict(held["data"])
    if parts.keys() - results.keys() and held["command"] != command:
        raise SystemExit(f"error: {args.out / 'fusion.json'} holds other data sets of `{held['command']}`")
    for name, (data, done) in results.items():
        fresh: dict[str, dict[str, Any]] = {regime: {} for regime, _ in done}
        for (regime, method), made in done.items():
            fresh[regime][method] = stats.summary(made, data)
        summaries = together(name, fresh, held, added)
        ours = [method for method in OURS if not added or method in added]
        found = stats.significance(done, data, list(PLAN[name]), ours, CONTROLS, PLACE[name])
        before = held["data"].get(name, {}).get("tests", []) if added else []
        found = stats.corrected([test for test in before if test["ours"] not in added] + found)
        parts[name] = {"summaries": summaries, "tests": found}
        if added:
            earlier = held["data"].get(name, {}).get("added", [])
            parts[name]["added"] = list(dict.fromkeys((*earlier, *added)))
        if data.signals:
            parts[name]["signals"] = {where: stats.measured(signal) for where, signal in data.signals.items()}
        _draw(name, data, summaries, args.out)
    content: dict[str, Any] = {"command": command, "data": {name: parts[name] for name in PLAN if name in parts}}
    psc = held.get("psc", {}) if added or "mosi_a" not in results else {}
    if "mosi_a" in results and not args.quick:
        psc = psc | _psc(*results["mosi_a"])
    return content | ({"psc": psc} if psc else {})


def _draw(name: str, data: FusionData, summaries: dict[str, Any], out: Path) -> None:
    first = next(iter(summaries))
    damaged = alone(data.curves)
    shown = damaged if PLACE[name] == "one" else [("missing", "all"), ("missing", "text")]
    title = f"{name}, training with {first}"
    plots.degradation(summaries[first], data.curves, shown, title, out / f"fusion-{name}.png")
    plots.gate_weights(summaries[first], data.curves, damaged, title, out / f"fusion-{name}-gates.png")


def _psc(data: FusionData, done: Runs) -> dict[str, dict[str, float]]:
    target = data.target[tested(data.folds)]
    result = {}
    for method in ("concat", "AGFN literal", "AGFN robust", "AGFN distributions"):
        if ("plain", method) not in done:
            continue
        made = done["plain", method]
        result[method] = over_seeds(made.hidden, np.abs(made.score[stats.CLEAN] - target), PSC_SEEDS)
    return result


def main(options: Sequence[str]) -> None:
    """Run all and write docs/fusion.md, fusion.json and the plots."""
    args = parse(options)
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in args.data_sets:
        data = DATA[name](args.data)
        if done := runs(name, data, args):
            results[name] = data, done
    content = report(results, args)
    file = args.out / "fusion.json"
    file.write_text(json.dumps(_rounded(content), separators=(",", ":")) + "\n", encoding="utf-8")
    # Of what was written, with its four decimals: so tables of other data sets stay what they are.
    fusion_report.write(args.out / "fusion.md", fusion_report.render(read(file), TITLES))


def _rounded(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Four decimals; null for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
