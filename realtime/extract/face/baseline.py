"""What this face looks like at rest: a running baseline that starts from the usual face.

Blendshapes read heavy brows as a frown and round cheeks as a smile; only the change against the person's own rest
says something. The pull of an expression is limited per column, as in Huber's estimator of location: a lasting
difference is learned, a smile of some seconds is not swallowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from realtime.types import Floats

PRIOR_SHARE: Final = 0.25
"""The usual face counts like so much of the time constant: the first impression of a face is learned faster."""
PULL_LIMIT: Final = 0.15
"""The most a column counts as differing from its baseline."""
STEP_LIMIT_S: Final = 0.5
"""The longest one picture stands for."""


class Baseline:
    """Running rest of one face.

    Args:
        prior: of the usual face (D,).
        time_s: time constant.
    """

    def __init__(self, prior: Floats, time_s: float) -> None:
        self._prior = prior.astype(np.float64)
        self._time_s = time_s
        self.reset()

    def reset(self) -> None:
        """Start again from the usual face: another person is here."""
        self._rest = self._prior.copy()
        self._seen_s = PRIOR_SHARE * self._time_s
        self._last_ns: int | None = None

    def snapshot(self) -> tuple[Floats, float, int | None]:
        """Return the rest (D,), over how many seconds it was learned, and when last."""
        return self._rest.copy(), self._seen_s, self._last_ns

    def restore(self, rest: Floats, seen_s: float, last_ns: int | None) -> None:
        """Go on from what another one returned."""
        self._rest, self._seen_s, self._last_ns = rest.astype(np.float64), min(self._time_s, seen_s), last_ns

    def apart(self, values: Floats) -> Floats:
        """Return the first of the values (d,), d <= D, minus their rest, without learning from them."""
        difference: Floats = (values - self._rest[: len(values)]).astype(np.float32)
        return difference

    def subtract(self, values: Floats, t_ns: int) -> Floats:
        """Return values (D,) minus the rest as known before this picture, then learn from it."""
        difference: Floats = (values - self._rest).astype(np.float32)
        if self._last_ns is not None:
            step_s = min(STEP_LIMIT_S, max(0, t_ns - self._last_ns) / NS_PER_S)
            self._seen_s = min(self._time_s, self._seen_s + step_s)
            self._rest += np.clip(difference, -PULL_LIMIT, PULL_LIMIT) * min(1.0, step_s / self._seen_s)
        self._last_ns = t_ns
        return difference
