"""The overlay's connection to the broker, in a daemon thread of its own, which connects again by itself.

MQTT 3.1.1, which every broker speaks; a short keep-alive, so that a frozen broker is noticed within seconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from aiomqtt import MqttError
from pydantic import ValidationError

from realtime.clock import MonotonicClock
from realtime.publish.connection import BoundedClient, Connection, LoopThread, cause_of, distrust_of
from realtime.publish.messages import Command, Health, Sentiment, topic

if TYPE_CHECKING:
    from aiomqtt import Client, Message

    from realtime.clock import Clock
    from realtime.overlay.watch import View, Watch
    from realtime.publish.access import Access

log = logging.getLogger(__name__)

KEEPALIVE_S = 3
RETRY_S = (1.0, 4.0)
INCOMING = 256


class Feed:
    """Feeds a watch with what the broker hands out, and sends commands.

    Args:
        access: the broker.
        base: first part of every topic.
        watch: takes what comes; used under the feed's lock only.
        clock: for ages.
    """

    def __init__(self, access: Access, base: str, watch: Watch, clock: Clock | None = None) -> None:
        self._access, self._base, self._watch = access, base, watch
        self._clock = clock or MonotonicClock()
        self._lock = threading.Lock()
        self._live: Client | None = None
        self._connection = Connection(self._client, self._serve, self._lost, RETRY_S)
        self._thread = LoopThread("feed")
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start(self._connection.run())

    def close(self) -> None:
        """Hang up; never waits for a dead host (the thread is a daemon)."""
        self._thread.join(0.0)

    def view(self) -> View:
        """Return what to show now."""
        with self._lock:
            return self._watch.view(self._clock.now_ns())

    def toggle_pause(self) -> bool:
        """Ask the stream to pause, or to resume when it is paused; False where nobody would hear it."""
        with self._lock:
            stream, paused = self._watch.stream, self._watch.paused
        if stream is None or not self._connection.up:
            return False
        self._thread.call(self._command, stream, Command(command="resume" if paused else "pause"))
        return True

    def _command(self, stream: str, command: Command) -> None:
        task = asyncio.ensure_future(self._say(stream, command))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _say(self, stream: str, command: Command) -> None:
        if self._live is None:
            return
        try:
            await self._live.publish(topic(self._base, stream, "command"), command.payload(), qos=1)
        except MqttError as error:
            log.debug("the command may not have arrived: %s", error)

    def _client(self) -> Client:
        return BoundedClient(self._access, keepalive=KEEPALIVE_S, max_queued_incoming_messages=INCOMING)

    async def _serve(self, client: Client) -> None:
        with self._lock:
            self._watch.connected(self._clock.now_ns())
        await client.subscribe([(topic(self._base, "+", "status"), 1), (topic(self._base, "+", "sentiment"), 0)])
        await client.subscribe(topic(self._base, "+", "health"), qos=0)
        self._live = client
        self._connection.proved()
        async for message in client.messages:
            self._take(message)

    def _lost(self, error: Exception) -> None:
        with self._lock:
            self._watch.disconnected(distrust_of(error) or cause_of(error).lower(), self._clock.now_ns())

    def _take(self, message: Message) -> None:
        _, stream, kind = message.topic.value.rsplit("/", 2)
        payload = message.payload if isinstance(message.payload, bytes) else b""
        now_ns = self._clock.now_ns()
        with self._lock:
            if kind == "status":
                self._watch.status(stream, payload.decode(errors="replace"))
                return
            if kind == "health":
                self._on_health(stream, payload, now_ns)
                return
            try:
                # The version rule of messages.py: a subscriber ignores keys that it does not know.
                sentiment = Sentiment.model_validate_json(payload, extra="ignore")
            except ValidationError as error:
                log.debug("%s: %s", message.topic, error)
                self._watch.foreign(stream, f"{stream} speaks another version of agfn.sentiment")
                return
            self._watch.sentiment(sentiment, now_ns)

    def _on_health(self, stream: str, payload: bytes, now_ns: int) -> None:
        try:
            health = Health.model_validate_json(payload, extra="ignore")
        except ValidationError as error:
            log.debug("health of %s: %s", stream, error)
            return
        self._watch.health(stream, health, now_ns)
