"""How sure a score is, by what is known of the utterance: split conformal within states (Mondrian, Vovk 2003).

For every state of the opinion, fitted on held-out speakers:

    scale = constant + slope * spread + sum_m doubt_m * (1 - r_m)        no negative number in it
    90 % interval: score -+ wide * scale      68 % band: score -+ narrow * scale
    P(the sentiment is positive) = 1 / (1 + exp(-sign * score / scale))

so that for a given score and spread the interval can only widen when a reliability falls.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from models.calibrate import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.calibrate import Calibration

    Array = NDArray[Any]

LIMIT = 3.0
LEVEL, BAND_LEVEL = 0.9, 0.68
State = Literal["none", "listening", "partial", "final"]
"""No words can be had; nothing said yet; an open utterance; a whole one."""
STATES: tuple[State, ...] = get_args(State)
LEAST_ROWS = 60
"""A state with fewer rows goes by all of them."""
SIGNS = np.geomspace(0.1, 10.0, 81)


@dataclass(frozen=True)
class Part:
    """The numbers of one state; see the head of the file."""

    constant: float
    slope: float
    doubt: tuple[float, ...]
    wide: float
    narrow: float
    sign: float

    def scale(self, spread: Array, reliability: Array) -> Array:
        """Scale of the error: (N,), (N, M) to (N,)."""
        found: Array = self.constant + self.slope * spread + (1.0 - reliability) @ np.asarray(self.doubt)
        return found


class Sure(NamedTuple):
    """Of N scores: half widths of the 90 % interval and the 68 % band, log odds of positive per score, (N,) each."""

    wide: Array
    narrow: Array
    odds: Array


@dataclass(frozen=True)
class Uncertainty:
    """A part for every state; travels with the weights."""

    parts: Mapping[str, Part]

    def judge(self, states: Sequence[str], spread: Array, reliability: Array) -> Sure:
        """Say how sure N scores are: states (N,), spread (N,), reliability (N, M)."""
        rows = []
        for state, b, r in zip(states, spread, reliability, strict=True):
            part = self.parts[state]
            scale = float(part.scale(np.asarray(b), np.asarray(r)))
            rows.append((part.wide * scale, part.narrow * scale, part.sign / scale))
        wide, narrow, odds = np.array(rows, np.float64).reshape(-1, 3).T
        return Sure(wide, narrow, odds)

    @classmethod
    def of(cls, calibration: Calibration) -> Uncertainty:
        """Take a calibration that knows no states for all of them, its error for Laplacian."""
        narrow = calibration.factor * math.log(1 - BAND_LEVEL) / math.log(1 - LEVEL)
        part = Part(
            max(calibration.constant, 1e-3),
            calibration.slope,
            calibration.doubt,
            calibration.factor,
            narrow,
            -math.log(1 - LEVEL) * 2 / max(calibration.factor, 1e-3),
        )
        return cls(dict.fromkeys(STATES, part))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {state: asdict(part) for state, part in self.parts.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Uncertainty:
        """Read what `to_dict` gave.

        Raises:
            ValueError: a state or a number is missing, unknown, negative or not finite.
        """
        try:
            parts = {
                state: Part(**{**fields, "doubt": tuple(float(value) for value in fields["doubt"])})
                for state, fields in data.items()
            }
            numbers = [
                (part.constant, part.slope, part.wide, part.narrow, part.sign, *part.doubt) for part in parts.values()
            ]
            sound = all(math.isfinite(value) and value >= 0 for row in numbers for value in row)
            sound = sound and all(part.constant > 0 for part in parts.values()) and set(parts) == set(STATES)
            sound = sound and len({len(part.doubt) for part in parts.values()}) == 1
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an uncertainty: {error!r}") from None
        if not sound:
            raise ValueError(f"not an uncertainty: {dict(data)}")
        return cls(parts)


@dataclass(frozen=True)
class Judged:
    """Predictions on held-out data, N rows: see `models.calibrate.Held`; `state` (N,) is one of STATES."""

    score: Array
    spread: Array
    reliability: Array
    target: Array
    group: Array
    state: Array

    def take(self, rows: Array) -> Judged:
        """Return the rows of a boolean mask or of indices."""
        return Judged(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def fit(held: Judged) -> Uncertainty:
    """Fit every state on its own rows."""
    parts: dict[str, Part] = {}
    for state in STATES:
        rows = held.state == state
        parts[state] = fit_part(held.take(rows) if rows.sum() >= LEAST_ROWS else held)
    return Uncertainty(parts)


def fit_part(held: Judged) -> Part:
    """Fit one state."""
    from scipy.optimize import nnls  # noqa: PLC0415 - for training only, the live program has no scipy

    error = np.abs(held.target - held.score)
    found, _ = nnls(np.column_stack([np.ones(len(error)), held.spread, 1.0 - held.reliability]), error)
    constant = max(float(found[0]), 0.05 * float(error.mean()), 1e-3)
    part = Part(constant, float(found[1]), tuple(map(float, found[2:])), 1.0, 1.0, 1.0)
    scale = part.scale(held.spread, held.reliability)
    return Part(
        constant,
        part.slope,
        part.doubt,
        quantile(error / scale, LEVEL),
        quantile(error / scale, BAND_LEVEL),
        _sign(held, scale),
    )


def _sign(held: Judged, scale: Array) -> float:
    """Steepness of P(positive) by score / scale with the greatest likelihood, both signs counting the same."""
    rows = held.target != 0
    side, size = np.sign(held.target[rows]), (held.score / scale)[rows]
    if not (np.any(side > 0) and np.any(side < 0)):
        return 1.0
    weight = np.where(side > 0, 1 / np.sum(side > 0), 1 / np.sum(side < 0))
    losses = [float(np.sum(weight * np.logaddexp(0.0, -steep * side * size))) for steep in SIGNS]
    return float(SIGNS[int(np.argmin(losses))])


def cross(held: Judged) -> dict[str, dict[str, float]]:
    """Coverage and width by state, every group judged by what was fitted on the others."""
    inside, width = np.zeros(len(held.target)), np.zeros(len(held.target))
    for name in np.unique(held.group):
        out = held.group == name
        test = held.take(out)
        sure = fit(held.take(~out)).judge(list(test.state), test.spread, test.reliability)
        low, high = np.maximum(-LIMIT, test.score - sure.wide), np.minimum(LIMIT, test.score + sure.wide)
        inside[out], width[out] = (low <= test.target) & (test.target <= high), high - low
    return {
        state: {"coverage": float(inside[rows].mean()), "width": float(width[rows].mean()), "n": int(rows.sum())}
        for state in STATES
        if (rows := held.state == state).any()
    }
