"""The Home Assistant sink: makes every stream appear there by itself, and keeps it fed.

A connection of its own, so that trouble here never holds up the streams' own messages. The streams' last will on
`<base>/<stream>/status` says whether they are available. At the end the discovery stays in the broker: Home Assistant
then shows the device as unavailable and keeps its history; `remove` takes it away for good.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from typing import TYPE_CHECKING

from aiomqtt import MqttError

from realtime.clock import MonotonicClock
from realtime.errors import BrokerError
from realtime.homeassistant.discovery import config_topic, payload, state_topic
from realtime.publish.connection import BoundedClient, Connection, LoopThread, cause_of, first_of
from realtime.publish.messages import Sentiment
from realtime.runtime.channel import Channel, ClosedError, Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiomqtt import Client

    from realtime.clock import Clock
    from realtime.config.schema import HomeAssistantConfig
    from realtime.publish.access import Access
    from realtime.publish.messages import Origin
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

KEEPALIVE_S = 15
BACKOFF_S = (1.0, 30.0)
BIRTH_DELAY_S = (0.2, 2.0)
"""After Home Assistant has come up, wait for a random while: all devices answer to its birth message."""
WAITING = 64
GOODBYE_S = 1.0
REMOVE_S = 10.0


class HomeAssistant:
    """Announces the streams and passes their sentiments on, at most one every `every_s` unless a state changes.

    Args:
        config: prefix and pace.
        access: the broker.
        base: first part of the topics.
        streams: names of the streams.
        clock: for the pace.
    """

    def __init__(
        self, config: HomeAssistantConfig, access: Access, base: str, streams: Iterable[str], clock: Clock | None = None
    ) -> None:
        self._config, self._access, self._base = config, access, base
        self._streams = dict.fromkeys(streams, False)
        """Whether each was announced; of the loop's thread alone."""
        self._clock = clock or MonotonicClock()
        self._sent: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._birth = f"{config.prefix}/status"
        self._lock = threading.Lock()
        self._values: Channel[tuple[str, bytes]] = Channel(Policy.DROP_OLDEST, WAITING)
        self._wake = asyncio.Event()
        self._said: str | None = None
        self._connection = Connection(self._client, self._serve, self._lost, BACKOFF_S)
        self._thread = LoopThread("homeassistant")
        self._thread.start(self._connection.run())

    def subscribe(self, outlet: Outlet) -> None:
        """Pass on what the streams say, never their words: Home Assistant would keep them for days in its records."""
        outlet.subscribe(self._take, Sentiment)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:  # noqa: ARG002 - a lease is nothing to show there
        """Announce a stream, too."""
        self._thread.call(self._add, stream)

    def stream_went(self, stream: str) -> None:
        """Announce it no more; what was announced stays, so that Home Assistant keeps its history."""
        self._thread.call(self._streams.pop, stream, None)
        with self._lock:
            self._sent.pop(stream, None)

    def _add(self, stream: str) -> None:
        self._streams[stream] = False
        self._wake.set()

    def _take(self, message: Sentiment) -> None:
        """Pass a sentiment on when it is time, or when a state in it is new; never waits."""
        if not self._connection.up:
            return
        states = (message.state, *(part.state for part in message.modalities.values()))
        now_ns = self._clock.now_ns()
        with self._lock:
            sent_ns, before = self._sent.get(message.stream, (0, ()))
            if states == before and now_ns - sent_ns < self._config.every_s * 1e9:
                return
            self._sent[message.stream] = (now_ns, states)
        try:
            self._values.push((message.stream, message.payload()))
        except ClosedError:
            return
        self._thread.call(self._wake.set)

    def close(self) -> None:
        """Disconnect; the announcements stay."""
        self._values.close()
        self._thread.call(self._connection.close)
        self._thread.call(self._wake.set)
        self._thread.join(GOODBYE_S)

    def _client(self) -> Client:
        return BoundedClient(self._access, keepalive=KEEPALIVE_S, max_queued_incoming_messages=WAITING)

    async def _serve(self, client: Client) -> None:
        await client.subscribe(self._birth, qos=1)
        await self._announce(client)
        self._said = None
        self._connection.proved()
        await first_of(self._pass_on(client), self._greet(client))

    async def _announce(self, client: Client) -> None:
        self._streams = dict.fromkeys(self._streams, False)
        await self._announce_new(client)
        with self._lock:
            self._sent.clear()  # so that each entity has a value at once

    async def _announce_new(self, client: Client) -> None:
        for stream in [stream for stream, announced in self._streams.items() if not announced]:
            self._streams[stream] = True
            content = payload(self._base, stream, 3 * max(self._config.every_s, 1.0))
            topic = config_topic(self._config.prefix, self._base, stream)
            await client.publish(topic, content, qos=1, retain=True)

    async def _pass_on(self, client: Client) -> None:
        while not self._connection.closing.is_set():
            self._wake.clear()
            await self._announce_new(client)
            for stream, content in self._values.pop_all() if self._values.stats().pending else ():
                await client.publish(state_topic(self._base, stream), content, qos=0)
            await self._wake.wait()

    async def _greet(self, client: Client) -> None:
        """Announce the streams again when Home Assistant has started, the newest start only."""
        later: asyncio.Task[None] | None = None
        try:
            async for message in client.messages:
                if message.retain or message.payload != b"online":
                    continue  # a retained birth is an old one, and the announcement has just been made
                if later is not None:
                    later.cancel()
                later = asyncio.create_task(self._announce_later(client))
        finally:
            if later is not None:
                later.cancel()

    async def _announce_later(self, client: Client) -> None:
        await asyncio.sleep(random.uniform(*BIRTH_DELAY_S))
        try:
            await self._announce(client)
        except MqttError as error:
            log.debug("Home Assistant: %s; announced with the next connection", error)

    def _lost(self, error: Exception) -> None:
        cause = cause_of(error)
        if cause != self._said:
            self._said = cause
            log.warning("Home Assistant: %s: %s; trying on", self._access.url, cause)


def remove(config: HomeAssistantConfig, access: Access, base: str, streams: Iterable[str]) -> None:
    """Take the streams' devices out of Home Assistant, by an empty retained discovery message each.

    Raises:
        BrokerError: the broker can't be reached, refuses, or does not confirm.
    """
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(_remove(config, access, base, streams))
    except (MqttError, ValueError) as error:
        raise BrokerError(f"{access.url}: {cause_of(error)}; nothing was removed, or not all") from None
    finally:
        loop.close()


async def _remove(config: HomeAssistantConfig, access: Access, base: str, streams: Iterable[str]) -> None:
    async with BoundedClient(access, keepalive=KEEPALIVE_S, timeout=REMOVE_S) as client:
        for stream in streams:
            await client.publish(config_topic(config.prefix, base, stream), b"", qos=1, retain=True)
            log.info("%s: %s is removed from Home Assistant", access.url, stream)
