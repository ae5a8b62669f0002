"""An extractor in a watched thread of its own, behind a bounded channel."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from realtime.clock import wait_for_s
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.runtime.lag import BEHIND_S, LagMonitor
from realtime.runtime.worker import Worker, WorkerStats
from realtime.system import malloc
from realtime.types import Chunk, Event, SpeechFrame, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.clock import WaitingClock
    from realtime.types import Stage

log = logging.getLogger(__name__)

PROVEN_AFTER_S = 3.0
"""A stage that gives nothing out counts as recovered once it has worked for so long: it may fail at the next decode."""


@runtime_checkable
class Paced(Protocol):
    """A stage that takes in more at a time when it can't keep up, so that its lag alone does not show it."""

    @property
    def overload(self) -> str | None:
        """Why it is behind, and how far; None while it keeps up."""
        ...


class StageWorker(Worker):
    """An extractor in a thread behind a bounded channel.

    Args:
        name: of the component.
        make: builds the stage, in its thread; called again after a failure.
        sink: takes what the stage gives out.
        channel: where items wait, each with the time of its arrival; sound that is dropped is marked in the next item
            as a gap.
        clock: for ages and time-outs.
        on_event: called with each event.
        hang_s: how long one item may take.
        coalesce: hand all that waits to `feed_batch` at once instead of one by one to `feed`.

    Attributes:
        done: told, after what came of an item, the time up to which the stage has worked off its input.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Stage[Any, Any]],
        sink: Callable[[Any], None],
        channel: Channel[tuple[int, Any]],
        clock: WaitingClock,
        on_event: Callable[[Event], None],
        hang_s: float = 10.0,
        *,
        coalesce: bool = False,
    ) -> None:
        super().__init__(name, clock, on_event, hang_s)
        self._make, self._sink, self._coalesce = make, sink, coalesce
        self.done: Callable[[int], None] = lambda _: None
        self._channel = channel
        self._lost_samples = 0
        self._epoch = 0
        self._paused = False
        self._flushed = threading.Event()

    def push(self, item: Any) -> None:  # noqa: ANN401 - what the stage eats
        """Hand over an item; refused while paused. Never raises when the worker has been stopped."""
        if self._paused:
            return
        try:
            victim = self._channel.push((self._clock.now_ns(), item), timeout_s=self.hang_s)
        except ClosedError:
            return
        except TimeoutError:
            log.warning("%s: no room for %.1f s, so something is lost on its way in", self.name, self.hang_s)
            return
        if victim is not None and isinstance(lost := victim[1], Chunk | SpeechFrame):
            self._lost_samples += len(lost.samples) + lost.lost_samples

    def pause(self) -> None:
        """Take nothing in, drop what waits, and forget all that was taken in; returns at once.

        What is being worked on leads to nothing any more, and the stage is built anew: whatever it keeps, it keeps
        nothing from before a pause.
        """
        self._paused = True
        self._forget()

    def resume(self) -> None:
        """Take items in again."""
        self._forget()
        self._paused = False

    def finish(self, timeout_s: float) -> None:
        """Let the stage work off what waits, flush it, and end."""
        self._channel.close()
        wait_for_s(self._clock, self._flushed, timeout_s)

    def stop(self) -> None:
        """Ask the thread to end without working off what waits."""
        super().stop()
        self._channel.close()

    def gauge(self) -> WorkerStats:
        """Return the counts of this moment, with the channel's."""
        return replace(super().gauge(), channel=self._channel.stats())

    def _run(self, generation: int) -> None:
        stage = self._make()
        self._lag = LagMonitor()  # after a loss, which its own recovery ends together with this
        self.ready.set()
        begun_ns = self._clock.now_ns()
        epoch = self._epoch
        try:
            while self._current(generation):
                if epoch != self._epoch:
                    epoch = self._epoch
                    stage.close()
                    stage = self._make()
                try:
                    arrived_ns, items = self._take()
                except TimeoutError:
                    self._keeps_up(stage, 0.0)
                    continue
                except ClosedError:
                    self._give(generation, epoch, stage.flush())
                    self._flushed.set()
                    return
                if epoch != self._epoch:
                    continue  # taken out just before a pause
                self._enter()
                if self._coalesce:
                    given = self._give(generation, epoch, stage.feed_batch(items))  # type: ignore[attr-defined]
                else:
                    given = self._give(generation, epoch, stage.feed(items[0]))
                if self._current(generation):
                    if epoch == self._epoch:
                        self.done(item_end_ns(items[-1]))
                    self._leave()
                    worked_s = (self._clock.now_ns() - begun_ns) / 1e9
                    self._delivered(item_end_ns(items[-1]), proven=given > 0 or worked_s > PROVEN_AFTER_S)
                    self._keeps_up(stage, (self._clock.now_ns() - arrived_ns) / 1e9)
        finally:
            stage.close()
            del stage
            malloc.trim()

    def _take(self) -> tuple[int, list[Any]]:
        """What waits, and when the newest of it arrived."""
        waiting = self._channel.pop_all(0.2) if self._coalesce else [self._channel.pop(0.2)]
        items = [item for _, item in waiting]
        lost, self._lost_samples = self._lost_samples, 0
        if lost:
            items[0] = replace(items[0], lost_samples=items[0].lost_samples + lost)
        return waiting[-1][0], items

    def _keeps_up(self, stage: Stage[Any, Any], lag_s: float) -> None:
        cause = stage.overload if isinstance(stage, Paced) else None
        self._lagged(lag_s if cause is None else max(lag_s, BEHIND_S), cause)

    def _forget(self) -> None:
        self._epoch += 1
        self._channel.clear()
        self._lost_samples = 0

    def _give(self, generation: int, epoch: int, outputs: Iterable[Any]) -> int:
        given = 0
        for output in outputs:
            if generation == self._generation and epoch == self._epoch:
                self._sink(output)
                given += 1
        return given


def channel_for(policy: Policy, capacity: int, clock: WaitingClock) -> Channel[Any]:
    """Return a channel of a wire whose items the type checker does not follow."""
    return Channel(policy, capacity, clock)
