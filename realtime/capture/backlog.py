"""Tell pictures that were taken just now from those that piled up on the way and carry no time of their own."""

from __future__ import annotations

from realtime.types import NS_PER_S

PAUSE_NS = NS_PER_S // 4
"""After a pause of so long, and three times longer than usual, pictures may have piled up on the way."""
INSTANT_NS = 10_000_000
"""A picture that need not be waited for was taken earlier."""
CATCH_UP_NS = NS_PER_S
"""Pictures that have piled up are passed over for no longer: a camera may be faster than it can be read."""


class Backlog:
    """Passes over what piled up in a stall, and at the beginning where a library has looked ahead.

    Args:
        piled_up: whether there may be a pile to begin with.
    """

    def __init__(self, *, piled_up: bool = False) -> None:
        self._piled_up = piled_up
        self._since_ns: int | None = None
        self._last_ns: int | None = None
        self._period_ns = 0.0

    def is_old(self, begin_ns: int, t_ns: int) -> bool:
        """Whether the picture that was waited for from `begin_ns` to `t_ns` was taken before."""
        if self._since_ns is None and (self._piled_up or self._paused(t_ns)):
            self._since_ns, self._piled_up = t_ns, False
            return True
        if self._since_ns is not None and t_ns - begin_ns < INSTANT_NS and t_ns - self._since_ns < CATCH_UP_NS:
            return True
        self._since_ns, self._last_ns = None, t_ns
        return False

    def _paused(self, t_ns: int) -> bool:
        apart_ns = 0 if self._last_ns is None else t_ns - self._last_ns
        paused = self._period_ns > 0 and apart_ns > max(PAUSE_NS, 3 * self._period_ns)
        # A camera that has become slower for good is learned from its pauses, too.
        self._period_ns += (min(apart_ns, NS_PER_S) - self._period_ns) * (0.1 if self._period_ns else 1.0)
        return paused
