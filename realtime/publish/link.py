"""One stream's connection to the broker, made again for ever. Runs in the publisher's event loop.

- One client per stream: a connection has one last will, so `<base>/<stream>/status` of every stream is truthful.
- The client id stays the same over reconnects: the broker then ends the old session, and publishes its will, before
  the new one says `online`. It is not the same for two programs: with one id for both, each would throw the other out.
- That is what is wanted of a stream with a lease (epoch 1 and more), which is given from one program to another: on a
  broker of MQTT 5 its id is always the same, so that the broker cuts off the old holder at once, and its will waits, so
  that nobody reads `offline` in between. Whose connection is lost looks who speaks now, before it takes the place
  again: a lease as new as its own, and it stops for good; nobody, or an older one, as of a program that stood still and
  is back, and it goes on.
- `offline` on the own status topic, while this link is up, is somebody else's (an old session's will, a twin that has
  gone): it is put right at once. Another program's health under this name is counted and warned of.
- QoS 0 has no answer, and a frozen broker hands out late what its socket had taken. So nothing more is sent until the
  broker has answered a probe (an unsubscribe of a topic that nobody has): at most one batch can get stuck.
- QoS 1 delivers twice when the answer to a publish is lost. So an event leaves only when the broker has just answered
  a probe, one at a time, and goes out again only if its own answer did not come; its id tells a subscriber.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from aiomqtt import Client, ProtocolVersion, Will
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from realtime.publish.connection import LOST, BoundedClient, Connection, cause_of, code_of, distrust_of, first_of
from realtime.publish.messages import ChannelHealth, PublisherHealth, Status, topic
from realtime.publish.twins import Twins, epoch_of
from realtime.runtime.channel import Channel, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomqtt import Message as Received

    from realtime.clock import Clock
    from realtime.publish.access import Access
    from realtime.publish.commands import Commands
    from realtime.publish.messages import Kind, Message

log = logging.getLogger(__name__)

FRESH_S = 2.0
"""Older sentiment and health is not worth sending."""
FRESH_WAITING = 64
EVENTS_WAITING = 1000
ANSWER_S = 3.0
BACKOFF_S = (0.25, 2.0)
REFUSED_BACKOFF_S = 30.0
LOOK_S = 1.5
"""Who was thrown out listens for so long to who speaks now: health comes once a second."""
WILL_DELAY_S = 10
"""A stream with a lease is called offline when nobody has taken it over for so long."""
MAX_PACKET_BYTES = 8192
INCOMING = 64
SETTLE_S = 0.05
"""From a message's arrival to its way through the client's queue, with room."""
UNSUPPORTED_PROTOCOL = 132
REFUSALS = {133: "client id refused", 134: "wrong user name or password", 135: "not authorised", 138: "banned"}


class _Json(Properties):
    """What MQTT 5 says of a payload, which 3.1.1 can't; looked up and written out once, not for each message."""

    _packed: bytes

    def __init__(self, **more: int) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in {"ContentType": "application/json", "PayloadFormatIndicator": 1, **more}.items():
            setattr(self, name, value)
        object.__setattr__(self, "_packed", super().pack())  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        """Return the bytes that go over."""
        return self._packed


FRESH, EVENT = _Json(MessageExpiryInterval=int(FRESH_S)), _Json()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way: `t_ns` is when it was handed in."""

    t_ns: int
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to speak for a stream, with the number that tells the newest; `lost` is told why it is over."""

    epoch: int
    lost: Callable[[str], None]


