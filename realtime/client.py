"""Subscribe to AGFN Live from Python: typed messages, reconnects, and the contract's version rules.

    async with Client("mqtt://127.0.0.1:1883") as client:
        async for sentiment in client.sentiments(stream="desk"):
            print(sentiment.score, sentiment.interval, sentiment.modalities["face"].state)

- Keys that a later publisher adds are ignored; another major version ends the iteration with a clear error.
- What is no message at all (someone else's payload on the topic) is counted in `refused` and passed over.
- It comes back after an outage by itself; an event that MQTT delivers twice is given out once.
- Of a stream that was given from one machine to another, what the old one still says is left out (`fenced` counts it).
- A reader that is too slow loses the oldest messages (`lost` counts them), never memory.
- MQTT 3.1.1, which every broker speaks. Under Windows run it in an `asyncio.SelectorEventLoop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from aiomqtt import MqttError
from pydantic import ValidationError

from realtime.config.schema import MqttConfig
from realtime.errors import AgfnError, BrokerError, UsageError
from realtime.publish.access import access_of
from realtime.publish.connection import BoundedClient, Connection, code_of, distrust_of
from realtime.publish.messages import Command, EventMessage, Health, Sentiment, topic

if TYPE_CHECKING:
    from typing import Literal

    from aiomqtt import Client as MqttClient
    from aiomqtt import Message
    from typing_extensions import Self

    from realtime.publish.access import Access

__all__ = ["Client", "ContractError", "EventMessage", "Feed", "Health", "Sentiment"]

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024
"""More than any message of the contract; longer payloads are refused unread."""
WAITING = 256
KNOWN_EVENTS = 1000
LEASE_S = 60.0
"""After so long without a word of the newest epoch an older one counts again: somebody began afresh."""
MOST_STREAMS = 4096
"""Streams whose epoch is remembered."""
ANSWER_S = 5.0
KEEPALIVE_S = 5
BACKOFF_S = (0.25, 4.0)
REFUSED = dict.fromkeys((134, 135), "wrong user name or password, or not allowed here")
"""As MQTT 5 numbers them, into which paho translates those of 3.1.1."""

MessageT = TypeVar("MessageT", Sentiment, EventMessage, Health)
Model = type[Sentiment] | type[EventMessage] | type[Health]
MODELS: dict[str, Model] = {"sentiment": Sentiment, "event": EventMessage, "health": Health}


class ContractError(AgfnError):
    """The publisher speaks another major version of the contract."""


class Feed(Generic[MessageT]):
    """Messages of one kind, to be read with `async for`; ends when its client is closed.

    Attributes:
        lost: messages dropped because the reader was too slow.
    """

    def __init__(self, model: type[MessageT], stream: str | None) -> None:
        self.lost = 0
        self._model: type[MessageT] = model
        self._stream = stream
        self._queue: asyncio.Queue[MessageT | AgfnError | None] = asyncio.Queue(WAITING)
        self._over: AgfnError | Literal[False] | None = False

    def __aiter__(self) -> Self:
        """Read on where the last reader stopped."""
        return self

    async def __anext__(self) -> MessageT:
        """Wait for the next message.

        Raises:
            StopAsyncIteration: the client is closed.
            AgfnError: what makes going on pointless: another version, or a broker that refuses.
        """
        item = await self._queue.get() if self._over is False or not self._queue.empty() else self._over
        if item is None or isinstance(item, AgfnError):
            self._over = item
            if item is None:
                raise StopAsyncIteration
            raise item
        return item

    def wants(self, model: type[object], stream: str) -> bool:
        """Whether a message belongs here."""
        return model is self._model and self._stream in (None, stream)

    def put(self, item: MessageT | AgfnError | None) -> None:
        """Hand over a message, or the end; never waits."""
        if self._queue.full():
            self._queue.get_nowait()
            self.lost += 1
        self._queue.put_nowait(item)


class Client:
    """A subscriber.

    Args:
        url: mqtt://host[:port] or mqtts://host[:port].
        base: first part of the topics.
        username: at the broker; the password comes from AGFN_MQTT_PASSWORD or `password_file`.
        password_file: file whose first line is the password.
        ca_file: certificate authority (PEM) for mqtts; the system's by default.
        cert_file: client certificate (PEM), for a broker that asks for one.
        key_file: its private key (PEM).
        connect_s: how long to wait for the first connection; None waits for ever.

    Attributes:
        connects: connections made so far.
        refused: payloads on the topics that were no messages.
        fenced: messages of a holder whose stream was given to another since.

    Raises:
        UsageError: the address or a file is wrong.
    """

    def __init__(
        self,
        url: str = "mqtt://127.0.0.1:1883",
        *,
        base: str = "agfn",
        username: str | None = None,
        password_file: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        connect_s: float | None = 10.0,
    ) -> None:
        self.connects = self.refused = self.fenced = 0
        self._access, self._base = _access(url, base, username, password_file, ca_file, cert_file, key_file), base
        self._connect_s = connect_s
        self._feeds: weakref.WeakSet[Feed[Sentiment] | Feed[EventMessage] | Feed[Health]] = weakref.WeakSet()
        self._events: OrderedDict[str, None] = OrderedDict()
        self._leases = Leases()
        self._mqtt: MqttClient | None = None
        self._settled = asyncio.Event()
        self._connection = Connection(self._client, self._serve, self._lost, BACKOFF_S)
        self._end: AgfnError | Literal[False] | None = False
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection.up

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerError: nobody answers within `connect_s`, or the broker refuses.
        """
        self._task = asyncio.create_task(self._connection.run(), name="agfn-client")
        self._task.add_done_callback(self._ended)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._settled.wait(), self._connect_s)
        if self.connects:
            return self
        await self.__aexit__()
        raise (
            self._end
            if isinstance(self._end, AgfnError)
            else BrokerError(f"{self._access.url}: nobody answers; is the broker running?")
        )

    async def __aexit__(self, *_: object) -> None:
        """Disconnect; every feed ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._end is False:
            self._finish(None)

    def sentiments(self, stream: str | None = None) -> Feed[Sentiment]:
        """Sentiments of a stream, or of all, from now on."""
        return self._open(Feed(Sentiment, stream))

    def events(self, stream: str | None = None) -> Feed[EventMessage]:
        """Events of a stream, or of all, from now on, each once."""
        return self._open(Feed(EventMessage, stream))

    def health(self, stream: str | None = None) -> Feed[Health]:
        """Health messages of a stream, or of all, from now on."""
        return self._open(Feed(Health, stream))

    async def pause(self, stream: str) -> None:
        """Let a stream release its devices; it says `paused` until it is resumed."""
        await self._command(stream, Command(command="pause"))

    async def resume(self, stream: str) -> None:
        """Let a stream open its devices again."""
        await self._command(stream, Command(command="resume"))

    async def _command(self, stream: str, command: Command) -> None:
        if self._mqtt is None or not self.connected:
            raise BrokerError(f"{self._access.url}: not connected; the command was not sent")
        try:
            await self._mqtt.publish(topic(self._base, stream, "command"), command.payload(), qos=1)
        except MqttError as error:
            raise BrokerError(f"{self._access.url}: {error}; the command may not have arrived") from None

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for ever when the connection's task ends by an error of its own."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._finish(AgfnError(f"{self._access.url}: {error!r}"))

    def _open(self, feed: Feed[MessageT]) -> Feed[MessageT]:
        if self._end is not False:
            feed.put(self._end)
        self._feeds.add(feed)
        return feed

    def _finish(self, end: AgfnError | None) -> None:
        self._end = end
        for feed in list(self._feeds):
            feed.put(end)
        self._settled.set()

    def _client(self) -> MqttClient:
        return BoundedClient(self._access, keepalive=KEEPALIVE_S, timeout=ANSWER_S)

    def _lost(self, error: Exception) -> None:
        if refusal := _refusal(error):
            self._finish(BrokerError(f"{self._access.url}: {refusal}"))
            self._connection.close()
        log.info("%s: %s; trying on", self._access.url, error)

    async def _serve(self, mqtt: MqttClient) -> None:
        await mqtt.subscribe([(topic(self._base, "+", "sentiment"), 0), (topic(self._base, "+", "health"), 0)])
        await mqtt.subscribe(topic(self._base, "+", "event"), qos=1)
        self._mqtt = mqtt
        self._connection.proved()
        self.connects += 1
        self._settled.set()
        async for message in mqtt.messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        _, stream, kind = message.topic.value.rsplit("/", 2)
        model, payload = MODELS[kind], message.payload
        if not isinstance(payload, bytes) or len(payload) > MAX_BYTES:
            self._pass_over(stream, kind, f"more than {MAX_BYTES} bytes")
            return
        try:
            said = model.model_validate_json(payload, extra="ignore")
        except ValidationError as error:
            if (other := _other_version(kind, payload)) is None:
                self._pass_over(stream, kind, f"{error.error_count()} keys do not fit")
                return
            self._hand_out(
                model,
                stream,
                ContractError(f"{stream} publishes {other}, this client knows agfn.{kind}/1: update agfn-live"),
            )
            return
        if not self._leases.holds(stream, said.epoch, time.monotonic()):
            self._leave_out(stream, said.epoch)
        elif not isinstance(said, EventMessage) or self._is_new(said.id):
            self._hand_out(model, stream, said)

    def _hand_out(self, model: Model, stream: str, item: Sentiment | EventMessage | Health | AgfnError) -> None:
        for feed in list(self._feeds):
            if feed.wants(model, stream):
                feed.put(item)  # type: ignore[arg-type] # wants() has compared the types

    def _pass_over(self, stream: str, kind: str, why: str) -> None:
        self.refused += 1
        if self.refused == 1:
            log.warning("%s/%s: something that is no message of the contract is passed over: %s", stream, kind, why)

    def _leave_out(self, stream: str, epoch: int) -> None:
        self.fenced += 1
        if self.fenced == 1:
            log.warning("%s: what comes with epoch %d is left out: the stream has a newer holder", stream, epoch)

    def _is_new(self, event: str) -> bool:
        if event in self._events:
            return False
        self._events[event] = None
        if len(self._events) > KNOWN_EVENTS:
            self._events.popitem(last=False)
        return True


class Leases:
    """The newest epoch of each stream: what an older one says is void while the newest one speaks."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def holds(self, stream: str, epoch: int, now_s: float) -> bool:
        """Whether a message of this epoch counts, and if so, note it."""
        newest, heard_s = self._newest.get(stream, (0, now_s))
        if epoch < newest and now_s - heard_s < LEASE_S:
            return False
        self._newest[stream] = (epoch, now_s)
        self._newest.move_to_end(stream)
        if len(self._newest) > MOST_STREAMS:
            self._newest.popitem(last=False)
        return True


def _access(
    url: str,
    base: str,
    username: str | None,
    password_file: str | None,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
) -> Access:
    try:
        config = MqttConfig(
            url=url,
            base=base,
            username=username,
            password_file=password_file,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
        )
    except ValidationError as error:
        raise UsageError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None
    if config.url in {"off", "embedded"}:
        raise UsageError("a client needs an address: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    return access_of(config)


def _other_version(kind: str, payload: bytes) -> str | None:
    """Return the schema of a message of this kind in another major version, or None where it is no such message."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    schema = said.get("schema") if isinstance(said, dict) else None
    if not isinstance(schema, str) or len(schema) > 64:
        return None
    name, slash, major = schema.partition("/")
    return schema if slash and name == f"agfn.{kind}" and major.isdigit() and major != "1" else None


def _refusal(error: Exception) -> str | None:
    """Say why waiting does not help, or None where it may."""
    return distrust_of(error) or REFUSED.get(code_of(error) or 0)
