"""The overlay's connection to the broker: paho in its own daemon thread, which connects again by itself.

MQTT 3.1.1, which every broker speaks; a short keep-alive, so that a frozen broker is noticed within seconds.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from realtime.clock import MonotonicClock
from realtime.publish.messages import Command, Health, Sentiment, topic

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.overlay.watch import View, Watch
    from realtime.publish.access import Access
    from realtime.publish.messages import Kind

log = logging.getLogger(__name__)

KEEPALIVE_S = 3
RETRY_S = (1, 4)
CONNECT_S = 3.0
CAUSES = {"unspecified error": "the connection broke", "keep alive timeout": "it does not answer any more"}
"""paho's words for the ends of connections that people meet, in plainer ones."""


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
        self._refused = False
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        client.username_pw_set(access.username, access.password)
        if access.tls is not None:
            client.tls_set_context(access.tls)
        client.reconnect_delay_set(*RETRY_S)
        client.connect_timeout = CONNECT_S
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        self._client = client

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(self._access.host, self._access.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Say goodbye if there is anyone to say it to; never waits for a dead host (the thread is a daemon)."""
        self._client.disconnect()

    def view(self) -> View:
        """Return what to show now."""
        with self._lock:
            return self._watch.view(self._clock.now_ns())

    def toggle_pause(self) -> bool:
        """Ask the stream to pause, or to resume when it is paused; False where nobody would hear it."""
        with self._lock:
            stream, paused = self._watch.stream, self._watch.paused
        if stream is None or not self._client.is_connected():
            return False
        command = Command(command="resume" if paused else "pause")
        self._client.publish(topic(self._base, stream, "command"), command.payload(), qos=1)
        return True

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's signature
        now_ns = self._clock.now_ns()
        with self._lock:
            self._refused = bool(reason.is_failure)
            if self._refused:
                self._watch.disconnected(str(reason).lower(), now_ns)
                return
            self._watch.connected(now_ns)
        wanted: dict[Kind, int] = {"status": 1, "sentiment": 0, "health": 0}
        client.subscribe([(topic(self._base, "+", kind), qos) for kind, qos in wanted.items()])

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:  # noqa: ANN401 - paho's signature
        with self._lock:
            self._refused = False
            self._watch.disconnected("nobody answers there", self._clock.now_ns())

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's signature
        said = str(reason).lower()
        cause = CAUSES.get(said, said)
        with self._lock:
            if not self._refused:  # the refusal said more than that the connection ended then
                self._watch.disconnected(cause, self._clock.now_ns())

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401 - paho's signature
        _, stream, kind = message.topic.rsplit("/", 2)
        now_ns = self._clock.now_ns()
        with self._lock:
            if kind == "status":
                self._watch.status(stream, message.payload.decode(errors="replace"))
                return
            if kind == "health":
                self._on_health(stream, message.payload, now_ns)
                return
            try:
                # The version rule of messages.py: a subscriber ignores keys that it does not know.
                sentiment = Sentiment.model_validate_json(message.payload, extra="ignore")
            except ValidationError as error:
                log.debug("%s: %s", message.topic, error)
                self._watch.foreign(stream, f"{stream} speaks another version of agfn.sentiment")
                return
            self._watch.sentiment(sentiment, now_ns)

    def _on_health(self, stream: str, payload: bytes | bytearray, now_ns: int) -> None:
        try:
            health = Health.model_validate_json(payload, extra="ignore")
        except ValidationError as error:
            log.debug("health of %s: %s", stream, error)
            return
        self._watch.health(stream, health, now_ns)
