"""The grid of windows: when each ends, and when it is closed at the latest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from realtime.config.schema import Config


def hop_ns(config: Config) -> int:
    """Nanoseconds from one window to the next."""
    return int(config.window.hop_s * NS_PER_S)


class Ticks:
    """The grid of windows: every hop one ends, and is closed `lateness` later at the latest."""

    def __init__(self, t0_ns: int, config: Config) -> None:
        self.hop_ns = hop_ns(config)
        self._lateness_ns = int(config.window.lateness_s * NS_PER_S)
        self.end_ns = t0_ns + self.hop_ns

    @property
    def due_ns(self) -> int:
        """When the next window is closed with whatever has come."""
        return self.end_ns + self._lateness_ns

    def skip_to(self, now_ns: int) -> int:
        """Leave out the windows before the newest that is due; return how many."""
        left_out = max(0, (now_ns - self.due_ns) // self.hop_ns)
        self.end_ns += left_out * self.hop_ns
        return left_out

    def next(self) -> int:
        """Return the end of the window that is due, and go on to the next."""
        end_ns, self.end_ns = self.end_ns, self.end_ns + self.hop_ns
        return end_ns
