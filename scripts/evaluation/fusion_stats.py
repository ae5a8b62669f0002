"""Numbers of the fusion benchmark: metrics, areas under the degradation curves, gates, and what is significant."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from models.metrics import all_metrics, holm, paired_bootstrap
from scripts.evaluation.fusion_damage import Condition, alone
from scripts.evaluation.fusion_runs import tested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scripts.evaluation.fusion_damage import Curves
    from scripts.evaluation.fusion_data import FusionData, Signal
    from scripts.evaluation.fusion_runs import Run

    Runs = dict[tuple[str, str], Run]

CLEAN = "missing/all/0"


def curve_keys(curves: Curves, place: tuple[str, str]) -> list[str]:
    """Keys of the conditions of one curve, mild to severe."""
    return [Condition(*place, level).key for level in curves[place]]


def row_error(
    run: Run, target: NDArray[np.float32], curves: Curves, places: Sequence[tuple[str, str]]
) -> NDArray[np.float64]:
    """Absolute error of each row (N,), mean over seeds and over the levels of the curves (AUILC per row)."""
    parts = [
        np.abs(np.mean([np.abs(run.score[key] - target).mean(0) for key in curve_keys(curves, place)], 0))
        for place in places
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
    target, names, curves = data.target[tested(data.folds)], list(data.values), data.curves
    clean = condition_metrics(run, CLEAN, target, present=False)
    areas, plus, lines, worst = {}, {}, {}, 0.0
    for place in curves:
        kind, key = place[0], "/".join(place)
        rows = [condition_metrics(run, each, target, present=False) for each in curve_keys(curves, place)]
        areas[key] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        lines[key] = [row["mae"] for row in rows]
        worst = max(worst, *lines[key])
        if kind == "missing":
            rows = [condition_metrics(run, each, target, present=True) for each in curve_keys(curves, place)]
            plus[key] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    damaged = float(np.mean([areas["/".join(place)]["mae"] for place in alone(curves)]))
    return {
        "clean": clean,
        "auilc": areas,
        "auilc_present": plus,
        "auilc_one_damaged": damaged,
        "retention": damaged / clean["mae"],
        "worst_mae": worst,
        "gone": {where: condition_metrics(run, f"missing/{where}/1", target, present=False) for where in names},
        "mae_curve": lines,
        "gate": (gate := gates(run, data)),
        "dead_share": run.dead if gate else float("nan"),
        "validation_mae": run.validation,
        "cpu_seconds": run.seconds,
    }


def gates(run: Run, data: FusionData) -> dict[str, Any]:
    """Mean weight of the damaged modality along each curve, and its Spearman correlation with severity.

    Where the signals were damaged the first weight is that of the undamaged one; and `rows` is the correlation over
    rows and levels, each row by itself.
    """
    result: dict[str, Any] = {}
    for index, name in enumerate(data.values):
        for place in data.curves:
            kind, where = place
            if where != name:
                continue
            keys = curve_keys(data.curves, place)
            measured = kind != "missing" and bool(data.signals)
            keys = [CLEAN, *keys] if measured else keys
            weights = [float(run.weights[key][index]) for key in keys]
            if np.isnan(weights).any():
                continue
            result[f"{kind}/{name}"] = found = {"weights": weights, "spearman": _rank(range(len(weights)), weights)}
            if measured:
                each = np.stack([run.shares[key][:, index] for key in keys])
                found["rows"] = _rank(np.repeat(range(len(keys)), each.shape[1]), each.ravel())
    return result


def measured(signal: Signal) -> dict[str, Any]:
    """Levels of the damage to a signal, and the mean reliability at each, the undamaged first."""
    return {
        "kind": signal.kind,
        "levels": list(signal.levels),
        "reliability": signal.reliability.mean(1, dtype=np.float64).tolist(),
    }


def _rank(level: Any, weight: Any) -> float:  # noqa: ANN401 - sequences of numbers
    """Spearman correlation; 0 where the weight does not change."""
    return 0.0 if np.ptp(weight) < 1e-6 else float(spearmanr(level, weight).statistic)


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
    places = alone(data.curves) if where == "one" else [("missing", "all")]
    tests: list[dict[str, Any]] = []
    for regime, mine, control in product(regimes, ours, controls):
        if (regime, mine) not in runs or (regime, control) not in runs:
            continue
        errors = [row_error(runs[regime, method], target, data.curves, places) for method in (mine, control)]
        mean, interval, p = paired_bootstrap(errors[0] - errors[1], group)
        tests.append(
            {"regime": regime, "ours": mine, "control": control, "difference": mean, "interval": interval, "p": p}
        )
    return corrected(tests)


def corrected(tests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same comparisons with Holm's correction over all of them."""
    found = holm({str(index): test["p"] for index, test in enumerate(tests)})
    return [test | {"p_holm": found[str(index)]} for index, test in enumerate(tests)]
