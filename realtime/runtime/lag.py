"""Tells when a worker is behind: its results come late for seconds on end, not once. Pure."""

from __future__ import annotations

from realtime.types import NS_PER_S

BEHIND_S = 1.0
"""Results that come so late, from the arrival of an item to the end of its work, are behind."""
CAUGHT_UP_S = 0.5
OVER_S = 3.0
"""So long every result has to be late before it counts, or in time again: one hiccup of the machine is no overload."""


class LagMonitor:
    """Turns the lags of a worker's results into a state that does not flicker."""

    def __init__(self) -> None:
        self.behind = False
        self.since_ns = 0
        """When what `behind` says began."""
        self._other_since_ns: int | None = None

    def feed(self, now_ns: int, lag_s: float) -> bool:
        """Take the lag of a result, 0 while there is nothing to do; True when `behind` changes with it."""
        if not (lag_s < CAUGHT_UP_S if self.behind else lag_s >= BEHIND_S):
            self._other_since_ns = None
            return False
        if self._other_since_ns is None:
            self._other_since_ns = now_ns
        if now_ns - self._other_since_ns < OVER_S * NS_PER_S:
            return False
        self.behind, self.since_ns, self._other_since_ns = not self.behind, self._other_since_ns, None
        return True
