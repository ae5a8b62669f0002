"""A device in a watched thread of its own: opened, read, and opened again when it is lost."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from realtime.runtime.worker import Worker
from realtime.types import Event, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import WaitingClock


SLOW_OVER_S = 2.0
"""A rate is judged over so long."""


class Device(Protocol):
    """What a source worker runs: every call may block, and may raise an AgfnError."""

    def open(self) -> None:
        """Open the device."""
        ...

    def read(self) -> Any:  # noqa: ANN401 - a Frame or a Chunk, by the device
        """Wait for the next item."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class RateMonitor:
    """Tells when a device that still delivers has become slow, and when it is back to speed.

    Args:
        least_hz: fewer items per second than this are slow; half as much again are not.
    """

    def __init__(self, least_hz: float) -> None:
        self._least_hz = least_hz
        self._times_ns: deque[int] = deque()
        self.slow = False

    def feed(self, t_ns: int) -> float | None:
        """Take the time of an item; return the rate in Hz when `slow` changes with it."""
        self._times_ns.append(t_ns)
        span_s = (t_ns - self._times_ns[0]) / 1e9
        if span_s < SLOW_OVER_S:
            return None
        rate_hz = (len(self._times_ns) - 1) / span_s
        while (t_ns - self._times_ns[0]) / 1e9 >= SLOW_OVER_S:
            self._times_ns.popleft()
        was, self.slow = self.slow, rate_hz < self._least_hz * (1.5 if self.slow else 1.0)
        return rate_hz if self.slow != was else None


class SourceWorker(Worker):
    """A device in a thread: opens it, hands on what it reads, and opens it again when it is lost.

    Args:
        name: of the component.
        make: builds the device.
        sink: takes what it delivers.
        clock: for ages and time-outs.
        on_event: called with each event.
        open_s: how long opening may take before it is abandoned.
        read_s: how long one read may take.
        least_hz: fewer items per second than this are reported as slow; 0 never.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Device],
        sink: Callable[[Any], None],
        clock: WaitingClock,
        on_event: Callable[[Event], None],
        *,
        open_s: float,
        read_s: float,
        least_hz: float = 0.0,
    ) -> None:
        super().__init__(name, clock, on_event, open_s)
        self._make, self._sink = make, sink
        self._least_hz = least_hz
        self._slow_since_ns: int | None = None
        self._open_s, self._read_s = open_s, read_s
        self.ready.set()

    def _run(self, generation: int) -> None:
        device, pace = self._make(), RateMonitor(self._least_hz)
        self._slow_since_ns = None
        try:
            self.hang_s = self._open_s
            self._enter()
            device.open()
            if not self._current(generation):
                return  # it took so long that another one is being opened, and watched
            self._leave()
            self.hang_s = self._read_s
            while self._current(generation):
                self._enter()
                item = device.read()
                if not self._current(generation):
                    return
                self._leave()
                self._sink(item)
                self._delivered(item_end_ns(item))
                if (rate_hz := pace.feed(item_end_ns(item))) is not None:
                    self._tell_pace(rate_hz, slow=pace.slow)
        finally:
            device.close()

    def _tell_pace(self, rate_hz: float, *, slow: bool) -> None:
        now_ns = self._clock.now_ns()
        if slow:
            self._slow_since_ns = now_ns
            self._on_event(Event(now_ns, self.name, "slow", f"{self.name}: {rate_hz:.1f} per second", now_ns))
        else:
            self._on_event(Event(now_ns, self.name, "recovered", None, self._slow_since_ns))
