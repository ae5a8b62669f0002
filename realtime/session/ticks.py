"""The grid of windows: when each ends, and when it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from realtime.config.schema import Config


class Ticks:
    """The grid of windows: every hop one ends, and is closed `lateness` later."""

    def __init__(self, t0_ns: int, config: Config) -> None:
        self.hop_ns = int(config.window.hop_s * NS_PER_S)
        self._lateness_ns = int(config.window.lateness_s * NS_PER_S)
        self.end_ns = t0_ns + self.hop_ns

    @property
    def due_ns(self) -> int:
        """When the next window is to be closed."""
        return self.end_ns + self._lateness_ns

    def next(self) -> int:
        """Return the end of the window that is due, and go on to the next."""
        end_ns, self.end_ns = self.end_ns, self.end_ns + self.hop_ns
        return end_ns
