"""From raw to score: an exponential mean over time that follows faster when the window is worth more."""

from __future__ import annotations

import math

SLOWEST = 0.4
"""Pace of a window that is worth nothing, as a share of the full one: the score must never be stuck in the past."""


class Smoother:
    """One-pole low-pass filter with the time constant `tau_s`, weighted by confidence.

    A window with little confidence moves the score less, at SLOWEST of the pace; after `forget_s` without any the next
    one starts afresh.
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
            worth = SLOWEST + (1.0 - SLOWEST) * max(0.0, min(1.0, confidence))
            step = 1.0 - math.exp(-gap_s * worth / self._tau_s)
            self._score += step * (raw - self._score)
        self._t_ns = t_ns
        return self._score
