"""The one clock: monotonic nanoseconds, real or virtual.

A virtual clock moves only when told, so a replay is deterministic and a test of a minute takes a millisecond. A clock
that owns waiting knows of every thread that waits by it, so a mock one can move on once all of them do.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """Where every stage takes its time from."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...


class Signal(Protocol):
    """What a thread can wait for, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether it has come."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has come, for `timeout` seconds at most; whether it has."""
        ...


class WaitingClock(Clock, Protocol):
    """A clock that every wait of a thread goes through, and that starts the threads that wait by it."""

    def sleep_until(self, t_ns: int) -> None:
        """Block the calling thread until `t_ns`; return at once if it has passed."""
        ...

    def wait(self, signal: Signal, until_ns: int | None = None) -> bool:
        """Block until a signal has come, until `until_ns` at most; whether it has."""
        ...

    def start(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon thread that may wait by this clock."""
        ...


class Ended:
    """The end of a thread, to be waited for."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def is_set(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the thread has ended; whether it has."""
        self._thread.join(timeout)
        return self.is_set()


def wait_for_s(clock: WaitingClock, signal: Signal, timeout_s: float) -> bool:
    """Wait for a signal by a clock, for so many seconds at most; whether it has come."""
    return clock.wait(signal, clock.now_ns() + int(timeout_s * 1e9))


class MonotonicClock:
    """Real time: `time.monotonic_ns`, which PortAudio and OpenCV stamps are mapped to."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds since an arbitrary start."""
        return time.monotonic_ns()

    def sleep_until(self, t_ns: int) -> None:
        """Block until `t_ns`."""
        while (left := t_ns - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)

    def wait(self, signal: Signal, until_ns: int | None = None) -> bool:
        """Block until a signal has come, until `until_ns` at most; whether it has."""
        return signal.wait(None if until_ns is None else max(0.0, (until_ns - time.monotonic_ns()) / 1e9))

    def start(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Start a daemon thread."""
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread


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
