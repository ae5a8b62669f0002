"""The Home Assistant sink: makes every stream appear there by itself, and keeps it fed.

A connection of its own, so that trouble here never holds up the streams' own messages. The streams' last will on
`<base>/<stream>/status` says whether they are available. At the end the discovery stays in the broker: Home Assistant
then shows the device as unavailable and keeps its history; `remove` takes it away for good.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from realtime.clock import MonotonicClock
from realtime.errors import BrokerError
from realtime.homeassistant.discovery import config_topic, payload, state_topic
from realtime.publish.messages import Sentiment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime.clock import Clock
    from realtime.config.schema import HomeAssistantConfig
    from realtime.publish.access import Access
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

KEEPALIVE_S = 15
RECONNECT_S = (1, 30)
BIRTH_DELAY_S = (0.2, 2.0)
"""After Home Assistant has come up, wait for a random while: all devices answer to its birth message."""
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
        self._config, self._base, self._streams = config, base, tuple(streams)
        self._clock = clock or MonotonicClock()
        self._sent: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._birth = f"{config.prefix}/status"
        self._later: threading.Timer | None = None
        self._lock = threading.Lock()
        self._client = _client(access)
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect_async(access.host, access.port, KEEPALIVE_S)
        self._client.loop_start()

    def subscribe(self, outlet: Outlet) -> None:
        """Pass on what the streams say, never their words: Home Assistant would keep them for days in its records."""
        outlet.subscribe(self._pass_on, Sentiment)

    def _pass_on(self, message: Sentiment) -> None:
        """Pass a sentiment on when it is time, or when a state in it is new; never waits."""
        if not self._client.is_connected():
            return
        states = (message.state, *(part.state for part in message.modalities.values()))
        now_ns = self._clock.now_ns()
        with self._lock:
            sent_ns, before = self._sent.get(message.stream, (0, ()))
            if states == before and now_ns - sent_ns < self._config.every_s * 1e9:
                return
            self._sent[message.stream] = (now_ns, states)
        self._client.publish(state_topic(self._base, message.stream), message.payload(), qos=0)

    def close(self) -> None:
        """Disconnect; the announcements stay."""
        with self._lock:
            if self._later is not None:
                self._later.cancel()
        self._client.disconnect()
        self._client.loop_stop()

    def _announce(self) -> None:
        for stream in self._streams:
            content = payload(self._base, stream, 3 * max(self._config.every_s, 1.0))
            self._client.publish(config_topic(self._config.prefix, self._base, stream), content, qos=1, retain=True)
        with self._lock:
            self._sent.clear()  # so that each entity has a value at once

    def _on_connect(self, client: paho.Client, _data: object, _flags: object, reason: Any, *_: object) -> None:  # noqa: ANN401 - paho's reason code
        if reason.is_failure:
            log.warning("Home Assistant: the broker refuses: %s; trying on", reason)
            return
        client.subscribe(self._birth, qos=1)
        self._announce()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.retain or message.payload != b"online":
            return  # a retained birth is an old one, and the announcement has just been made
        with self._lock:
            if self._later is not None:
                self._later.cancel()
            self._later = threading.Timer(random.uniform(*BIRTH_DELAY_S), self._announce)
            self._later.daemon = True
            self._later.start()


def remove(config: HomeAssistantConfig, access: Access, base: str, streams: Iterable[str]) -> None:
    """Take the streams' devices out of Home Assistant, by an empty retained discovery message each.

    Raises:
        BrokerError: the broker can't be reached, refuses, or does not confirm.
    """
    client = _client(access)
    where = access.url
    ready, refusal = threading.Event(), []

    def on_connect(_client: object, _data: object, _flags: object, reason: Any, *_: object) -> None:  # noqa: ANN401
        if reason.is_failure:
            refusal.append(str(reason))
        ready.set()

    client.on_connect = on_connect
    try:
        client.connect(access.host, access.port, KEEPALIVE_S)
    except OSError as error:
        raise BrokerError(f"{where}: {error.strerror or error}; nothing was removed") from None
    client.loop_start()
    try:
        if not ready.wait(REMOVE_S) or refusal:
            raise BrokerError(f"{where}: {refusal[0] if refusal else 'no answer'}; nothing was removed")
        for stream in streams:
            told = client.publish(config_topic(config.prefix, base, stream), b"", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                told.wait_for_publish(REMOVE_S)
            if not told.is_published():
                raise BrokerError(f"{where}: no confirmation that {stream} was removed")
            log.info("%s: %s is removed from Home Assistant", where, stream)
        client.disconnect()
    finally:
        client.loop_stop()


def _client(access: Access) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    if access.username:
        client.username_pw_set(access.username, access.password)
    if access.tls is not None:
        client.tls_set_context(access.tls)
    return client
