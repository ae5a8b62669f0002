"""Numbers of the fusion benchmark: metrics, areas under the degradation curves, gates, and what is significant."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from models.metrics import all_metrics, holm, paired_bootstrap
from scripts.evaluation.fusion_damage import RATES, SNRS_DB, Condition
from scripts.evaluation.fusion_runs import tested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scripts.evaluation.fusion_data import FusionData
    from scripts.evaluation.fusion_runs import Run

    Runs = dict[tuple[str, str], Run]

LEVELS = {"missing": RATES, "stale": RATES, "noise": SNRS_DB}
CLEAN = "missing/all/0"


def curve_keys(kind: str, where: str) -> list[str]:
    """Keys of the conditions of one curve, mild to severe."""
    return [Condition(kind, where, level).key for level in LEVELS[kind]]


def curves(names: Sequence[str]) -> list[tuple[str, str]]:
    """All (kind, where) for these modalities."""
    return [(kind, where) for kind in LEVELS for where in (*names, "all") if (kind, where) != ("stale", "all")]


def damaged_alone(names: Sequence[str]) -> list[tuple[str, str]]:
    """The curves of the bar: one modality missing or noisy."""
    return list(product(("missing", "noise"), names))


def row_error(run: Run, target: NDArray[np.float32], places: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Absolute error of each row (N,), mean over seeds and over the levels of the curves (AUILC per row)."""
    parts = [
        np.abs(np.mean([np.abs(run.score[key] - target).mean(0) for key in curve_keys(*place)], 0)) for place in places
    ]
    error: NDArray[np.float64] = np.mean(parts, 0)
    return error


def condition_metrics(run: Run, key: str, target: NDArray[np.float32], *, present: bool) -> dict[str, float]:
    """Metrics of a condition, mean over seeds; `present` leaves out the rows where every modality is missing."""
    rows = []
    for score, there in zip(run.score[key], run.present[key], strict=True):
        use = there if present else np.ones_like(there)
        rows.append(all_metrics(target[use], score[use]))
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def summary(run: Run, data: FusionData) -> dict[str, Any]:
    """Everything about one run."""
    target, names = data.target[tested(data.folds)], list(data.values)
    clean = condition_metrics(run, CLEAN, target, present=False)
    areas, plus, worst = {}, {}, 0.0
    for kind, where in curves(names):
        rows = [condition_metrics(run, key, target, present=False) for key in curve_keys(kind, where)]
        areas[f"{kind}/{where}"] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        worst = max(worst, *(row["mae"] for row in rows))
        if kind == "missing":
            rows = [condition_metrics(run, key, target, present=True) for key in curve_keys(kind, where)]
            plus[f"{kind}/{where}"] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    alone = float(np.mean([areas[f"{kind}/{where}"]["mae"] for kind, where in damaged_alone(names)]))
    return {
        "clean": clean,
        "auilc": areas,
        "auilc_present": plus,
        "auilc_one_damaged": alone,
        "retention": alone / clean["mae"],
        "worst_mae": worst,
        "gone": {where: condition_metrics(run, f"missing/{where}/1", target, present=False) for where in names},
        "mae_curve": {
            f"{kind}/{where}": [
                condition_metrics(run, key, target, present=False)["mae"] for key in curve_keys(kind, where)
            ]
            for kind, where in curves(names)
        },
        "gate": (gate := gates(run, names)),
        "dead_share": run.dead if gate else float("nan"),
        "validation_mae": run.validation,
        "cpu_seconds": run.seconds,
    }


def gates(run: Run, names: Sequence[str]) -> dict[str, Any]:
    """Mean weight of the damaged modality along each curve, and its Spearman correlation with severity."""
    result: dict[str, Any] = {}
    for index, name in enumerate(names):
        for kind in LEVELS:
            weights = [float(run.weights[key][index]) for key in curve_keys(kind, name)]
            if np.isnan(weights).any():
                continue
            flat = np.ptp(weights) < 1e-6
            rank = 0.0 if flat else float(spearmanr(range(len(weights)), weights).statistic)
            result[f"{kind}/{name}"] = {"weights": weights, "spearman": rank}
    return result


def significance(
    runs: Runs, data: FusionData, regimes: Sequence[str], ours: Sequence[str], controls: Sequence[str], where: str
) -> list[dict[str, Any]]:
    """Paired bootstrap over speakers of AUILC MAE, ours minus control (negative: ours is better), Holm over the family.

    Args:
        runs: of the data set.
        data: the data set.
        regimes: of training.
        ours: methods to defend.
        controls: methods to beat.
        where: `one` for one modality damaged (missing and noise), `all` for all missing at a rate.
    """
    rows = tested(data.folds)
    target, group = data.target[rows], data.group[rows]
    places = damaged_alone(list(data.values)) if where == "one" else [("missing", "all")]
    tests: list[dict[str, Any]] = []
    for regime, mine, control in product(regimes, ours, controls):
        if (regime, mine) not in runs or (regime, control) not in runs:
            continue
        difference = row_error(runs[regime, mine], target, places) - row_error(runs[regime, control], target, places)
        mean, interval, p = paired_bootstrap(difference, group)
        tests.append(
            {"regime": regime, "ours": mine, "control": control, "difference": mean, "interval": interval, "p": p}
        )
    return corrected(tests)


def corrected(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same comparisons with Holm's correction over all of them."""
    found = holm({str(index): test["p"] for index, test in enumerate(tests)})
    return [test | {"p_holm": found[str(index)]} for index, test in enumerate(tests)]
