"""The MQTT sink: a thread with an event loop of its own, in which every stream has its link to the broker.

The rest of the program hands messages over without waiting and never sees the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from realtime.clock import MonotonicClock
from realtime.errors import BrokerError
from realtime.publish.access import Access, access_of
from realtime.publish.broker import EmbeddedBroker
from realtime.publish.broker_config import HOST
from realtime.publish.commands import Commands
from realtime.publish.connection import LoopThread
from realtime.publish.link import Link
from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.runtime.channel import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.clock import Clock
    from realtime.config.schema import MqttConfig
    from realtime.publish.messages import Command, PublisherHealth
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

BROKER_CLOSE_S = 1.0


class MqttPublisher:
    """Publishes the messages of some streams and takes their commands.

    Args:
        config: where the broker is; `embedded` starts one. Not `off`.
        streams: names of the streams.
        on_command: called with a stream's name and a command, in a thread of its own; may block.
        clock: for ages and rates.
        birth: topic on which Home Assistant says that it has started; the embedded broker takes it from anyone.

    Raises:
        UsageError: the address or a file of the configuration is wrong.
    """

    def __init__(
        self,
        config: MqttConfig,
        streams: Iterable[str],
        on_command: Callable[[str, Command], None],
        clock: Clock | None = None,
        birth: str = "homeassistant/status",
    ) -> None:
        self._config, self._streams, self._on_command = config, tuple(streams), on_command
        self._clock = clock or MonotonicClock()
        embedded = config.url == "embedded"
        self._broker = EmbeddedBroker(config.port, config.base, self._streams, birth) if embedded else None
        self._access = Access(HOST, config.port, speaks_v5=False) if self._broker else access_of(config)
        if self._access.shows_password:
            log.warning("%s: the password crosses the network for all to read; use mqtts://", self._access.url)
        self._links: dict[str, Link] = {}
        self._thread: LoopThread | None = None
        self._settled = threading.Event()
        self._refusal: str | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """The broker's address, without user and password."""
        return self._access.url

    @property
    def access(self) -> Access:
        """How a further connection of this program reaches the broker; known once started."""
        return self._access

    def start(self) -> None:
        """Start the embedded broker, if it is one, and begin to connect; does not wait for an external broker.

        Raises:
            BrokerError: the embedded broker does not start.
        """
        if self._broker is not None:
            self._broker.start()
            self._access = self._broker.access
        self._thread = LoopThread("mqtt")
        for stream in self._streams:
            self._links[stream] = Link(
                self._access,
                self._config.base,
                stream,
                self._config.keepalive_s,
                Commands(stream, self._on_command, self._clock),
                self._clock,
                self._changed,
            )
        self._thread.start(self._serve())

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until all streams are connected; False when that takes longer (it goes on trying).

        Raises:
            BrokerError: the broker refuses for a reason that waiting does not mend.
        """
        self._settled.wait(timeout_s)
        if self._refusal is not None:
            raise BrokerError(self._refusal)
        return self._settled.is_set()

    def subscribe(self, outlet: Outlet, *, words: bool) -> None:
        """Have all messages handed over; `words` tells whether there is consent to publish what was said."""
        outlet.subscribe(self.send_sentiment, Sentiment, words=words)
        outlet.subscribe(self.send_health, Health)
        outlet.subscribe(self.send_event, EventMessage)

    def send_sentiment(self, message: Sentiment) -> None:
        """Hand over a message; never waits. Ignored once closed."""
        self._send(message.stream, lambda link: link.put_fresh("sentiment", message))

    def send_health(self, message: Health) -> None:
        """Hand over a message; never waits. Ignored once closed."""
        self._send(message.stream, lambda link: link.put_fresh("health", message))

    def send_event(self, message: EventMessage) -> None:
        """Hand over a message; never waits. Ignored once closed."""
        self._send(message.stream, lambda link: link.put_event(message))

    def _send(self, stream: str, put: Callable[[Link], None]) -> None:
        if self._thread is None or self._stopping:
            return
        link = self._links[stream]
        # Closed between the check and here: the message has nowhere to go any more.
        with contextlib.suppress(ClosedError):
            put(link)
            self._thread.call(link.wake.set)

    def stats(self, stream: str) -> PublisherHealth:
        """Return the counts of a stream's connection."""
        return self._links[stream].stats()

    def close(self, timeout_s: float = 1.0) -> None:
        """Send what waits, say `offline`, disconnect; what takes longer is given up."""
        if self._thread is None or self._stopping:
            return
        self._stopping = True
        self._thread.call(self._close_links)
        if not self._thread.join(timeout_s):
            log.warning("%s: no goodbye within %.1f s", self.url, timeout_s)
        if self._broker is not None:
            self._broker.close(BROKER_CLOSE_S)

    async def _serve(self) -> None:
        await asyncio.gather(*(link.run() for link in self._links.values()))

    def _close_links(self) -> None:
        for link in self._links.values():
            link.close()

    def _changed(self, refusal: str | None) -> None:
        """Take note that a link has connected, or was refused before it ever did."""
        if refusal is not None:
            self._refusal = refusal
        elif not all(link.connects for link in self._links.values()):
            return
        else:
            self._refusal = None
        self._settled.set()
