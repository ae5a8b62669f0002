"""A host's session of live streams: today's `Live` with its models, loaded once, and a link to the broker a stream."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from realtime.clock import MonotonicClock, utc_now
from realtime.config.combinations import check
from realtime.config.schema import Config
from realtime.errors import UsageError
from realtime.fleet.config import ASR_POOL, AsrLinks, read_stream
from realtime.fleet.host import StreamReport
from realtime.fleet.metrics import AsrMetrics, OfHost
from realtime.fleet.remote_asr import RemoteAsr
from realtime.fleet.speaker import Speaker
from realtime.metrics.collector import Metrics
from realtime.metrics.cost import Cost
from realtime.metrics.endpoint import Endpoint
from realtime.publish.messages import Health, Origin
from realtime.session.live import Live
from realtime.session.models import SharedModels
from realtime.session.state import StreamState
from realtime.system.descriptors import allow_many
from realtime.system.guard import guard_of
from realtime.system.malloc import return_freed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.extract.asr.decode_queue import DecodeQueue
    from realtime.publish.messages import Command

log = logging.getLogger(__name__)

END_S = 5.0
START_S = 10.0
LOOK_S = 0.01
MOST_STREAMS = 1000
"""How many a host takes is the placer's matter."""


class LiveSession:
    """Live streams of one host.

    Args:
        name: of the host; messages carry it.
        config: its settings; the streams in it are left alone.
        pool: recognisers that decode for it; None for its own alone.

    Raises:
        AgfnError: a model is missing, or the broker's address is wrong.
    """

    def __init__(self, name: str, config: Config, pool: AsrLinks | None = None) -> None:
        check(config)
        named = config.host.model_copy(update={"name": name, "max_streams": MOST_STREAMS})
        self._config = config.model_copy(update={"streams": (), "host": named})
        if config.mqtt.url in {"off", "embedded"}:
            raise UsageError(f"mqtt.url {config.mqtt.url}: a fleet needs a broker that all of its hosts reach")
        self._clock = MonotonicClock()
        self._speaker = Speaker(self._config, self._clock, self._command)
        self._cost, self._costing = Cost(), threading.Lock()
        self._spent: dict[str, tuple[float, float]] = {}
        self._speaker.outlet.subscribe(self._note_cost, Health)
        self._endpoint: Endpoint | None = None
        self._remote: RemoteAsr | None = None
        models = SharedModels(self._config, self._clock, None if pool is None else partial(self._decode_in, pool))
        if config.metrics.port is not None:
            metrics = Metrics(())
            metrics.subscribe(self._speaker.outlet)
            if pool is not None:
                metrics.registry.register(AsrMetrics(self.told_of_pool))
            guard = guard_of(section="metrics", **config.metrics.model_dump())
            self._endpoint = Endpoint(OfHost(metrics.registry, name).registry, config.metrics.port, guard)
        self._begun: set[str] = set()
        self._live = Live(
            self._config,
            models,
            self._clock,
            self._speaker.outlet,
            self._speaker.stats,
            stays=True,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live.run, args=(self._stop,), name="tick", daemon=True)
        self._thread.start()
        deadline_s = time.monotonic() + START_S
        while not self._live.runs and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)

    def add(self, spec: Mapping[str, Any], epoch: int, state: Mapping[str, Any] | None) -> None:
        """See Session. A stream that another host may still have is connected once it runs here: make before break."""
        stream = read_stream({**spec, "labels": {"host": "this"}})
        hop_s = self._config.window.hop_s
        known = (
            StreamState(stream=stream.name, epoch=0, started=utc_now(), hop_s=hop_s, seq=0)
            if state is None
            else StreamState.of(dict(state))
        )
        origin = Origin(epoch, self._config.host.name)
        if state is None:
            self._speaker.begin(stream.name, origin)
        try:
            self._live.add(stream, known.leased(epoch))
        except BaseException:
            self._speaker.end(stream.name)
            raise
        if state is not None:
            self._speaker.begin(stream.name, origin)
        self._begun.add(stream.name)

    def remove(self, stream: str) -> Mapping[str, Any] | None:
        """See Session."""
        state = self._live.remove(stream)
        self._begun.discard(stream)
        self._speaker.end(stream)
        with self._costing:
            self._cost.forget(stream)
            self._spent.pop(stream, None)
        return state.values()

    def report(self) -> dict[str, StreamReport]:
        """See Session."""
        return {
            name: StreamReport(
                live.snapshot().values(),
                self._cores(name),
                self._speaker.messages(name),
                self._speaker.dropped(name),
                fenced=self._speaker.is_fenced(name),
            )
            for name, live in self._live.streams.items()
            if name in self._begun
        }

    def close(self) -> None:
        """See Session."""
        self._stop.set()
        self._thread.join(END_S)
        self._speaker.close()
        if self._remote is not None:
            self._remote.close()
        if self._endpoint is not None:
            self._endpoint.close()

    def told_of_pool(self) -> tuple[dict[str, int], int]:
        """See RemoteAsr.told; nothing where there is no pool."""
        return ({}, 0) if self._remote is None else self._remote.told()

    def about_pool(self) -> dict[str, Any]:
        """See Pooled."""
        return {} if self._remote is None else self._remote.about()

    def _decode_in(self, pool: AsrLinks, own: DecodeQueue, vocabulary: int) -> RemoteAsr:
        """Put the recognisers of a pool before the host's own."""
        self._remote = RemoteAsr(pool, own, vocabulary, self._config.asr.language)
        return self._remote

    def _command(self, stream: str, command: Command) -> None:
        (self._live.pause if command.command == "pause" else self._live.resume)(stream)

    def _note_cost(self, health: Health) -> None:
        with self._costing:
            self._cost.feed(health)

    def _cores(self, stream: str) -> float:
        """Cores that a stream took since it was asked for last."""
        now_s = time.monotonic()
        with self._costing:
            cpu_s = self._cost.cpu_s.get(stream, 0.0)
        before_s, before_cpu_s = self._spent.get(stream, (now_s - 1.0, cpu_s))
        self._spent[stream] = now_s, cpu_s
        return round(max(0.0, cpu_s - before_cpu_s) / max(1e-3, now_s - before_s), 4)


def live_session(name: str, options: Mapping[str, Any]) -> LiveSession:
    """Make the session of a host; `options` are its settings, as in the configuration, and the way to an ASR pool."""
    allow_many()
    return_freed()
    settings = dict(options)
    pool = settings.pop(ASR_POOL, None)
    return LiveSession(name, Config.model_validate(settings), None if pool is None else AsrLinks.model_validate(pool))
