"""Thin frames to a rate before any work is done on them."""

from __future__ import annotations

from realtime.types import NS_PER_S


class RateLimit:
    """Admit at most `max_fps` frames per second on average, evenly spread.

    The grid advances by whole periods, so 25 frames/s thin to exactly 15 and not to 12.5; a frame may come a quarter
    of a period early, so that the jitter of a camera does not cost every second frame.
    """

    def __init__(self, max_fps: float) -> None:
        self._due_ns: int | None = None
        self._period_ns = 0
        self.set(max_fps)

    def set(self, max_fps: float) -> None:
        """Change the rate: a faster one holds from the next frame on."""
        period_ns = round(NS_PER_S / max_fps)
        if self._due_ns is not None:
            self._due_ns += min(0, period_ns - self._period_ns)
        self._period_ns, self._slack_ns = period_ns, period_ns // 4

    def admits(self, t_ns: int) -> bool:
        """Whether the frame of this time is to be kept; times must not fall."""
        if self._due_ns is None:
            self._due_ns = t_ns
        if t_ns < self._due_ns - self._slack_ns:
            return False
        # After a pause the grid starts anew: the frames that were missed are not made up for.
        missed = t_ns - self._due_ns > self._period_ns
        self._due_ns = (t_ns if missed else self._due_ns) + self._period_ns
        return True
