"""Threads that are watched by the time of their last output, restarted when they fail, and abandoned when they hang.

A worker runs one stage or one device in a thread of its own. An exception restarts it with jittered backoff; a call
that does not return is left behind in its thread (its late results are thrown away) and a fresh one takes its place.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.clock import Ended, wait_for_s
from realtime.errors import AbsentError, AgfnError
from realtime.runtime.lag import LagMonitor
from realtime.system import backoff
from realtime.system.threads import name_thread
from realtime.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.clock import WaitingClock
    from realtime.runtime.channel import ChannelStats
    from realtime.types import EventKind

log = logging.getLogger(__name__)

MAX_LEFT_BEHIND = 4
"""So many hung calls of one worker at most; then it waits for one to return."""
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 1.5
"""Short: a failed open of a local device costs milliseconds, and a person who plugs it in again waits."""
HANDOVER_S = 2.0
"""A worker that is started again waits so long for the thread before to let go of its device."""
LOG_EVERY_S = 30.0


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter of a quarter."""
    return backoff.jittered_s(failures, FIRST_BACKOFF_S, LONGEST_BACKOFF_S)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker did so far. `delay_ms` is the age of the newest item when its work was done."""

    items: int
    restarts: int
    left_behind: int
    delay_ms: float
    busy_s: float
    lost: bool
    channel: ChannelStats | None = None


class Worker(ABC):
    """A thread with a generation: only the newest generation's results count.

    Args:
        name: of the component, as events and health messages show it.
        clock: for ages and time-outs.
        on_event: called with each event of this component.
        hang_s: how long one call may take before it is abandoned.
    """

    def __init__(self, name: str, clock: WaitingClock, on_event: Callable[[Event], None], hang_s: float) -> None:
        self.name = name
        self.hang_s = hang_s
        self.ready = threading.Event()
        self._clock = clock
        self._on_event = on_event
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._generation = 0
        self._busy_since_ns: int | None = None
        self._items = self._restarts = self._failures = 0
        self._delay_ms = 0.0
        self._busy_ns = 0
        self._lost_since_ns: int | None = None
        self._logged_ns: int | None = None
        self._lag = LagMonitor()

    def start(self) -> None:
        """Start the thread; one that was stopped just now is waited for in the new thread, not here."""
        self._stop.clear()
        self._busy_since_ns = None  # of a call from before the stop, which nobody waits for
        self._launch(handover=True)

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the newest thread; False when it hangs."""
        thread = self._threads[-1] if self._threads else None
        if thread is not None and thread is not threading.current_thread():
            return wait_for_s(self._clock, Ended(thread), timeout_s)
        return True

    def watch(self) -> None:
        """Abandon a call that hangs and start afresh. Called regularly by the watchdog."""
        since_ns = self._busy_since_ns
        if since_ns is None or self._stop.is_set():
            return
        hung_s = (self._clock.now_ns() - since_ns) / 1e9
        if hung_s <= self.hang_s:
            return
        self._fail("stalled", f"{self.name}: no answer for {hung_s:.1f} s")
        if self._left_behind() >= MAX_LEFT_BEHIND:
            return
        with self._lock:
            if self._busy_since_ns != since_ns:
                return
            self._busy_since_ns = None
            self._restarts += 1
        self._launch()

    def gauge(self) -> WorkerStats:
        """Return the counts of this moment."""
        return WorkerStats(
            items=self._items,
            restarts=self._restarts,
            left_behind=self._left_behind(),
            delay_ms=self._delay_ms,
            busy_s=self._busy_ns / 1e9,
            lost=self._lost_since_ns is not None,
        )

    @abstractmethod
    def _run(self, generation: int) -> None:
        """Work until stopped or superseded."""

    def _launch(self, *, handover: bool = False) -> None:
        with self._lock:
            self._generation += 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            generation, before = self._generation, self._threads[-1] if handover and self._threads else None
            self._threads.append(
                self._clock.start(lambda: self._guarded(generation, before), f"{self.name}-{generation}")
            )

    def _guarded(self, generation: int, before: threading.Thread | None) -> None:
        name_thread(self.name)
        if before is not None:
            wait_for_s(self._clock, Ended(before), HANDOVER_S)
        while self._current(generation):
            try:
                self._run(generation)
            except Exception as error:  # noqa: BLE001 - the supervisor's purpose, see below
                # Whatever a device, codec or model raises must not stop the other streams: it is reported and retried.
                if not self._current(generation):
                    return
                self._report(error)
                wait_for_s(self._clock, self._stop, backoff_s(self._failures))
            else:
                return

    def _report(self, error: Exception) -> None:
        self._restarts += 1
        self._failures += 1
        self._leave()
        self.ready.set()  # a stage that cannot be built must not keep the others from starting
        cause = str(error) if isinstance(error, AgfnError) else f"{self.name}: {type(error).__name__}: {error}"
        if not isinstance(error, AgfnError):
            log.debug("%s failed", self.name, exc_info=error)
        # What is not there is no news half a minute later.
        self._fail("lost", cause, again=not isinstance(error, AbsentError))

    def _fail(self, kind: EventKind, cause: str, *, again: bool = True) -> None:
        now_ns = self._clock.now_ns()
        if self._lost_since_ns is None:
            self._lost_since_ns = now_ns
            self._on_event(Event(now_ns, self.name, kind, cause, now_ns))
        if self._logged_ns is None or (again and now_ns - self._logged_ns > LOG_EVERY_S * 1e9):
            self._logged_ns = now_ns
            log.warning("%s", cause)

    def _delivered(self, t_ns: int, *, proven: bool = True) -> None:
        now_ns = self._clock.now_ns()
        self._items += 1
        self._delay_ms = (now_ns - t_ns) / 1e6
        if not proven and self._lost_since_ns is not None:
            return
        self._failures = 0
        if self._lost_since_ns is not None:
            since_ns, self._lost_since_ns, self._logged_ns = self._lost_since_ns, None, None
            self._on_event(Event(now_ns, self.name, "recovered", None, since_ns))
        elif self._items == 1:
            self._on_event(Event(now_ns, self.name, "started"))

    def _lagged(self, lag_s: float, cause: str | None = None) -> None:
        """Note how late a result came, and tell once that the worker is behind, once that it has caught up."""
        now_ns, since_ns = self._clock.now_ns(), self._lag.since_ns
        if not self._lag.feed(now_ns, lag_s):
            return
        if self._lag.behind:
            if cause is None:  # else who found it has said it
                cause = f"{self.name}: results come {lag_s:.1f} s late; free the CPU, or give it less to do"
                log.warning("%s", cause)
            self._on_event(Event(now_ns, self.name, "overload", cause, self._lag.since_ns))
        else:
            self._on_event(Event(now_ns, self.name, "recovered", None, since_ns))

    def _enter(self) -> None:
        self._busy_since_ns = self._clock.now_ns()

    def _leave(self) -> None:
        since_ns, self._busy_since_ns = self._busy_since_ns, None
        if since_ns is not None:
            self._busy_ns += self._clock.now_ns() - since_ns

    def _current(self, generation: int) -> bool:
        return generation == self._generation and not self._stop.is_set()

    def _left_behind(self) -> int:
        return sum(thread.is_alive() for thread in self._threads[:-1])


class Watchdog:
    """One thread that looks after all workers, ten times a second."""

    def __init__(self, workers: Iterable[Worker], clock: WaitingClock, period_s: float = 0.1) -> None:
        self._workers, self._clock = list(workers), clock
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start watching."""
        self._thread = self._clock.start(self._run, "watchdog")

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            wait_for_s(self._clock, Ended(self._thread), 1.0)

    def _run(self) -> None:
        while not wait_for_s(self._clock, self._stop, self._period_s):
            for worker in self._workers:
                worker.watch()
