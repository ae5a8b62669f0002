"""Threads that are watched by the time of their last output, restarted when they fail, and abandoned when they hang.

A worker runs one stage or one device in a thread of its own. An exception restarts it with jittered backoff; a call
that does not return is left behind in its thread (its late results are thrown away) and a fresh one takes its place.
"""

from __future__ import annotations

import logging
import random
import threading
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from realtime import memory
from realtime.channel import Channel, ClosedError, Policy
from realtime.errors import AgfnError
from realtime.threads import name_thread
from realtime.types import Chunk, Event, SpeechFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.channel import ChannelStats
    from realtime.clock import Clock
    from realtime.types import EventKind, Stage

log = logging.getLogger(__name__)

MAX_LEFT_BEHIND = 4
"""So many hung calls of one worker at most; then it waits for one to return."""
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 1.5
"""Short: a failed open of a local device costs milliseconds, and a person who plugs it in again waits."""
HANDOVER_S = 2.0
"""A worker that is started again waits so long for the thread before to let go of its device."""
LOG_EVERY_S = 30.0
PROVEN_AFTER_S = 3.0
"""A stage that gives nothing out counts as recovered once it has worked for so long: it may fail at the next decode."""
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


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, capped, with jitter of a quarter."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10)) * random.uniform(0.75, 1.25)


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a worker did so far. `delay_ms` is the age of the newest item when its work was done."""

    items: int
    restarts: int
    left_behind: int
    delay_ms: float
    busy_s: float
    lost: bool
    channel: ChannelStats | None = None


class Pace:
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


class Worker(ABC):
    """A thread with a generation: only the newest generation's results count.

    Args:
        name: of the component, as events and health messages show it.
        clock: for ages and time-outs.
        on_event: called with each event of this component.
        hang_s: how long one call may take before it is abandoned.
    """

    def __init__(self, name: str, clock: Clock, on_event: Callable[[Event], None], hang_s: float) -> None:
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
            thread.join(timeout_s)
            return not thread.is_alive()
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

    def gauge(self) -> Gauge:
        """Return the counts of this moment."""
        return Gauge(
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
            before = self._threads[-1] if handover and self._threads else None
            thread = threading.Thread(
                target=self._guarded,
                args=(self._generation, before),
                name=f"{self.name}-{self._generation}",
                daemon=True,
            )
            self._threads.append(thread)
        thread.start()

    def _guarded(self, generation: int, before: threading.Thread | None) -> None:
        name_thread(self.name)
        if before is not None:
            before.join(HANDOVER_S)
        while self._current(generation):
            try:
                self._run(generation)
            except Exception as error:  # noqa: BLE001 - the supervisor's purpose, see below
                # Whatever a device, codec or model raises must not stop the other streams: it is reported and retried.
                if not self._current(generation):
                    return
                self._report(error)
                self._stop.wait(backoff_s(self._failures))
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
        self._fail("lost", cause)

    def _fail(self, kind: EventKind, cause: str) -> None:
        now_ns = self._clock.now_ns()
        if self._lost_since_ns is None:
            self._lost_since_ns = now_ns
            self._on_event(Event(now_ns, self.name, kind, cause, now_ns))
        if self._logged_ns is None or now_ns - self._logged_ns > LOG_EVERY_S * 1e9:
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
        clock: Clock,
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
        device, pace = self._make(), Pace(self._least_hz)
        self._slow_since_ns = None
        try:
            self.hang_s = self._open_s
            self._enter()
            device.open()
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


class StageWorker(Worker):
    """An extractor in a thread behind a bounded channel.

    Args:
        name: of the component.
        make: builds the stage, in its thread; called again after a failure.
        sink: takes what the stage gives out.
        channel: where items wait; sound that is dropped is marked in the next item as a gap.
        clock: for ages and time-outs.
        on_event: called with each event.
        hang_s: how long one item may take.
        coalesce: hand all that waits to `feed_batch` at once instead of one by one to `feed`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Stage[Any, Any]],
        sink: Callable[[Any], None],
        channel: Channel[Any],
        clock: Clock,
        on_event: Callable[[Event], None],
        hang_s: float = 10.0,
        *,
        coalesce: bool = False,
    ) -> None:
        super().__init__(name, clock, on_event, hang_s)
        self._make, self._sink, self._coalesce = make, sink, coalesce
        self._channel = channel
        self._lost_samples = 0
        self._flushed = threading.Event()

    def push(self, item: Any) -> None:  # noqa: ANN401 - what the stage eats
        """Hand over an item; never raises when the worker has been stopped."""
        try:
            victim = self._channel.push(item, timeout_s=self.hang_s)
        except (ClosedError, TimeoutError):
            return
        if isinstance(victim, Chunk | SpeechFrame):
            self._lost_samples += len(victim.samples) + victim.lost_samples

    def finish(self, timeout_s: float) -> None:
        """Let the stage work off what waits, flush it, and end."""
        self._channel.close()
        self._flushed.wait(timeout_s)

    def stop(self) -> None:
        """Ask the thread to end without working off what waits."""
        super().stop()
        self._channel.close()

    def gauge(self) -> Gauge:
        """Return the counts of this moment, with the channel's."""
        return replace(super().gauge(), channel=self._channel.stats())

    def _run(self, generation: int) -> None:
        stage = self._make()
        self.ready.set()
        begun_ns = self._clock.now_ns()
        try:
            while self._current(generation):
                try:
                    items = self._take()
                except TimeoutError:
                    continue
                except ClosedError:
                    self._give(generation, stage.flush())
                    self._flushed.set()
                    return
                self._enter()
                if self._coalesce:
                    given = self._give(generation, stage.feed_batch(items))  # type: ignore[attr-defined]
                else:
                    given = self._give(generation, stage.feed(items[0]))
                if self._current(generation):
                    self._leave()
                    worked_s = (self._clock.now_ns() - begun_ns) / 1e9
                    self._delivered(item_end_ns(items[-1]), proven=given > 0 or worked_s > PROVEN_AFTER_S)
        finally:
            stage.close()
            del stage
            memory.trim()

    def _take(self) -> list[Any]:
        items = self._channel.pop_all(0.2) if self._coalesce else [self._channel.pop(0.2)]
        lost, self._lost_samples = self._lost_samples, 0
        if lost:
            items[0] = replace(items[0], lost_samples=items[0].lost_samples + lost)
        return items

    def _give(self, generation: int, outputs: Iterable[Any]) -> int:
        given = 0
        for output in outputs:
            if generation == self._generation:
                self._sink(output)
                given += 1
        return given


def item_end_ns(item: Any) -> int:  # noqa: ANN401 - any of the frozen values of types.py
    """Time at which an item was complete: the end of sound, the moment of a picture."""
    return int(item.end_ns) if hasattr(item, "end_ns") else int(item.t_ns)


class Watchdog:
    """One thread that looks after all workers, ten times a second."""

    def __init__(self, workers: Iterable[Worker], period_s: float = 0.1) -> None:
        self._workers = list(workers)
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            for worker in self._workers:
                worker.watch()


def channel_for(policy: Policy, capacity: int = 1) -> Channel[Any]:
    """Return a channel of a wire whose items the type checker does not follow."""
    return Channel(policy, capacity)
