"""One fleet, put together: engine, book, placer, its place at the broker, its metrics."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from realtime.clock import MonotonicClock
from realtime.errors import UsageError
from realtime.fleet.book import Book
from realtime.fleet.config import ASR_POOL, has_local_device, read_stream
from realtime.fleet.control import Control
from realtime.fleet.local_engine import LocalEngine, LocalHost
from realtime.fleet.placement import Limits
from realtime.fleet.placer import Placer, Rules
from realtime.fleet.recognisers import lines as pool_lines
from realtime.publish.access import access_of
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from realtime.clock import Clock
    from realtime.config.schema import MetricsConfig
    from realtime.fleet.book import Entry
    from realtime.fleet.config import AsrLinks, FleetConfig
    from realtime.fleet.engine import Engine, Json
    from realtime.fleet.topics import Order
    from realtime.metrics.endpoint import Endpoint

log = logging.getLogger(__name__)

LIVE = "realtime.fleet.live:live_session"
"""What a host makes its session with."""


def engine_of(
    config: FleetConfig, *, factory: str = LIVE, log_level: str = "info", asr_pool: AsrLinks | None = None
) -> Engine:
    """Return the engine that a fleet names; its hosts decode in a pool where there is one.

    Raises:
        UsageError: Ray is asked for and not installed, or its cluster can't be joined.
    """
    options = dict(config.settings)
    if asr_pool is not None:
        options[ASR_POOL] = asr_pool.model_dump(mode="json")
    if config.engine == "ray":
        from realtime.fleet.ray_engine import RayEngine  # noqa: PLC0415 - an extra, imported where asked for

        return RayEngine(config.ray, factory, options, fleet=config.name, log_level=log_level)
    hosts = [LocalHost(host.name, host.cores, host.labels) for host in config.hosts]
    return LocalEngine(hosts, factory, options, log_level=log_level)


class Fleet:
    """A fleet that runs.

    Args:
        config: of the fleet.
        engine: runs its hosts.
        clock: of the leases.

    Raises:
        AgfnError: the broker can't be reached.
    """

    def __init__(self, config: FleetConfig, engine: Engine, clock: Clock | None = None) -> None:
        self._engine, self._stop = engine, threading.Event()
        self._clock = clock or MonotonicClock()
        placement, settings = config.placement, config.config()
        serve_metrics = metrics_of(config.metrics)  # what is wrong with it is said before anybody is connected
        self._access, self._base = access_of(settings.mqtt), settings.mqtt.base
        self._book = Book(int(placement.lease_s * NS_PER_S))
        self._control = Control(
            self._access,
            self._base,
            config.name,
            self.obey,
            lambda: self.placer.status(),  # noqa: PLW0108 - there is none yet
            self._clock,
        )
        self.placer = Placer(
            engine,
            self._book,
            self._clock,
            Rules(
                lease_s=placement.lease_s,
                cores=placement.cores,
                limits=Limits(placement.headroom, placement.limit),
            ),
            exclusive=lambda spec: has_local_device(read_stream({**spec, "labels": {"any": "any"}})),
            on_change=self._control.note,
        )
        left = self._control.start()
        if left:
            log.info("%s: going on with %d streams of an earlier run", self._access.url, len(left))
        for entry in left:
            self._restore(entry)
        for stream in config.streams:
            self.placer.want(stream.spec(), stream.labels)
        self._metrics = serve_metrics(self.placer)

    def run(self, stop: threading.Event | None = None) -> None:
        """Place streams until stopped, by the caller or by a command."""
        if stop is not None:
            self._stop = stop
        try:
            self.placer.run(self._stop)
        finally:
            self.close()

    def obey(self, order: Order) -> None:
        """Carry out a command.

        Raises:
            UsageError: it can't be.
        """
        if order.command == "add":
            stream = read_stream(order.stream or {})
            self.placer.want(stream.spec(), stream.labels)
        elif order.command == "down":
            self._stop.set()
        elif order.command == "remove":
            self.placer.forget(self._known(order.name or ""))
        elif order.command == "move":
            self.placer.check_host(order.host or "", self._known(order.name or ""))
            self.placer.move(order.name or "", order.host or "")
        else:
            self.placer.check_host(order.host or "")
            self.placer.drain(order.host or "", draining=order.command == "drain")

    def state_of(self, stream: str) -> Mapping[str, Any] | None:
        """The newest known state of a stream; None before the first."""
        entry = self._book.get(stream)
        return None if entry is None else entry.state

    def close(self) -> None:
        """End the hosts, in order where they let it."""
        self._engine.close()
        self._control.close()
        if self._metrics is not None:
            self._metrics.close()

    def _known(self, stream: str) -> str:
        if self._book.get(stream) is None:
            raise UsageError(f"no stream {stream} in this fleet")
        return stream

    def _restore(self, entry: Entry) -> None:
        """Take over a retained entry if it is a stream: whoever has rights at the broker may have written it."""
        try:
            stream = read_stream({**entry.spec, "labels": dict(entry.labels)})
        except UsageError as error:
            log.warning("what is retained of stream %s is passed over: %s", entry.name[:64], error)
            return
        if stream.name == entry.name:
            self.placer.restore(entry)


def metrics_of(config: MetricsConfig) -> Callable[[Placer], Endpoint | None]:
    """Return what serves the metrics of a placer, as the settings say.

    Raises:
        UsageError: they would be reachable beyond this machine without token or TLS.
    """
    if (port := config.port) is None:
        return lambda _: None
    from realtime.fleet.metrics import FleetMetrics  # noqa: PLC0415
    from realtime.metrics.endpoint import Endpoint  # noqa: PLC0415
    from realtime.system.guard import guard_of  # noqa: PLC0415 - imported where asked for

    guard = guard_of(section="metrics", **config.model_dump())
    return lambda placer: Endpoint(FleetMetrics(placer.status).registry, port, guard)


def table(status: Mapping[str, Any]) -> str:
    """Lay out for people how a fleet is."""
    lines = [f"{'host':<20} {'state':<9} {'streams':>7} {'cores':>13}  labels"]
    for name, host in sorted(status["hosts"].items()):
        used = "-" if host["used_cores"] is None else f"{host['used_cores']:.2f}"
        labels = " ".join(f"{key}={value}" for key, value in sorted(host["labels"].items()))
        lines.append(f"{name:<20} {host['state']:<9} {host['streams']:>7} {used:>6} of {host['cores']:>3g}  {labels}")
    lines += ["", f"{'stream':<24} {'host':<20} {'epoch':>5}  "]
    for name, stream in sorted(status["streams"].items()):
        where = stream["host"] or f"nowhere: {stream.get('why') or 'waits for a host'}"
        lines.append(f"{name:<24} {where:<20} {stream['epoch']:>5}")
    if pool := pool_lines(status.get("asr_pool", {})):
        lines += ["", *pool]
    return "\n".join(lines)


def stated(status: Json) -> bool:
    """Whether this is what a fleet says of itself."""
    return isinstance(status.get("hosts"), dict) and isinstance(status.get("streams"), dict)
