"""The one clock: monotonic nanoseconds, real or virtual.

A virtual clock moves only when told, so a replay is deterministic and a test of a minute takes a millisecond.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Where every stage takes its time from."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...

    def sleep_until(self, t_ns: int) -> None:
        """Block the calling thread until `t_ns`; return at once if it has passed."""
        ...


class MonotonicClock:
    """Real time: `time.monotonic_ns`, which PortAudio and OpenCV stamps are mapped to."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds since an arbitrary start."""
        return time.monotonic_ns()

    def sleep_until(self, t_ns: int) -> None:
        """Block until `t_ns`."""
        while (left := t_ns - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)


class VirtualClock:
    """Time that moves only by `advance_to` or by a sleep, which returns at once."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self._now_ns

    def advance_to(self, t_ns: int) -> None:
        """Move forward to `t_ns`; never backward."""
        self._now_ns = max(self._now_ns, t_ns)

    def sleep_until(self, t_ns: int) -> None:
        """Jump to `t_ns`."""
        self.advance_to(t_ns)


def utc_now() -> datetime:
    """Wall-clock time: for published messages only."""
    return datetime.now(timezone.utc)
