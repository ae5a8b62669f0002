"""What runs beside the analysis on request: web dashboard, Home Assistant, metrics. For app.py one more sink."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from realtime.address import with_password
from realtime.errors import UsageError
from realtime.publish.access import Access, access_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime.config.schema import Config
    from realtime.publish.messages import Message

log = logging.getLogger(__name__)


class Service(Protocol):
    """Something that is closed at the end."""

    def close(self) -> None:
        """End it."""
        ...


class Listener(Protocol):
    """Something that reads the messages."""

    def send(self, message: Message) -> None:
        """Take a message; must not wait."""
        ...


def check(config: Config) -> None:
    """See that the parts fit together, before anything slow begins.

    Raises:
        UsageError: they don't.
    """
    for stream in config.streams:
        if stream.source is None and stream.camera is not None:
            with_password(stream.camera, config.camera.password_file)  # said before anything slow begins
    embedded, off = config.mqtt.url == "embedded", config.mqtt.url == "off"
    if config.homeassistant.enabled and off:
        raise UsageError("--homeassistant works over MQTT: leave out --mqtt off")
    if config.dashboard.port is None:
        if config.dashboard.broker is not None:
            raise UsageError("dashboard.broker needs dashboard.port: add --dashboard PORT")
        return
    if off:
        raise UsageError("--dashboard shows what comes over MQTT: leave out --mqtt off")
    if embedded and config.dashboard.broker is not None:
        raise UsageError("--dashboard-broker is for your own broker; the embedded one is reached through the page")
    if not embedded and config.dashboard.broker is None:
        raise UsageError(
            "--dashboard with your own broker needs the address of its websocket listener: "
            "--dashboard-broker ws://HOST:PORT"
        )


class Services:
    """Those that the configuration asks for, as a sink.

    Args:
        config: of the process; checked.
        streams: names of the streams.
        broker: address of the broker that the messages go to, or None.

    Raises:
        UsageError: a port can't be had.
        ModelError: a file of the dashboard is missing or damaged.
    """

    def __init__(self, config: Config, streams: Iterable[str], broker: str | None) -> None:
        names = tuple(streams)
        self._services: list[Service] = []
        self._listeners: list[Listener] = []
        self.where = broker
        """What a person is shown of where the messages are: the broker, and the dashboard if there is one."""
        try:
            if config.metrics.port is not None:
                self._start_metrics(config.metrics.port, names)
            if broker is not None and config.homeassistant.enabled:
                self._start_homeassistant(config, names, broker)
            if broker is not None and config.dashboard.port is not None:
                self._start_dashboard(config, config.dashboard.port, broker)
        except BaseException:
            self.close()
            raise

    def send(self, message: Message) -> None:
        """Hand a message on."""
        for listener in self._listeners:
            listener.send(message)

    def close(self) -> None:
        """End them, the newest first."""
        while self._services:
            with contextlib.suppress(OSError):
                self._services.pop().close()

    def _start_metrics(self, port: int, names: tuple[str, ...]) -> None:
        from realtime.metrics.collector import Metrics  # noqa: PLC0415 - imported where asked for
        from realtime.metrics.endpoint import Endpoint  # noqa: PLC0415

        metrics = Metrics(names)
        self._listeners.append(metrics)
        self._services.append(Endpoint(metrics.registry, port))

    def _start_homeassistant(self, config: Config, names: tuple[str, ...], broker: str) -> None:
        from realtime.homeassistant.sink import HomeAssistant  # noqa: PLC0415

        sink = HomeAssistant(config.homeassistant, broker_access(config, broker), config.mqtt.base, names)
        self._listeners.append(sink)
        self._services.append(sink)

    def _start_dashboard(self, config: Config, port: int, broker: str) -> None:
        from realtime.dashboard.server import Dashboard  # noqa: PLC0415

        inside = broker_access(config, broker) if config.dashboard.broker is None else None
        bridge = None if inside is None else (inside.host, inside.port)
        dashboard = Dashboard(port, config.mqtt.base, bridge, config.dashboard.broker)
        self._services.append(dashboard)
        self.where = f"{broker}  {dashboard.url}"


def broker_access(config: Config, broker: str) -> Access:
    """How a further connection reaches the broker that the program uses: the embedded one may have another port."""
    if config.mqtt.url != "embedded":
        return access_of(config.mqtt)
    parts = urlsplit(broker)
    return Access(parts.hostname or "", parts.port or config.mqtt.port, speaks_v5=False)
