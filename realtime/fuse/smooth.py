"""From raw to score: an exponential mean over time that follows faster when the window is worth more."""

from __future__ import annotations

import math


class Smoother:
    """One-pole low-pass filter with the time constant `tau_s`, weighted by confidence.

    A window with little confidence moves the score little; after `forget_s` without any the next one starts afresh.
    """

    def __init__(self, tau_s: float, forget_s: float = 5.0) -> None:
        self._tau_s = tau_s
        self._forget_s = forget_s
        self._score: float | None = None
        self._t_ns = 0

    def reset(self) -> None:
        """Forget the past, as after a pause or a new face."""
        self._score = None

    def feed(self, t_ns: int, raw: float, confidence: float) -> float:
        """Take the raw score of the window that ends at `t_ns` and return the smoothed one."""
        gap_s = (t_ns - self._t_ns) / 1e9
        if self._score is None or gap_s > self._forget_s or self._tau_s <= 0:
            self._score = raw
        else:
            step = 1.0 - math.exp(-gap_s * max(0.05, min(1.0, confidence)) / self._tau_s)
            self._score += step * (raw - self._score)
        self._t_ns = t_ns
        return self._score
