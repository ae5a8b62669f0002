"""Metrics of sentiment regression as the literature prints them (MMSA), on targets and predictions in [-3, 3], (N,)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[Any]

KEYS = ("has0", "non0", "f1", "acc5", "acc7", "mae", "r")


def mae(target: Array, predicted: Array) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(target - predicted)))


def pearson(target: Array, predicted: Array) -> float:
    """Correlation; 0 where one side does not vary."""
    if len(target) < 2 or np.std(target) < 1e-9 or np.std(predicted) < 1e-9:
        return 0.0
    return float(np.corrcoef(target, predicted)[0, 1])


def has0(target: Array, predicted: Array) -> float:
    """Acc-2 Has0: negative (< 0) against non-negative."""
    return float(np.mean((target < 0) == (predicted < 0)))


def non0(target: Array, predicted: Array) -> float:
    """Acc-2 Non0: negative against positive, neutral targets left out; NaN if there are no others."""
    rows = target != 0
    return float(np.mean((target[rows] > 0) == (predicted[rows] > 0))) if rows.any() else float("nan")


def f1(target: Array, predicted: Array) -> float:
    """F1 of negative against non-negative, the mean of both classes weighted by their support."""
    total = 0.0
    truth, guess = target < 0, predicted < 0
    for side in (True, False):
        hit = np.sum((truth == side) & (guess == side))
        denominator = np.sum(truth == side) + np.sum(guess == side)
        total += np.sum(truth == side) * (2 * hit / denominator if denominator else 0.0)
    return float(total / len(target))


def accuracy(target: Array, predicted: Array, limit: int) -> float:
    """Acc-5 (limit 2) and Acc-7 (limit 3): both sides clipped to [-limit, limit] and rounded to whole classes."""
    classes = [np.round(np.clip(values, -limit, limit)) for values in (target, predicted)]
    return float(np.mean(classes[0] == classes[1]))


def auc(positive: Array, score: Array) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    Args:
        positive: (N,) bool, both kinds present.
        score: (N,).
    """
    up, down = np.sort(score[positive]), np.sort(score[~positive])
    below = np.searchsorted(down, up, "left") + np.searchsorted(down, up, "right")
    return float(below.sum() / (2 * len(up) * len(down)))


def all_metrics(target: Array, predicted: Array) -> dict[str, float]:
    """Every metric of KEYS."""
    return {
        "has0": has0(target, predicted),
        "non0": non0(target, predicted),
        "f1": f1(target, predicted),
        "acc5": accuracy(target, predicted, 2),
        "acc7": accuracy(target, predicted, 3),
        "mae": mae(target, predicted),
        "r": pearson(target, predicted),
    }


def bootstrap(
    target: Array, predicted: Array, metric: Callable[[Array, Array], float], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a metric over rows drawn with replacement."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(target), (rounds, len(target)))
    values = [metric(target[rows], predicted[rows]) for rows in draws]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return float(low), float(high)


def paired_bootstrap(
    difference: Array, group: Array, rounds: int = 10_000, seed: int = 0
) -> tuple[float, tuple[float, float], float]:
    """Whether paired differences (N,) are 0 on average, whole groups (speakers) drawn with replacement.

    Returns:
        mean difference over rows, its 95 % interval, and the two-sided p value.
    """
    names, codes = np.unique(group, return_inverse=True)
    sums = np.bincount(codes, difference)
    counts = np.bincount(codes).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(names), (rounds, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    tail = min(np.sum(means <= 0), np.sum(means >= 0))
    return float(np.mean(difference)), (float(low), float(high)), float(min(1.0, 2 * (tail + 1) / (rounds + 1)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of a family of p values."""
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted
