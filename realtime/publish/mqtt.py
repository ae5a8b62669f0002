"""The MQTT sink: a thread with an event loop of its own, in which every stream has its link to the broker.

The rest of the program hands messages over without waiting and never sees the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING

from realtime.clock import MonotonicClock
from realtime.errors import BrokerError
from realtime.publish.access import Access, access_of
from realtime.publish.broker import EmbeddedBroker
from realtime.publish.broker_config import HOST
from realtime.publish.commands import Commands
from realtime.publish.connection import LoopThread
from realtime.publish.link import Lease, Link
from realtime.publish.messages import UNLEASED, EventMessage, Health, Sentiment
from realtime.runtime.channel import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.clock import Clock
    from realtime.config.schema import MqttConfig
    from realtime.publish.messages import Command, Origin, PublisherHealth
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

BROKER_CLOSE_S = 1.0
GOODBYE_S = 2.0
"""A stream that goes while the program runs has so long to say so."""


class MqttPublisher:
    """Publishes the messages of some streams and takes their commands.

    Args:
        config: where the broker is; `embedded` starts one. Not `off`.
        streams: names of the streams.
        on_command: called with a stream's name and a command, in a thread of its own; may block.
        clock: for ages and rates.
        birth: topic on which Home Assistant says that it has started; the embedded broker takes it from anyone.
        on_taken: called with a stream's name and the reason when another program has taken over its lease.

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
        on_taken: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._on_taken = on_taken
        self._config, self._streams, self._on_command = config, tuple(streams), on_command
        self._clock = clock or MonotonicClock()
        embedded = config.url == "embedded"
        self._broker = EmbeddedBroker(config.port, config.base, self._streams, birth) if embedded else None
        self._access = Access(HOST, config.port, speaks_v5=False) if self._broker else access_of(config)
        if self._access.shows_password:
            log.warning("%s: the password crosses the network for all to read; use mqtts://", self._access.url)
        self._links: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._to_wake: set[Link] = set()
        self._wakes = False
        """Whether the loop has been told to wake links; one call does for all that are handed to it meanwhile."""
        self._closing = asyncio.Event()
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
            self._links[stream] = self._link(stream, UNLEASED)
        if not self._links:
            self._settled.set()
        self._thread.start(self._serve())

    def _link(self, stream: str, origin: Origin) -> Link:
        return Link(
            self._access,
            self._config.base,
            stream,
            self._config.keepalive_s,
            Commands(stream, self._on_command, self._clock),
            self._clock,
            self._changed,
            Lease(origin.epoch, partial(self._on_taken, stream)) if origin.epoch else None,
        )

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
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:
        """Connect for a stream, too; does not wait for the broker."""
        if self._thread is not None and not self._stopping:
            if self._broker is not None:
                self._broker.open(stream)
            self._thread.run(self._open(stream, origin), 2 * GOODBYE_S)

    def stream_went(self, stream: str) -> None:
        """Send what waits, say `offline` and hang up; what takes longer is given up."""
        if self._thread is not None and not self._stopping:
            self._thread.run(self._shut(stream), 2 * GOODBYE_S)
            if self._broker is not None:
                self._broker.shut(stream)

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
        link = self._links.get(stream)
        if self._thread is None or self._stopping or link is None:
            return
        # Closed between the check and here: the message has nowhere to go any more.
        with contextlib.suppress(ClosedError):
            put(link)
            self._to_wake.add(link)
            if not self._wakes:  # each call wakes the loop's thread, which then takes turns with this one
                self._wakes = True
                self._thread.call(self._wake)

    def _wake(self) -> None:
        self._wakes = False  # first: who hands in from now on calls again
        with contextlib.suppress(KeyError):
            while True:
                self._to_wake.pop().wake.set()

    def stats(self, stream: str) -> PublisherHealth:
        """Return the counts of a stream's connection.

        Raises:
            KeyError: the stream is not here.
        """
        return self._links[stream].stats()

    def dropped(self, stream: str) -> int:
        """Return how many messages of a stream did not go out, because they were too old or too many.

        Raises:
            KeyError: the stream is not here.
        """
        return self._links[stream].dropped

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
        for stream, link in self._links.items():
            self._run(stream, link)
        await self._closing.wait()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _run(self, stream: str, link: Link) -> None:
        task = self._tasks[stream] = asyncio.create_task(link.run())
        task.add_done_callback(_said)

    async def _open(self, stream: str, origin: Origin) -> None:
        await self._shut(stream)
        self._links[stream] = self._link(stream, origin)
        self._run(stream, self._links[stream])

    async def _shut(self, stream: str) -> None:
        link, task = self._links.pop(stream, None), self._tasks.pop(stream, None)
        if link is not None and task is not None:
            link.close()
            await asyncio.wait([task], timeout=GOODBYE_S)
            task.cancel()

    def _close_links(self) -> None:
        self._closing.set()
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


def _said(task: asyncio.Task[None]) -> None:
    """Say what ended a link that should not have ended."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a connection to the broker ended by an error of its own", exc_info=error)
