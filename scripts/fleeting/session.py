"""A host's session that plays recordings as streams: windows, fusion, messages and links are the program's own.

One thread works off a heap of due windows; there are no stage threads, because what they would extract is recorded. The
items of a window are fed when it is closed, at the times at which they came, so that a stream says the same wherever
and whenever it is played. `replay_session` makes it by dotted name, as realtime.fleet.host.session_of wants it.
"""

from __future__ import annotations

import heapq
import json
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
from scripts.fleeting.loop import Loop, Player

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from realtime.clock import Clock
    from realtime.config.schema import StreamConfig

log = logging.getLogger(__name__)

STOOD_STILL_NS = 3 * NS_PER_S
"""As in a live session: what the windows missed is of no use to anybody then."""


class ReplayClock:
    """Real time, but for the moments at which an item is fed: then the time at which it came."""

    def __init__(self, real: Clock) -> None:
        self._real = real
        self.at_ns: int | None = None

    def now_ns(self) -> int:
        """See Clock."""
        return self._real.now_ns() if self.at_ns is None else self.at_ns


@dataclass(slots=True)
class Played:
    """One stream that is played."""

    stream: Stream
    player: Player
    ticks: Ticks
    gone: bool = False


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
        self._clock = ReplayClock(self._real)
        self._fuser = fuser_of(self._config, self._real)
        self._speaker = Speaker(self._config, self._real)
        self._streams: dict[str, Played] = {}
        self._due: list[tuple[int, str]] = []
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
        stream = made(self._config, config, self._clock, self._speaker, self._fuser, self._loop, begun.leased(epoch))
        t0_ns = stream.t0_ns
        stream.begin(t0_ns)
        ticks = Ticks(t0_ns, self._config)
        now_ns = self._real.now_ns()
        ticks.skip_to(now_ns)
        if ticks.due_ns < now_ns:
            ticks.next()  # what came before this moment was not seen here
        player = Player(self._loop, stream.window, t0_ns, phase_ns(config.name, self._loop), max(t0_ns, now_ns))
        self._speaker.begin(config.name, stream.origin)
        with self._changed:
            self._streams[config.name] = Played(stream, player, ticks)
            heapq.heappush(self._due, (ticks.due_ns, config.name))
            self._changed.notify()

    def remove(self, stream: str) -> Mapping[str, Any] | None:
        """See Session."""
        with self._changed:
            played = self._streams.pop(stream, None)
            self._due = [due for due in self._due if due[1] != stream]
            heapq.heapify(self._due)
        if played is None:
            return None
        self._speaker.end(stream)
        return as_json(played.stream.snapshot())

    def report(self) -> dict[str, StreamReport]:
        """See Session."""
        with self._changed:
            streams = dict(self._streams)
        now = time.monotonic(), time.process_time()
        cores = (now[1] - self._cpu[1]) / max(1e-3, now[0] - self._cpu[0]) / max(1, len(streams))
        self._cpu = now
        return {
            name: StreamReport(
                as_json(played.stream.snapshot()),
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
        """Wait for windows that are due, and take at most a batch of them; None at the end."""
        with self._changed:
            while not self._closing:
                now_ns = self._real.now_ns()
                if self._due and self._due[0][0] <= now_ns:
                    names: list[str] = []
                    while self._due and self._due[0][0] <= now_ns and len(names) < self._config.fusion.max_batch:
                        names.append(heapq.heappop(self._due)[1])
                    return [self._streams[name] for name in names]
                self._changed.wait((self._due[0][0] - now_ns) / NS_PER_S if self._due else None)
        return None

    def _work(self, due: list[Played]) -> None:
        views = []
        for played in due:
            ticks = played.ticks
            late_ns = self._real.now_ns() - ticks.due_ns
            self._late += late_ns > ticks.hop_ns
            if late_ns > STOOD_STILL_NS:
                ticks.skip_to(self._real.now_ns())
            for at_ns in played.player.feed(ticks.due_ns):
                self._clock.at_ns = at_ns
            self._clock.at_ns = None
            views.append(played.stream.close_window(ticks.next()))
        self._windows += len(views)
        for played, view, estimate in zip(due, views, self._fuser.fuse(views), strict=True):
            played.stream.publish(view, estimate)
        with self._changed:
            for played in due:
                if self._streams.get(played.stream.name) is played:
                    heapq.heappush(self._due, (played.ticks.due_ns, played.stream.name))


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


def as_json(state: StreamState) -> dict[str, Any]:
    """Return a state as JSON values."""
    values: dict[str, Any] = json.loads(state.to_json())
    return values


def replay_session(name: str, options: Mapping[str, Any]) -> ReplaySession:
    """Make the session of a host: `settings` as in the configuration, `recording` the path of one."""
    allow_many()
    return ReplaySession(name, Config.model_validate(options["settings"]), Loop(Path(options["recording"])))
