"""A fleet at the broker: takes commands, says how it is, and keeps a retained copy of its book there.

A connection of its own. The copy is what a placer that is started anew goes on from: an entry goes out at once when its
stream changes hands, and its state every few seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from aiomqtt import MqttError

from realtime.clock import utc_now
from realtime.errors import AgfnError, BrokerError, UsageError
from realtime.fleet.book import Entry, from_json, to_json
from realtime.fleet.topics import answer, read_order, root, write_order
from realtime.publish.asking import asking
from realtime.publish.connection import BoundedClient, Connection, LoopThread, cause_of, first_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomqtt import Client

    from realtime.clock import Clock
    from realtime.fleet.topics import Order
    from realtime.publish.access import Access

log = logging.getLogger(__name__)

KEEPALIVE_S = 5
BACKOFF_S = (0.25, 4.0)
STATUS_EVERY_S = 1.0
STATE_EVERY_S = 5.0
"""An entry whose stream has not changed hands goes out so often at most."""
WAITING = 20_000
"""Retained entries that may come at once."""
READ_S = 10.0
SETTLE_S = 0.2
ANSWER_S = 10.0
GOODBYE_S = 3.0


class Control:
    """The way of a fleet to the broker.

    Args:
        access: the broker.
        base: first part of the topics.
        fleet: its name.
        on_order: carries a command out, in a thread of its own; an AgfnError is the answer.
        status: says how the fleet is, as JSON.
        clock: for the pace.
    """

    def __init__(
        self,
        access: Access,
        base: str,
        fleet: str,
        on_order: Callable[[Order], None],
        status: Callable[[], dict[str, Any]],
        clock: Clock,
    ) -> None:
        self._access, self._root, self._clock = access, root(base, fleet), clock
        self._on_order, self._status = on_order, status
        self._found: dict[str, Entry] = {}
        self._read = threading.Event()
        self._refusal: str | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, bytes] = {}
        self._noted: dict[str, Entry] = {}
        self._sent: dict[str, tuple[tuple[int, str | None], int]] = {}
        self._connection = Connection(self._client, self._serve, self._lost, BACKOFF_S)
        self._thread = LoopThread("fleet-mqtt")
        self._said: str | None = None

    def start(self) -> list[Entry]:
        """Connect, and return the entries that an earlier placer has left.

        Raises:
            BrokerError: the broker can't be reached.
        """
        self._thread.start(self._connection.run())
        if not self._read.wait(READ_S):
            self.close()
            raise BrokerError(
                f"{self._access.url}: {self._said or 'nobody answers'}; a fleet needs its broker to start"
            )
        return list(self._found.values())

    def note(self, changed: Entry | str) -> None:
        """Have an entry written down, or taken out by its stream's name; never waits."""
        now_ns = self._clock.now_ns()
        with self._lock:
            if isinstance(changed, str):
                self._waiting[changed] = b""
                self._sent.pop(changed, None)
                self._noted.pop(changed, None)
                return
            self._noted[changed.name] = changed
            owner = changed.epoch, changed.host
            before = self._sent.get(changed.name)
            if before is not None and before[0] == owner and now_ns - before[1] < STATE_EVERY_S * 1e9:
                return
            self._sent[changed.name] = owner, now_ns
            self._waiting[changed.name] = to_json(changed)

    def close(self) -> None:
        """Write down what waits, and disconnect."""
        self._thread.call(self._connection.close)
        self._thread.join(GOODBYE_S)

    def _client(self) -> Client:
        return BoundedClient(self._access, keepalive=KEEPALIVE_S, max_queued_incoming_messages=WAITING)

    def _lost(self, error: Exception) -> None:
        cause = cause_of(error)
        if cause != self._said:
            self._said = cause
            log.warning("%s: the fleet is not connected: %s; trying on", self._access.url, cause)

    async def _serve(self, client: Client) -> None:
        if self._read.is_set():
            self._note_all()
        else:
            await self._read_book(client)
        await client.subscribe(f"{self._root}/command", qos=1)
        self._said = None
        self._connection.proved()
        await first_of(self._tell(client), self._listen(client))
        await self._write(client)
        nothing: dict[str, Any] = {"hosts": {}, "streams": {}, "placements": {}, "moves": []}
        await client.publish(f"{self._root}/status", _status("down", nothing), qos=1, retain=True)

    async def _read_book(self, client: Client) -> None:
        """Take the retained entries: all of them come before the answer to what is asked after them."""
        await client.subscribe(f"{self._root}/entry/+", qos=1)
        reading = asyncio.create_task(self._collect(client))
        await client.unsubscribe(f"{self._root}/probe")
        await asyncio.sleep(SETTLE_S)
        await client.unsubscribe(f"{self._root}/entry/+")
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        self._read.set()

    async def _collect(self, client: Client) -> None:
        async for message in client.messages:
            name = message.topic.value.rpartition("/")[2]
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if not payload:
                continue
            try:
                entry = from_json(payload)
            except ValueError as error:
                log.warning("%s: what is retained for %s is passed over: %s", self._access.url, name[:64], error)
                continue
            if entry.name == name:
                self._found[name] = entry

    def _note_all(self) -> None:
        """Have the whole book written down again: a broker that was started anew may have lost its copy."""
        with self._lock:
            self._waiting = {name: to_json(entry) for name, entry in self._noted.items()} | self._waiting

    async def _tell(self, client: Client) -> None:
        status_ns = 0
        while not self._connection.closing.is_set():
            await self._write(client)
            if (now_ns := self._clock.now_ns()) - status_ns >= STATUS_EVERY_S * 1e9:
                status_ns = now_ns
                body = _status("up", self._status())
                await client.publish(f"{self._root}/status", body, qos=0, retain=True)
            await asyncio.sleep(0.05)

    async def _write(self, client: Client) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                name = next(iter(self._waiting))
                payload = self._waiting.pop(name)
            try:
                await client.publish(f"{self._root}/entry/{name}", payload, qos=1, retain=True)
            except MqttError:
                with self._lock:
                    self._waiting.setdefault(name, payload)
                raise

    async def _listen(self, client: Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if message.retain or message.topic.value != f"{self._root}/command":
                continue
            try:
                order = read_order(payload)
            except UsageError as error:
                log.warning("%s: %s", self._access.url, error)
                continue
            error_text = await asyncio.get_running_loop().run_in_executor(None, self._obey, order)
            await client.publish(f"{self._root}/answer/{order.id}", answer(error_text), qos=1)

    def _obey(self, order: Order) -> str | None:
        log.info("fleet: %s %s", order.command, order.name or order.host or (order.stream or {}).get("name", ""))
        try:
            self._on_order(order)
        except AgfnError as error:
            return str(error)
        return None


def _status(state: str, body: dict[str, Any]) -> bytes:
    utc = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"schema": "agfn.fleet.status/1", "state": state, "utc": utc, **body}).encode()


