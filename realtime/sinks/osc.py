"""The Open Sound Control sink: one bundle a hop by UDP, for TouchDesigner, Max, SuperCollider and the like."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from realtime.errors import UsageError
from realtime.publish.messages import EventMessage, Sentiment
from realtime.sinks.new_words import new_words
from realtime.system.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.publish.messages import Origin
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

Values = tuple[float | int | str, ...]


class OscSink:
    """Sends each message as a bundle to one address.

    Args:
        address: `HOST:PORT`, IPv6 as `[::1]:9000`.
        words: whether there is consent to words being sent.

    Attributes:
        sent: bundles handed to the network; whether anyone took them UDP does not tell.
        dropped: bundles that the network refused.

    Raises:
        UsageError: the host is not known.
    """

    def __init__(self, address: str, *, words: bool) -> None:
        host, _, port = address.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise UsageError(f"--osc {address}: {error.strerror or error}; write HOST:PORT") from None
        family, _, _, _, to = found
        self._to = to[:2]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # a full buffer drops a bundle: the tick waits for nobody
        self._address, self._words = address, words
        self._said: dict[str, str] = {}
        self._failed: str | None = None
        self.sent = self.dropped = 0
        if not is_loopback(str(to[0])):
            log.warning("OSC: what is sent to %s can be read and forged on the way", address)

    def subscribe(self, outlet: Outlet) -> None:
        """Pass on sentiments and events, and words where there is consent."""
        outlet.subscribe(self._take, Sentiment, EventMessage, words=self._words)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:
        """Nothing is held for it before it speaks."""

    def stream_went(self, stream: str) -> None:
        """Forget its words."""
        self._said.pop(stream, None)

    def close(self) -> None:
        """End the socket, and say what was dropped."""
        self._socket.close()
        if self.dropped:
            log.warning("OSC: %s: %d bundles could not be sent", self._address, self.dropped)

    def _take(self, message: Sentiment | EventMessage) -> None:
        bundle = OscBundleBuilder(IMMEDIATELY)
        root = f"/agfn/{message.stream}"
        parts = self._sentiment(message) if isinstance(message, Sentiment) else _event(message)
        for address, values in parts:
            builder = OscMessageBuilder(f"{root}/{address}")
            for value in values:
                builder.add_arg(value)
            bundle.add_content(builder.build())
        self._send(bundle.build().dgram)

    def _send(self, content: bytes) -> None:
        try:
            self._socket.sendto(content, self._to)
        except OSError as error:
            self.dropped += 1
            cause = error.strerror or str(error)
            if cause != self._failed:  # once an outage
                log.warning("OSC: %s: %s; bundles are dropped", self._address, cause)
            self._failed = cause
            return
        self._failed = None
        self.sent += 1

    def _sentiment(self, message: Sentiment) -> Iterator[tuple[str, Values]]:
        """Addresses and values; one without a value is left out."""
        yield "seq", (message.seq,)
        yield "state", (message.state,)
        for name in ("score", "raw", "label", "p_positive", "context", "opinion"):
            if (value := getattr(message, name)) is not None:
                yield name, (value,)
        yield "confidence", (message.confidence,)
        if message.interval is not None:
            yield "interval", message.interval
        if message.band is not None:
            yield "band", message.band
        yield "faces", (message.faces,)
        for modality, part in message.modalities.items():
            yield f"{modality}/weight", (part.weight,)
            yield f"{modality}/reliability", (part.reliability,)
            yield f"{modality}/state", (part.state,)
        for name, channel in (message.channels or {}).items():
            if channel.value is not None:
                yield f"channels/{name}", (channel.value, channel.reliability)
        if message.text is None:
            return
        if words := new_words(self._said.get(message.stream, ""), message.text.committed):
            yield "words/new", (words,)
        self._said[message.stream] = message.text.committed
        yield "words/committed", (message.text.committed,)
        yield "words/tentative", (message.text.tentative,)


def _event(message: EventMessage) -> Iterator[tuple[str, Values]]:
    yield "event", (message.component, message.kind, message.cause or "")
