"""A session: streams, the tick that closes their windows, the fusion worker, and an orderly end.

`Live` runs devices and files at real pace, every stage in a thread. `Replay` runs one file at full speed on a virtual
clock, all in line and deterministic. Both use the same wiring (pipeline.py), windows and fusion.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from realtime.clock import wait_for_s
from realtime.errors import AgfnError, UsageError
from realtime.fuse.worker import FusionWorker
from realtime.runtime.worker import LOG_EVERY_S
from realtime.session.devices import REAL
from realtime.session.inbox import Change, Inbox, Order
from realtime.session.live_stream import Common, LiveStream
from realtime.session.ticks import Ticks
from realtime.types import NS_PER_S, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime.clock import WaitingClock
    from realtime.config.schema import Config, StreamConfig
    from realtime.fuse.worker import Estimate
    from realtime.publish.messages import PublisherHealth
    from realtime.publish.outlet import Outlet
    from realtime.session.devices import Devices
    from realtime.session.models import SharedModels
    from realtime.session.state import StreamState
    from realtime.session.stream import Stream
    from realtime.types import WindowView

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 1.0
NOTHING_AFTER_S = 2.0
END_WAIT_S = 1.0
LOOK_S = 0.005
CHANGE_WAIT_S = 5.0
"""A tick that takes longer to take a stream in, or to let one go, hangs."""
STOP_LOOK_NS = NS_PER_S // 10
"""While it waits for commands the tick looks so often whether it is to stop."""
STOOD_STILL_S = 3.0
"""After so long without a tick, as in a suspended process, what the windows missed is of no use to anybody."""


class Live:
    """Streams at real pace.

    Args:
        config: of the process.
        parts: the models.
        clock: of the process; every wait of a thread of the session goes through it.
        outlet: takes each message.
        connection: figures of a stream's connection to the broker.
        devices: what the streams take their pictures and sound from.
        stays: whether it goes on without a stream, since others may be added.

    Attributes:
        streams: by name; a new dictionary with each change.
    """

    def __init__(
        self,
        config: Config,
        parts: SharedModels,
        clock: WaitingClock,
        outlet: Outlet,
        connection: Callable[[str], PublisherHealth | None] = lambda _: None,
        devices: Devices = REAL,
        *,
        stays: bool = False,
    ) -> None:
        self._config, self._clock, self._outlet, self._stays = config, clock, outlet, stays
        self._inbox: Inbox[Order | Change] = Inbox()
        self._common = Common(config, parts, clock, outlet, connection, devices, self._inbox.put)
        self.streams = {stream.name: LiveStream(self._common, stream) for stream in config.streams}
        self._running = dict(self.streams)
        """Those that have a next window; of the tick alone."""
        self._changing = set[str]()
        """Names of the streams that come or go just now."""
        self._names = threading.Lock()
        self._ended_early: str | None = None
        """Why the recording of a stream that has gone ended early."""
        self._fusion = FusionWorker(
            parts.fuser,
            config.fusion,
            clock,
            max(len(self.streams), config.host.max_streams),
            self._publish,
            self._of_all_streams,
        )
        self._fusion.serve(len(self.streams))
        self._ticks: Ticks | None = None
        self._told_ns: dict[tuple[str, str], int] = {}
        self._whole: set[str] = set()
        """Streams whose window has ended, with nothing of it on its way any more."""

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        """Tick until stopped, for `duration_s` seconds, or until all files have ended."""
        self._fusion.start()
        for live in self.streams.values():
            live.prepare()
        t0_ns = self._clock.now_ns()
        for live in self.streams.values():
            live.begin(t0_ns)
        try:
            self._loop(stop, t0_ns, duration_s)
        finally:
            self._ticks = None
            while (order := self._inbox.take()) is not None:
                if isinstance(order, Change) and order.claim():
                    order.error = AgfnError("the session has ended")
                    order.done.set()
            for live in self.streams.values():
                live.close()
            self._fusion.close(END_WAIT_S)
            for live in self.streams.values():
                live.end()

    @property
    def runs(self) -> bool:
        """Whether it ticks, so that streams can come and go."""
        return self._ticks is not None

    def recorded(self) -> list[str]:
        """What was recorded, a line a stream."""
        return [line for live in self.streams.values() for line in live.recorded()]

    def ended_early(self) -> str | None:
        """Why a recording ended before the session did."""
        return next((why for live in self.streams.values() if (why := live.ended_early())), self._ended_early)

    def add(self, stream: StreamConfig, state: StreamState | None = None) -> None:
        """Take a stream in while the session runs; from any thread but the tick's. Returns once it is in.

        Its stages are built and its devices opened here, beside the tick, which takes it in between two windows. With a
        state it goes on where another process left it: its score, its person, its baselines, and the grid of its
        windows, so that `seq` counts those which nobody made.

        Raises:
            UsageError: a stream of this name is here, there are too many, the state is another stream's or of another
                hop, or the recording can't be begun.
            SourceError: its file can't be read.
            AgfnError: the session does not run.
        """
        name = stream.name
        if state is not None and (state.stream, state.hop_s) != (name, self._config.window.hop_s):
            raise UsageError(
                f"stream {name}: the state is of stream {state.stream} with a hop of {state.hop_s:g} s; here it is "
                f"{self._config.window.hop_s:g} s"
            )
        with self._change(name, here=False):
            live = LiveStream(self._common, stream, state, again=True)
            self._outlet.came(name, live.stream.origin)
            try:
                live.prepare()
                self._between_ticks(lambda: self._take_in(live))
            except BaseException:
                live.close()
                self._outlet.went(name)
                live.end()
                raise

    def remove(self, name: str) -> StreamState:
        """Let a stream go while the session runs, and return what it remembers; from any thread but the tick's.

        Returns once its devices are released and its last message is sent.

        Raises:
            UsageError: there is no such stream.
            AgfnError: the session does not run.
        """
        with self._change(name, here=True):
            live = self.streams[name]
            self._between_ticks(lambda: self._let_go(live))
            wait_for_s(self._clock, _Sent(live.stream), END_WAIT_S)
            live.close()
            if not live.over:
                now_ns = self._clock.now_ns()
                live.stream.event(Event(now_ns, "stream", "ended", "removed"))
            state = live.snapshot()
            with self._names:
                self.streams = {other: each for other, each in self.streams.items() if other != name}
            self._outlet.went(name)
            live.end()
            for line in live.recorded():
                log.info("%s", line)
            self._ended_early = self._ended_early or live.ended_early()
            return state

    def snapshot(self, name: str) -> StreamState:
        """Return what a stream remembers, from any thread; it goes on.

        Raises:
            UsageError: there is no such stream.
        """
        if (live := self.streams.get(name)) is None:
            raise UsageError(f"there is no stream {name}")
        return live.snapshot()

    @contextmanager
    def _change(self, name: str, *, here: bool) -> Iterator[None]:
        """See that a stream is here, or not, and that nobody else adds or removes it meanwhile."""
        if self._ticks is None:
            raise AgfnError("the session does not run")
        with self._names:
            if name in self._changing:
                raise UsageError(f"stream {name} comes or goes just now; try again")
            if here and name not in self.streams:
                raise UsageError(f"there is no stream {name}")
            if not here and name in self.streams:
                raise UsageError(f"there is a stream {name} already")
            most = self._config.host.max_streams
            if not here and len(self._changing | set(self.streams)) >= most:
                raise UsageError(f"there are {most} streams already, which is host.max_streams")
            self._changing.add(name)
        try:
            yield
        finally:
            with self._names:
                self._changing.discard(name)

    def _between_ticks(self, do: Callable[[], None]) -> None:
        """Have the tick do something, and wait for it.

        Raises:
            AgfnError: it does not come to it.
        """
        change = Change(do)
        self._inbox.put(change)
        if not wait_for_s(self._clock, change.done, CHANGE_WAIT_S):
            if change.claim():
                raise AgfnError("the session does not answer")
            self._clock.wait(change.done)
        if change.error is not None:
            raise change.error

    def _take_in(self, live: LiveStream) -> None:
        """Let a stream begin with the next window. By the tick only."""
        if self._ticks is None:
            raise AgfnError("the session has ended")
        live.begin(live.stream.joins_at(self._ticks.end_ns))
        with self._names:
            self.streams = {**self.streams, live.stream.name: live}
        self._running[live.stream.name] = live
        self._whole.add(live.stream.name)  # of the window that is closed just now it has nothing
        self._fusion.serve(len(self._running))

    def _let_go(self, live: LiveStream) -> None:
        """Close no further window of a stream. By the tick only."""
        name = live.stream.name
        live.over = self._running.pop(name, None) is None
        self._fusion.serve(len(self._running))
        self._told_ns = {key: told for key, told in self._told_ns.items() if key[0] != name}

    def pause(self, stream: str) -> None:
        """Release the devices of a stream, from any thread; it says `paused` until it is resumed. Returns at once."""
        self._inbox.put(Order("pause", stream))

    def resume(self, stream: str) -> None:
        """Open the devices of a stream again, from any thread. Returns at once."""
        self._inbox.put(Order("resume", stream))

    def toggle_pause(self) -> None:
        """Pause all streams, or resume them when all are paused; from any thread or signal. Returns at once."""
        self._inbox.put(Order("toggle"))

    def _loop(self, stop: threading.Event, t0_ns: int, duration_s: float | None) -> None:
        self._ticks = ticks = Ticks(t0_ns, self._config)
        running, health_ns = self._running, t0_ns
        while (running or self._stays) and (duration_s is None or ticks.end_ns <= t0_ns + duration_s * NS_PER_S):
            if not self._close_windows(ticks, stop):
                return
            end_ns = ticks.next()
            if end_ns - health_ns >= HEALTH_EVERY_S * NS_PER_S:
                health_ns = end_ns
                self._report(running)

    def _close_windows(self, ticks: Ticks, stop: threading.Event) -> bool:
        """Close the next window of every stream, each as soon as it is whole, or due; False when it is time to stop."""
        running, closed = self._running, set[str]()
        if not self._obey_until(ticks.end_ns, stop):
            return False
        self._whole = {name for name, live in running.items() if not live.stream.window.awaits(ticks.end_ns)}
        while not closed.issuperset(running):
            if not self._obey_until(ticks.due_ns, stop, lambda: bool(self._whole)):
                return False
            late_ns = self._clock.now_ns() - ticks.due_ns
            if late_ns > _most_late_ns(ticks):
                self._stood_still(running, closed, late_ns, ticks)
                closed.clear()
            for name in [name for name in running if name not in closed and (late_ns >= 0 or name in self._whole)]:
                closed.add(name)
                self._close_window(running[name], ticks, late=late_ns > ticks.hop_ns)
            self._whole.clear()
        return True

    def _close_window(self, live: LiveStream, ticks: Ticks, *, late: bool) -> None:
        name = live.stream.name
        with self._alone(name, "a window"):
            if late:
                live.health.late()
            if self._tick(live, ticks):
                del self._running[name]
        if not live.told and ticks.end_ns - live.begun_ns >= NOTHING_AFTER_S * NS_PER_S:
            live.told = True
            with self._alone(name, "a notice"):
                _tell_nothing(name, live)

    def _obey_until(self, due_ns: int, stop: threading.Event, sooner: Callable[[], bool] = lambda: False) -> bool:
        """Do what is ordered until a time, or until something has come of it sooner; False when it is time to stop."""
        while not stop.is_set():
            now_ns = self._clock.now_ns()
            if (order := self._inbox.take()) is not None:
                order.run() if isinstance(order, Change) else self._obey(order)
            elif now_ns >= due_ns or sooner():
                return True
            else:
                self._clock.wait(self._inbox, min(due_ns, now_ns + STOP_LOOK_NS))
        return False

    def _obey(self, order: Order) -> None:
        chosen = [live for name, live in self.streams.items() if order.stream in {None, name}]
        action = order.action
        if action == "toggle":
            action = "resume" if all(live.stream.paused.is_set() for live in chosen) else "pause"
        acts: dict[str, Callable[[LiveStream], None]] = {
            "pause": LiveStream.pause,
            "resume": LiveStream.resume,
            "look": self._look,
            "word": self._say_word,
        }
        for live in chosen:
            with self._alone(live.stream.name, action):
                acts[action](live)

    def _look(self, live: LiveStream) -> None:
        """Note that the window which ended is whole."""
        self._whole.add(live.stream.name)

    def _say_word(self, live: LiveStream) -> None:
        """Close a window for an opinion word, unless one of the grid, which is on its way, will say it as soon."""
        now_ns = self._clock.now_ns()
        if live.may_say_word(now_ns):
            self._fusion.submit(live.stream.close_window(now_ns, "word"))

    def _publish(self, view: WindowView, estimate: Estimate) -> None:
        if (live := self.streams.get(view.stream)) is None:
            return  # it has gone, and was not waited for
        if self._stands_still() and view.seq != live.last_seq:
            return  # a window from before: the tick leaves it out and counts it
        live.stream.publish(view, estimate)
        if view.seq == live.last_seq:
            live.stream.event(Event(self._clock.now_ns(), "stream", "ended"))

    def _stands_still(self) -> bool:
        """Whether the program has just gone on after it stood still, which the tick has not noticed yet."""
        ticks = self._ticks
        # The tick, when it gets there, may be a window further.
        return ticks is not None and self._clock.now_ns() - ticks.due_ns > _most_late_ns(ticks) + ticks.hop_ns

    def _stood_still(self, running: dict[str, LiveStream], closed: set[str], late_ns: int, ticks: Ticks) -> None:
        """Leave out what was missed, and what was being judged when it stopped; say so. By the tick only.

        Streams in `closed` have had the first of the windows that the tick passes over.
        """
        judged = {name: live.stream.leave_out() for name, live in running.items()}
        now_ns = self._clock.now_ns()
        missed = ticks.skip_to(now_ns)
        log.warning("the program stood still for %.1f s", late_ns / NS_PER_S)
        for name, live in running.items():
            left_out = missed - (name in closed) + judged[name]
            cause = f"the program stood still for {late_ns / NS_PER_S:.1f} s: {left_out} windows left out"
            with self._alone(name, "an event"):
                live.stream.event(Event(now_ns, "stream", "stalled", cause, now_ns - late_ns))
                live.stream.event(Event(now_ns, "stream", "recovered", None, now_ns - late_ns))

    def _of_all_streams(self, event: Event) -> None:
        for name, live in self.streams.items():
            with self._alone(name, "an event"):
                live.stream.event(event)

    def _report(self, running: dict[str, LiveStream]) -> None:
        for name, live in running.items():
            with self._alone(name, "a health message"):
                self._outlet.send(live.health.report(live.gauges() | {"fusion": self._fusion.gauge()}))

    def _tick(self, live: LiveStream, ticks: Ticks) -> bool:
        """Close a window of a stream; True when it was the last."""
        if (closing_ns := live.closes(ticks.end_ns)) is None:
            return False
        over = live.ended.is_set() and live.last_ns is not None and closing_ns >= live.last_ns
        view = live.stream.close_window(closing_ns)
        live.closed(ticks.end_ns, ticks.end_ns + ticks.hop_ns)
        if over:
            live.last_seq = view.seq
        self._fusion.submit(view)
        return over

    @contextmanager
    def _alone(self, stream: str, what: str) -> Iterator[None]:
        """Let no failure in one stream end the tick of all; one that goes on is logged once in a while."""
        try:
            yield
        except Exception:
            now_ns, told_ns = self._clock.now_ns(), self._told_ns.get((stream, what))
            if told_ns is None or now_ns - told_ns > LOG_EVERY_S * NS_PER_S:
                self._told_ns[stream, what] = now_ns
                log.exception("stream %s: %s failed", stream, what)


def _most_late_ns(ticks: Ticks) -> float:
    """How late a tick may be before what was missed is left out."""
    return max(STOOD_STILL_S * NS_PER_S, ticks.hop_ns)


class _Sent:
    """That every window of a stream has had its message, to be waited for."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._stream.sent_all

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has come, for `timeout` seconds at most; whether it has."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (until_s is None or time.monotonic() < until_s):
            time.sleep(LOOK_S)
        return self.is_set()


def _tell_nothing(name: str, live: LiveStream) -> None:
    devices = [device for device in (live.stream.video, live.stream.audio) if device]
    if not any(gauge.items for gauge in live.runner.gauges().values()):
        log.warning(
            "%s: nothing from %s yet; still trying. Plug one in (--list-devices shows what there is), or see it work "
            "without any: scripts/run --demo",
            name,
            " or ".join(devices) or "any device: both are switched off",
        )