class Link:
    """The way of one stream's messages to the broker.

    Args:
        access: the broker.
        base: first part of every topic.
        stream: its name.
        keepalive_s: MQTT keep-alive.
        commands: inbox of the stream.
        clock: for the age of what waits.
        on_change: called when it connects, and when it is refused for good with the reason.
        lease: of the stream; None where nobody gives any.

    Attributes:
        fenced: why it has stopped for good; None while it has not.
    """

    def __init__(
        self,
        access: Access,
        base: str,
        stream: str,
        keepalive_s: int,
        commands: Commands,
        clock: Clock,
        on_change: Callable[[str | None], None],
        lease: Lease | None = None,
    ) -> None:
        self.wake = asyncio.Event()
        self.connects = 0
        self.refusal: str | None = None
        self._access, self._base, self._stream, self._keepalive_s = access, base, stream, keepalive_s
        self._commands, self._clock, self._on_change = commands, clock, on_change
        self._lease, self.fenced = lease, cast("str | None", None)
        self._twins = Twins(access.url, stream, clock, lease.epoch if lease else 0)
        self._connection = Connection(self._client, self._serve, self._note, BACKOFF_S)
        self._live: BoundedClient | None = None
        self._kept: bytes | None = None
        self._fresh: Channel[Parcel] = Channel(Policy.DROP_OLDEST, FRESH_WAITING)
        self._events: Channel[Parcel] = Channel(Policy.DROP_OLDEST, EVENTS_WAITING)
        self._in_hand: Parcel | None = None
        self._name = f"{base.replace('/', '_')}-{stream.replace('.', '_')}"
        self._client_id = self._random_id()
        self._connected: BoundedClient | None = None
        self._looks = False
        """Whether it may have been thrown out, and is to look who speaks now."""
        self._lost_ns: int | None = None
        self._sent = self._stale = self._events_sent = 0

    def put_fresh(self, kind: Kind, message: Message) -> None:
        """Hand in a message that is of use for FRESH_S only, from any thread; never waits.

        Raises:
            ClosedError: after `close`.
        """
        self._fresh.push(Parcel(self._clock.now_ns(), kind, message.payload()))

    def put_event(self, message: Message) -> None:
        """Hand in a message that is kept until the broker has it, from any thread; never waits.

        Raises:
            ClosedError: after `close`.
        """
        self._events.push(Parcel(self._clock.now_ns(), "event", message.payload()))

    def stats(self) -> PublisherHealth:
        """Return the counts of this moment; from any thread."""
        queue, events = self._fresh.stats(), self._events.stats()
        return PublisherHealth(
            connected=self._connection.up,
            connects=self.connects,
            sent=self._sent,
            stale=self._stale,
            queue=ChannelHealth(pushed=queue.pushed, popped=queue.popped, dropped=queue.dropped, pending=queue.pending),
            events_sent=self._events_sent,
            events_pending=events.pending + (self._in_hand is not None),
            events_dropped=events.dropped,
            commands=self._commands.accepted,
            commands_refused=self._commands.refused,
            foreign=self._twins.foreign,
        )

    @property
    def dropped(self) -> int:
        """Messages that did not go out, because they were too old or too many; from any thread."""
        return self._stale + self._fresh.stats().dropped + self._events.stats().dropped

    def close(self) -> None:
        """Send what waits, say goodbye, and end `run`. In the loop's thread."""
        self._fresh.close()
        self._events.close()
        self._connection.close()
        self.wake.set()

    async def run(self) -> None:
        """Connect, serve, and connect again until closed."""
        inbox = asyncio.create_task(self._commands.run(self._is_kept))
        try:
            await self._connection.run()
        finally:
            inbox.cancel()

    def _random_id(self) -> str:
        return f"agfn-{self._stream.replace('.', '_')}-{uuid.uuid4().hex[:8]}"

    def _client(self) -> Client:
        v5 = self._access.speaks_v5
        stable = self._lease is not None and v5 and not self._looks
        more: dict[str, Any] = {"MaximumPacketSize": MAX_PACKET_BYTES} if v5 else {}
        if stable:
            # The broker keeps the session as long as the will waits, and ends neither when the heir comes.
            more["SessionExpiryInterval"] = WILL_DELAY_S
        self._connected = BoundedClient(
            self._access,
            identifier=f"agfn-{self._name}" if stable else self._random_id() if self._looks else self._client_id,
            protocol=ProtocolVersion.V5 if v5 else ProtocolVersion.V311,
            will=None if self._looks else self._will(waits=stable),
            keepalive=self._keepalive_s,
            timeout=ANSWER_S,
            properties=_properties(PacketTypes.CONNECT, **more) if v5 else None,
            max_queued_incoming_messages=INCOMING,
            **({"clean_start": False} if stable else {}),
        )
        return self._connected

    def _will(self, *, waits: bool) -> Will:
        later = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S) if waits else None
        return Will(self._topic("status"), Status("offline").payload(), qos=1, retain=True, properties=later)

    async def _serve(self, client: Client) -> None:
        if self._looks:
            await self._look(client)
            return
        self._kept = None
        assert isinstance(client, BoundedClient)  # noqa: S101 - `_client` makes no other
        await self._subscribe(client)
        await self._say_online(client)
        self._greet()
        self._live = client
        await first_of(self._send(client), self._receive(client))
        if self.fenced is None:
            await client.publish(self._topic("status"), Status("offline").payload(), qos=1, retain=True)

    async def _look(self, client: Client) -> None:
        """Stop for good if who speaks now has a lease as new as ours; else the place is taken again."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._hear_holder(client), LOOK_S)
        self._looks = False

    async def _hear_holder(self, client: Client) -> None:
        assert self._lease is not None  # noqa: S101 - without one nobody looks
        await self._ask_for(client, "health", "sentiment")
        async for message in client.messages:
            epoch = epoch_of(message.payload) if isinstance(message.payload, bytes) else None
            if epoch is not None:
                if epoch >= self._lease.epoch:
                    self._fence(f"another program has it, with epoch {epoch}; this one had {self._lease.epoch}")
                return

    def _fence(self, why: str) -> None:
        """Stop for good."""
        self.fenced = why
        log.error("%s: stream %s was taken over: %s; nothing more is published", self._access.url, self._stream, why)
        self._looks = False
        self.close()
        if self._lease is not None:
            self._lease.lost(why)

    async def _say_online(self, client: Client) -> None:
        await client.publish(self._topic("status"), Status("online").payload(), qos=1, retain=True)

    async def _subscribe(self, client: Client) -> None:
        may_command, *may_watch = await self._ask_for(client, "command", "status", "health")
        if not may_command:
            log.warning("%s: no permission to read %s: no commands", self._access.url, self._topic("command"))
        if not all(may_watch):
            log.debug("%s: no permission to read status and health: a twin stays unnoticed", self._access.url)

    async def _ask_for(self, client: Client, *kinds: Kind) -> list[bool]:
        """Subscribe to topics of this stream, in one packet; False for each that the broker refuses."""
        qos = {kind: 1 if kind == "command" else 0 for kind in kinds}
        if self._access.speaks_v5:
            # Leave out what we sent, and say of a command whether it is kept for those who come later.
            options = [
                (
                    self._topic(kind),
                    SubscribeOptions(qos=qos[kind], noLocal=not qos[kind], retainAsPublished=bool(qos[kind])),
                )
                for kind in kinds
            ]
            answers: Any = await client.subscribe(options)
        else:
            answers = await client.subscribe([(self._topic(kind), qos[kind]) for kind in kinds])
        return [not (answer.is_failure if isinstance(answer, ReasonCode) else answer >= 128) for answer in answers]

    async def _receive(self, client: Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if message.topic.value == self._topic("command"):
                self._take_command(message, payload)
            elif message.topic.value == self._topic("health"):
                if (newer := self._twins.heard(payload)) is not None:
                    self._fence(f"another program has it, with the newer epoch {newer}")
                    return
            elif payload == Status("offline").payload() and not message.retain:
                log.info("%s: stream %s was called offline by somebody else; put right", self._access.url, self._stream)
                await self._say_online(client)

    def _take_command(self, message: Received, payload: bytes) -> None:
        if not payload:
            self._kept = None  # how what is retained is cleared
        if message.retain and not self._access.speaks_v5:
            if self._kept == payload:
                return  # said already; only asked for again by _is_kept
            self._kept = payload
        self._commands.take(payload, retained=message.retain)

    async def _is_kept(self, payload: bytes) -> bool:
        """Whether the command that has just come is retained, which MQTT 3.1.1 hides from who has subscribed already.

        To subscribe again brings what is retained, marked as such, before the answer to the next question. Something
        else that is kept there, such as the last will of a stranger, doesn't stop a command.
        """
        if self._access.speaks_v5 or self._live is None:
            return False
        known = self._kept
        try:
            await self._ask_for(self._live, "command")
            await self._probe(self._live)
            await asyncio.sleep(SETTLE_S)
        except LOST:
            return False
        return self._kept == payload != known

    async def _send(self, client: BoundedClient) -> None:
        while True:
            self.wake.clear()
            more = True
            while more:
                more = await self._send_fresh(client)
                more = await self._send_event(client) or more
            if self._connection.closing.is_set():
                return
            await self.wake.wait()

    async def _send_fresh(self, client: BoundedClient) -> bool:
        """Send all sentiment and health that is still worth it; True if anything went out."""
        oldest_ns = self._clock.now_ns() - int(FRESH_S * 1e9)
        parcels = _take_all(self._fresh)
        fresh = [parcel for parcel in parcels if parcel.t_ns >= oldest_ns]
        self._stale += len(parcels) - len(fresh)
        about = FRESH if self._access.speaks_v5 else None
        for parcel in fresh:
            if parcel.kind == "health":
                self._twins.sent(parcel.payload)
            # All of them and the probe go out in one turn of the loop: the answer to the probe is theirs, too.
            client.hand_in(self._topic(parcel.kind), parcel.payload, about)
            self._sent += 1
        if fresh:
            await self._probe(client)
        return bool(fresh)

    async def _send_event(self, client: BoundedClient) -> bool:
        """Send the oldest event, if there is one, and keep it in hand until the broker has it."""
        if self._in_hand is None:
            self._in_hand = _take(self._events)
        if self._in_hand is None:
            return False
        await self._probe(client)
        about = EVENT if self._access.speaks_v5 else None
        await client.publish(self._topic("event"), self._in_hand.payload, qos=1, properties=about)
        self._in_hand = None
        self._events_sent += 1
        return True

    async def _probe(self, client: BoundedClient) -> None:
        """Wait for a sign of life."""
        await client.probe(f"{self._base}/{self._stream}/probe")

    def _greet(self) -> None:
        if self._lost_ns is not None:
            away_s = (self._clock.now_ns() - self._lost_ns) / 1e9
            log.info("%s: stream %s is connected again after %.1f s", self._access.url, self._stream, away_s)
        self._lost_ns = self.refusal = None
        self._connection.proved()
        self.connects += 1
        self._on_change(None)

    def _note(self, error: Exception) -> float | None:
        """Say what happened, once for each outage, and how long to wait where it is not the usual time."""
        if self._lease is not None and self._access.speaks_v5 and self.connects:
            self._looks = True  # older brokers (mosquitto before 2.0.15) throw out without a word
            if self._connected is not None and self._connected.taken_over:
                log.warning("%s: stream %s: another client has taken its place", self._access.url, self._stream)
                return 0.0
        code, never = code_of(error), self.connects == 0
        if never and self._access.speaks_v5 and code == UNSUPPORTED_PROTOCOL:
            self._access = replace(self._access, speaks_v5=False)
            return 0.0
        if never and isinstance(error.__context__, asyncio.TimeoutError):
            # Some brokers of 3.1.1 do not answer MQTT 5 at all: try the versions by turns.
            self._access = replace(self._access, speaks_v5=not self._access.speaks_v5)
        self.refusal = _refusal(error, code)
        if self._lost_ns is None:
            self._lost_ns = self._clock.now_ns()
            cause = self.refusal or cause_of(error)
            log.warning("%s: stream %s is not connected: %s; trying on", self._access.url, self._stream, cause)
        if never and self.refusal:
            self._on_change(f"{self._access.url}: {self.refusal}")
            return REFUSED_BACKOFF_S
        return None

    def _topic(self, kind: Kind) -> str:
        return topic(self._base, self._stream, kind)


def _properties(packet_type: int, **values: int | str) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _refusal(error: Exception, code: int | None) -> str | None:
    """Say why waiting does not help, or None where it may."""
    if (distrust := distrust_of(error)) is not None:
        return f"{distrust}; see mqtt.ca_file"
    if isinstance(error.__context__, ssl.SSLError):
        return f"no TLS connection ({error.__context__.reason}); is this the TLS port?"
    if code in REFUSALS:
        return f"{REFUSALS[code]}; see mqtt.username and AGFN_MQTT_PASSWORD or mqtt.password_file"
    return None


def _take(channel: Channel[Parcel]) -> Parcel | None:
    return channel.pop() if channel.pending else None


def _take_all(channel: Channel[Parcel]) -> list[Parcel]:
    return channel.pop_all() if channel.pending else []