async def give_order(access: Access, base: str, fleet: str, order: Order) -> None:
    """Send a command to a fleet and wait for its answer.

    Raises:
        BrokerError: the broker or the fleet does not answer.
        UsageError: the fleet refuses.
    """
    at = root(base, fleet)
    question = f"{at}/command", write_order(order)
    silence = f"no fleet {fleet} answers; is it up?"
    async with asking(access, f"{at}/answer/{order.id}", question, silence) as client:
        said = await asyncio.wait_for(_first(client), ANSWER_S)
    if said.get("ok") is not True:
        raise UsageError(str(said.get("error")))


async def ask_status(access: Access, base: str, fleet: str) -> dict[str, Any]:
    """Return what a fleet last said of itself.

    Raises:
        BrokerError: the broker does not answer, or nothing is known of the fleet.
    """
    silence = f"nothing is known of a fleet {fleet}; is it up?"
    async with asking(access, f"{root(base, fleet)}/status", None, silence) as client:
        return await asyncio.wait_for(_first(client), ANSWER_S)


async def _first(client: Client) -> dict[str, Any]:
    """Return the first message that holds a JSON object."""
    async for message in client.messages:
        said = json.loads(message.payload if isinstance(message.payload, bytes) else b"null")
        if isinstance(said, dict):
            return said
    raise ValueError("the broker hung up")
