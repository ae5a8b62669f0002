"""A host's session that plays recordings as streams: windows, fusion, messages and links are the program's own.

One thread works off a heap of due windows; there are no stage threads, because what they would extract is recorded. The
items of a window are fed when it is closed, at the times at which they came, so that a stream says the same wherever
and whenever it is played. `replay_session` makes it by dotted name, as realtime.fleet.host.session_of wants it.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.clock import MonotonicClock, utc_now
from realtime.config.schema import Config
from realtime.fleet.host import StreamReport
from realtime.fleet.speaker import Speaker
from realtime.fuse.worker import fuser_of
from realtime.session.state import StreamState
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.system.descriptors import allow_many
from realtime.types import NS_PER_S
from scripts.fleeting.dues import Dues
from scripts.fleeting.loop import Loop, PlayedClock, Player

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from realtime.clock import Clock
    from realtime.config.schema import StreamConfig

log = logging.getLogger(__name__)

GATHER_NS = NS_PER_S // 25
"""A window waits so long for those of other streams; a live host closes those of all its streams at one moment."""
STOOD_STILL_NS = 3 * NS_PER_S
"""As in a live session: what the windows missed is of no use to anybody then."""


@dataclass(slots=True)
class Played:
    """One stream that is played."""

    stream: Stream
    player: Player
    ticks: Ticks
    clock: PlayedClock

    @property
    def due_ns(self) -> int:
        """When the next window is closed, by real time."""
        return self.ticks.due_ns - self.clock.ahead_ns


class ReplaySession:
    """Streams of recordings.

    Args:
        name: of the host.
        config: of the host.
        loop: the recording.
    """

    def __init__(self, name: str, config: Config, loop: Loop) -> None:
        named = config.host.model_copy(update={"name": name})
        self._config = config.model_copy(update={"host": named})
        self._loop, self._real = loop, MonotonicClock()
        self._fuser = fuser_of(self._config, self._real)
        self._speaker = Speaker(self._config, self._real)
        self._streams: dict[str, Played] = {}
        self._dues = Dues(GATHER_NS, self._config.fusion.max_batch)
        self._changed = threading.Condition()
        self._closing = False
        self._late = self._windows = 0
        self._cpu = (time.monotonic(), time.process_time())
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def add(self, spec: Mapping[str, Any], epoch: int, state: Mapping[str, Any] | None) -> None:
        """See Session."""
        config = Config.model_validate({"streams": [dict(spec)]}).streams[0]
        known = None if state is None else StreamState.of(dict(state))
        begun = begins(config.name, self._config, utc_now()) if known is None else known
        clock = PlayedClock(self._real)
        stream = made(self._config, config, clock, self._speaker, self._fuser, self._loop, begun.leased(epoch))
        clock.ahead_ns = (phase_ns(config.name, self._loop) - stream.t0_ns) % self._loop.length_ns
        t0_ns = stream.t0_ns + clock.ahead_ns
        stream.begin(t0_ns)
        ticks = Ticks(t0_ns, self._config)
        now_ns = clock.now_ns()
        ticks.skip_to(now_ns)
        if ticks.due_ns < now_ns:
            ticks.next()  # what came before this moment was not seen here
        played = Played(stream, Player(self._loop, stream.window, max(t0_ns, now_ns)), ticks, clock)
        self._speaker.begin(config.name, stream.origin)
        with self._changed:
            self._streams[config.name] = played
            self._dues.put(played.due_ns, config.name)
            self._changed.notify()

    def remove(self, stream: str) -> Mapping[str, Any] | None:
        """See Session."""
        with self._changed:
            played = self._streams.pop(stream, None)
            self._dues.forget(stream)
        if played is None:
            return None
        self._speaker.end(stream)
        return played.stream.snapshot().values()

    def report(self) -> dict[str, StreamReport]:
        """See Session."""
        with self._changed:
            streams = dict(self._streams)
        now = time.monotonic(), time.process_time()
        cores = (now[1] - self._cpu[1]) / max(1e-3, now[0] - self._cpu[0]) / max(1, len(streams))
        self._cpu = now
        return {
            name: StreamReport(
                played.stream.snapshot().values(),
                round(cores, 5),
                self._speaker.messages(name),
                self._speaker.dropped(name),
                fenced=self._speaker.is_fenced(name),
            )
            for name, played in streams.items()
        }

    def close(self) -> None:
        """See Session."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(2.0)
        log.info("replayed %d windows, %d of them late", self._windows, self._late)
        self._speaker.close()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            try:
                self._work(due)
            except Exception:
                log.exception("windows of %d streams failed", len(due))

    def _next(self) -> list[Played] | None:
        """Wait for windows that are due, and take them together; None at the end."""
        with self._changed:
            while not self._closing:
                if (found := self._dues.take(self._real.now_ns())) is None:
                    self._changed.wait()
                    continue
                taken = [self._streams[name] for name in found.streams]
                while not self._closing and (left_ns := found.due_ns - self._real.now_ns()) > 0:
                    self._changed.wait(left_ns / NS_PER_S)
                if due := [played for played in taken if self._streams.get(played.stream.name) is played]:
                    return due
        return None

    def _work(self, due: list[Played]) -> None:
        views = []
        for played in due:
            ticks, clock = played.ticks, played.clock
            late_ns = clock.now_ns() - ticks.due_ns
            self._late += late_ns > ticks.hop_ns
            if late_ns > STOOD_STILL_NS:
                ticks.skip_to(clock.now_ns())
            for at_ns in played.player.feed(ticks.due_ns):
                clock.at_ns = at_ns
            clock.at_ns = None
            views.append(played.stream.close_window(ticks.next()))
        self._windows += len(views)
        for played, view, estimate in zip(due, views, self._fuser.fuse(views), strict=True):
            played.stream.publish(view, estimate)
        with self._changed:
            for played in due:
                if self._streams.get(played.stream.name) is played:
                    self._dues.put(played.due_ns, played.stream.name)


def made(
    config: Config,
    stream: StreamConfig,
    clock: Clock,
    speaker: Any,  # noqa: ANN401 - whatever has an outlet
    fuser: Any,  # noqa: ANN401 - a Fuser
    loop: Loop,
    state: StreamState,
) -> Stream:
    """Return a stream that goes on from a state."""
    context = fuser.checkpoint.context
    return Stream(config, stream, clock, speaker.outlet, context, devices=loop.devices, state=state)


def begins(name: str, config: Config, now: datetime) -> StreamState:
    """Return the state of a stream that begins in a moment: on a grid of its own, so that not all are due at once."""
    hop_s = config.window.hop_s
    started = now + timedelta(seconds=hop_s - (now.timestamp() - share(name) * hop_s) % hop_s)
    return StreamState(stream=name, epoch=0, started=started, hop_s=hop_s, seq=0)


def phase_ns(name: str, loop: Loop) -> int:
    """Where the recording is when a stream begins."""
    return int(share(f"{name} phase") * loop.length_ns)


def share(name: str) -> float:
    """A number from 0 to 1 that a name stands for."""
    return zlib.crc32(name.encode()) / 2**32


def replay_session(name: str, options: Mapping[str, Any]) -> ReplaySession:
    """Make the session of a host: `settings` as in the configuration, and what Loop wants: `recording`, `pause_s`."""
    allow_many()
    loop = Loop(Path(options["recording"]), options["pause_s"])
    return ReplaySession(name, Config.model_validate(options["settings"]), loop)
