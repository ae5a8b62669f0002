"""Two ways to run the same wiring: each stage in a watched thread of its own, or all in line with the caller.

In line, an item is worked off completely before the next one, so a replay on a virtual clock is deterministic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from realtime.clock import wait_for_s
from realtime.runtime.source import SourceWorker
from realtime.runtime.stage import StageWorker, channel_for
from realtime.runtime.worker import Watchdog, Worker
from realtime.types import item_end_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import WaitingClock
    from realtime.runtime.channel import Policy
    from realtime.runtime.source import Device
    from realtime.runtime.worker import WorkerStats
    from realtime.types import Event, Stage


def fan_out(*sinks: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a sink that hands each item to all `sinks`, in their order."""

    def sink(item: Any) -> None:  # noqa: ANN401 - any item
        for each in sinks:
            each(item)

    return sink


class Runner(Protocol):
    """What a wiring needs: put a stage behind a channel, and get the sink that feeds it."""

    def stage(
        self,
        name: str,
        make: Callable[[], Stage[Any, Any]],
        sink: Callable[[Any], None],
        policy: Policy,
        capacity: int = 1,
        *,
        coalesce: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> Callable[[Any], None]:
        """Wire a stage to the sink of what comes after it; return its own sink.

        `done` is told, after what came of an item, the time up to which the stage has worked off its input.
        """
        ...


class InlineRunner:
    """Stages run in the caller's thread, at once; their exceptions reach the caller."""

    def __init__(self) -> None:
        self._stages: list[tuple[list[Stage[Any, Any]], Callable[[Any], None]]] = []

    def stage(
        self,
        name: str,  # noqa: ARG002 - a thread has a name, a call has none
        make: Callable[[], Stage[Any, Any]],
        sink: Callable[[Any], None],
        policy: Policy,  # noqa: ARG002 - nothing ever waits
        capacity: int = 1,  # noqa: ARG002
        *,
        coalesce: bool = False,  # noqa: ARG002
        done: Callable[[int], None] = lambda _: None,
    ) -> Callable[[Any], None]:
        """Build the stage and return what feeds it."""
        stages: list[Stage[Any, Any]] = []  # built when first needed: a file without picture needs no face
        self._stages.append((stages, sink))

        def feed(item: Any) -> None:  # noqa: ANN401 - what the stage eats
            if not stages:
                stages.append(make())
            for output in stages[0].feed(item):
                sink(output)
            done(item_end_ns(item))

        return feed

    def finish(self) -> None:
        """Flush every stage, those nearest to the source first (they were wired last)."""
        for stages, sink in reversed(self._stages):
            for stage in stages:
                for output in stage.flush():
                    sink(output)

    def close(self) -> None:
        """Release the stages' models: MediaPipe hangs when that is left to the garbage collector."""
        for stages, _ in self._stages:
            while stages:
                stages.pop().close()


class ThreadedRunner:
    """Each stage and device in a thread of its own, watched and restarted.

    Args:
        clock: of the process.
        on_event: called with each event of a worker, from its thread.
    """

    def __init__(self, clock: WaitingClock, on_event: Callable[[Event], None]) -> None:
        self._clock, self._on_event = clock, on_event
        self._stages: list[StageWorker] = []
        self._sources: list[SourceWorker] = []
        self._watchdog: Watchdog | None = None

    def stage(
        self,
        name: str,
        make: Callable[[], Stage[Any, Any]],
        sink: Callable[[Any], None],
        policy: Policy,
        capacity: int = 1,
        *,
        coalesce: bool = False,
        done: Callable[[int], None] = lambda _: None,
    ) -> Callable[[Any], None]:
        """Add a worker for the stage and return what feeds it."""
        worker = StageWorker(
            name, make, sink, channel_for(policy, capacity, self._clock), self._clock, self._on_event, coalesce=coalesce
        )
        worker.done = done
        self._stages.append(worker)
        return worker.push

    def source(
        self,
        name: str,
        make: Callable[[], Device],
        sink: Callable[[Any], None],
        *,
        open_s: float,
        read_s: float,
        least_hz: float = 0.0,
    ) -> None:
        """Add a worker for a device; `least_hz` as in SourceWorker."""
        worker = SourceWorker(
            name, make, sink, self._clock, self._on_event, open_s=open_s, read_s=read_s, least_hz=least_hz
        )
        self._sources.append(worker)

    def start(self, ready_s: float = 60.0, *, paused: bool = False) -> None:
        """Start the stages, wait until their models are loaded, then start the devices, unless paused."""
        for worker in self._stages:
            worker.start()
        for worker in self._stages:
            wait_for_s(self._clock, worker.ready, ready_s)
        if paused:
            self.pause()
        else:
            for source in self._sources:
                source.start()
        self._watchdog = Watchdog(self._workers(), self._clock)
        self._watchdog.start()

    def pause(self) -> None:
        """Have the devices released, each by its own thread as soon as the call it is in returns; stages forget."""
        for source in self._sources:
            source.stop()
        for stage in self._stages:
            stage.pause()

    def resume(self) -> None:
        """Open the devices again, each once it has been released."""
        for stage in self._stages:
            stage.resume()
        for source in self._sources:
            source.start()

    def finish(self, timeout_s: float) -> None:
        """Work off what waits and flush every stage, those nearest to the source first."""
        for worker in reversed(self._stages):
            worker.finish(timeout_s)

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop everything within `timeout_s`; a thread that hangs is left behind (it is a daemon)."""
        if self._watchdog is not None:
            self._watchdog.stop()
        for worker in self._workers():
            worker.stop()
        deadline_ns = self._clock.now_ns() + int(timeout_s * 1e9)
        for worker in self._workers():
            worker.join(max(0.0, (deadline_ns - self._clock.now_ns()) / 1e9))

    def gauges(self) -> dict[str, WorkerStats]:
        """Counts of each component by name."""
        return {worker.name: worker.gauge() for worker in self._workers()}

    def _workers(self) -> list[Worker]:
        return [*self._sources, *self._stages]
