"""From a score and its spread to an honest 90 % interval, by split conformal prediction on held-out speakers.

Every candidate has the form  half width = factor * (constant + slope * spread + sum_m doubt_m * (1 - r_m))  with no
negative number in it, so that for a given score and spread the interval can only widen when a reliability falls:

- `conformal`: the constant alone (Vovk); cannot widen, kept to compare with.
- `variance`: the spread as the scale of a Laplace distribution, uncalibrated.
- `normalised`: conformal on |error| / spread (Papadopoulos 2002; Lei et al. 2018).
- `reliability`: conformal on |error| / (constant + spread + reliability terms fitted by non-negative least squares).

`fit` takes the one with the smallest interval score (Gneiting and Raftery 2007) in cross-validation over groups, among
those that can widen.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

MOST = 1e4
"""No coefficient of an interval on a scale of 6 is larger; the product of two stays a number."""
LIMIT = 3.0
LEVEL = 0.9
METHODS = ("conformal", "variance", "normalised", "reliability")
WIDENING = ("variance", "normalised", "reliability")


@dataclass(frozen=True)
class Calibration:
    """A fitted interval; travels in the metadata of the weights."""

    method: str
    factor: float
    constant: float
    slope: float
    doubt: tuple[float, ...]
    """Per modality, in the order of the model."""
    blank_half: float
    """Half width of the interval of somebody who knows nothing: what confidence is measured against."""
    level: float = LEVEL

    def half_width(self, spread: ArrayLike, reliability: ArrayLike) -> Array:
        """Half width before clipping: spread (...,), reliability (..., M) to (...,)."""
        doubts = (1.0 - np.asarray(reliability, np.float64)) @ np.asarray(self.doubt)
        return np.asarray(self.factor * (self.constant + self.slope * np.asarray(spread, np.float64) + doubts))

    def interval(self, score: float, spread: float, reliability: Sequence[float]) -> tuple[float, float]:
        """The interval of one score, clipped to [-3, 3]; it holds the score."""
        half = float(self.half_width(spread, reliability))
        return max(-LIMIT, score - half), min(LIMIT, score + half)

    def confidence(self, score: float, spread: float, reliability: Sequence[float]) -> float:
        """1 - half width / half width without any knowledge, in [0, 1]: 0 says that the score is worth nothing.

        The half width is taken before clipping: a strong score is not more certain for being near the end of the scale.
        """
        del score
        return float(np.clip(1.0 - self.half_width(spread, reliability) / self.blank_half, 0.0, 1.0))

    def judge(self, score: NDArray[Any], spread: NDArray[Any], reliability: NDArray[Any]) -> tuple[Array, Array, Array]:
        """Both ends of the interval and the confidence of N scores at once: (N,), (N,), (N, M) to three of (N,)."""
        half = self.half_width(spread, reliability)
        low, high = np.maximum(-LIMIT, score - half), np.minimum(LIMIT, score + half)
        return low, high, np.clip(1.0 - half / self.blank_half, 0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` gave.

        Raises:
            ValueError: a key is missing or unknown, or a number is negative or more than MOST.
        """
        try:
            made = cls(**{**data, "doubt": tuple(float(value) for value in data["doubt"])})
            numbers = (made.factor, made.constant, made.slope, made.blank_half, *made.doubt)
            sound = all(0 <= value <= MOST for value in numbers) and made.blank_half >= 1 / MOST
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a calibration: {error!r}") from None
        if not sound:
            raise ValueError(f"not a calibration: {dict(data)}")
        return made


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions on held-out data: score, spread, target (N,), reliability (N, M), and the group of each row (N,)."""

    score: Array
    spread: Array
    reliability: Array
    target: Array
    group: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> HeldOutPredictions:
        """Return the rows of a boolean mask or of indices."""
        return HeldOutPredictions(
            self.score[rows], self.spread[rows], self.reliability[rows], self.target[rows], self.group[rows]
        )


def quantile(values: Array, level: float) -> float:
    """Conformal quantile: the ceil((n + 1) level)-th smallest of n values, the largest if there are too few."""
    rank = math.ceil((len(values) + 1) * level)
    return float(np.sort(values)[min(rank, len(values)) - 1])


def fit_method(method: str, held: HeldOutPredictions, level: float = LEVEL) -> Calibration:
    """Fit one of METHODS."""
    error = np.abs(held.target - held.score)
    count = held.reliability.shape[1]
    constant, slope, doubt = 0.0, 1.0, np.zeros(count)
    if method == "conformal":
        constant, slope = 1.0, 0.0
    elif method == "reliability":
        constant, slope, doubt = _scale(error, held)
    scale = constant + slope * held.spread + (1.0 - held.reliability) @ doubt
    factor = -math.log(1.0 - level) if method == "variance" else quantile(error / scale, level)
    centre = np.median(held.target)
    blank = quantile(np.abs(held.target - centre), level)
    return Calibration(method, factor, constant, slope, tuple(doubt.tolist()), blank, level)


def _scale(error: Array, held: HeldOutPredictions) -> tuple[float, float, Array]:
    from scipy.optimize import nnls  # noqa: PLC0415 - for training only, the live program has no scipy

    columns = np.column_stack([np.ones(len(error)), held.spread, 1.0 - held.reliability])
    found, _ = nnls(columns, error)
    floor = max(1e-3, 0.05 * float(error.mean()) - float(found[0]))
    return float(found[0]) + floor, float(found[1]), np.asarray(found[2:], np.float64)


def interval_score(calibration: Calibration, held: HeldOutPredictions) -> float:
    """Mean interval score: the width plus 2 / (1 - level) times how far a target lies outside; smaller is better."""
    low, high = bounds(calibration, held)
    outside = np.maximum(low - held.target, 0) + np.maximum(held.target - high, 0)
    return float(np.mean(high - low + 2.0 / (1.0 - calibration.level) * outside))


def bounds(calibration: Calibration, held: HeldOutPredictions) -> tuple[Array, Array]:
    """Clipped intervals (N,), (N,)."""
    half = calibration.half_width(held.spread, held.reliability)
    return np.maximum(-LIMIT, held.score - half), np.minimum(LIMIT, held.score + half)


def coverage(calibration: Calibration, held: HeldOutPredictions) -> float:
    """Share of the targets inside their interval."""
    low, high = bounds(calibration, held)
    return float(np.mean((low <= held.target) & (held.target <= high)))


def compare(held: HeldOutPredictions, folds: int = 5, level: float = LEVEL) -> dict[str, dict[str, float]]:
    """Every method in cross-validation over groups: mean `interval_score`, `coverage` and `width`."""
    groups = np.unique(held.group)
    parts = [groups[index :: min(folds, len(groups))] for index in range(min(folds, len(groups)))]
    result = {}
    for method in METHODS:
        rows = []
        for part in parts:
            out = np.isin(held.group, part)
            if out.all():
                raise ValueError("cross-validation needs at least two groups")
            calibration, test = fit_method(method, held.take(~out), level), held.take(out)
            low, high = bounds(calibration, test)
            rows.append((interval_score(calibration, test), coverage(calibration, test), float(np.mean(high - low))))
            rows[-1] = tuple(value * out.sum() for value in rows[-1])
        total = np.sum(rows, 0) / len(held.target)
        result[method] = dict(zip(("interval_score", "coverage", "width"), map(float, total), strict=True))
    return result


def fit(
    held: HeldOutPredictions, folds: int = 5, level: float = LEVEL
) -> tuple[Calibration, dict[str, dict[str, float]]]:
    """Choose among WIDENING by `compare`, fit on all rows; returns the calibration and the comparison.

    Raises:
        ValueError: fewer than two groups.
    """
    table = compare(held, folds, level)
    best = min(WIDENING, key=lambda method: table[method]["interval_score"])
    return fit_method(best, held, level), table
