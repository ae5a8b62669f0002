"""Requests that come over MQTT: `<base>/_control` in, one answer each on `<base>/_control/answer`.

Only who knows the token can make a request (messages.py); the rest is counted and passed over without an answer. A
request works once: its id is remembered for as long as it would be fresh.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

from realtime.clock import utc_now
from realtime.control.messages import FRESH, ID, Answer, ForeignError, StaleError, parse_request, seal, unseal
from realtime.errors import UsageError
from realtime.publish.connection import BoundedClient, Connection, LoopThread, cause_of, first_of
from realtime.system.logs import printable

if TYPE_CHECKING:
    from aiomqtt import Client

    from realtime.control.messages import Request
    from realtime.control.service import Control
    from realtime.publish.access import Access

log = logging.getLogger(__name__)

KEEPALIVE_S = 5
BACKOFF_S = (0.5, 8.0)
WAITING = 8
"""Requests that may wait; more are told to come again."""
GOODBYE_S = 1.0
LOG_EVERY_S = 10.0
MOST_SEEN = 4096


def control_topic(base: str) -> str:
    """Where requests go."""
    return f"{base}/_control"


def answer_topic(base: str) -> str:
    """Where answers come from."""
    return f"{base}/_control/answer"


class ControlLink:
    """Takes requests from the broker until closed, in a thread of its own.

    Args:
        control: does what is asked.
        access: the broker.
        base: first part of the topics.
        key: the token.

    Attributes:
        foreign: requests of somebody without the token.
    """

    def __init__(self, control: Control, access: Access, base: str, key: str) -> None:
        self.foreign = 0
        self._control, self._access, self._base, self._key = control, access, base, key
        self._seen: dict[str, float] = {}
        self._requests: asyncio.Queue[Request] = asyncio.Queue(WAITING)
        self._answers: asyncio.Queue[Answer] = asyncio.Queue(4 * WAITING)
        self._log_due_s = 0.0
        self._said: str | None = None
        self._connection = Connection(self._client, self._serve, self._lost, BACKOFF_S)
        self._thread = LoopThread("control")
        self._thread.start(self._run())

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection.up

    def close(self) -> None:
        """Hang up."""
        self._thread.call(self._connection.close)
        self._thread.join(GOODBYE_S)

    async def _run(self) -> None:
        work = asyncio.create_task(self._work())
        try:
            await self._connection.run()
        finally:
            work.cancel()

    def _client(self) -> Client:
        return BoundedClient(self._access, keepalive=KEEPALIVE_S, max_queued_incoming_messages=4 * WAITING)

    async def _serve(self, client: Client) -> None:
        await client.subscribe(control_topic(self._base), qos=1)
        self._connection.proved()
        self._said = None
        await first_of(self._listen(client), self._tell(client), self._end())

    async def _end(self) -> None:
        await self._connection.closing.wait()

    async def _listen(self, client: Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            if payload:
                self._take(payload, retained=message.retain)

    async def _tell(self, client: Client) -> None:
        while True:
            answer = await self._answers.get()
            await client.publish(answer_topic(self._base), seal(answer.to_json(), self._key, "answer"), qos=1)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            request = await self._requests.get()
            self._say(await loop.run_in_executor(None, self._control.do, request))

    def _take(self, payload: bytes, *, retained: bool) -> None:
        try:
            text = unseal(payload, self._key, "request", utc_now())
            request = parse_request(text)
            if request.host not in {None, self._control.host}:
                return
            self._check_new(request.id, retained=retained)
            self._requests.put_nowait(request)
        except ForeignError as error:
            self.foreign += 1
            self._warn(f"a request is passed over: {error}")
        except StaleError as error:
            self._refuse(_id_of(error.said), str(error))
        except asyncio.QueueFull:
            self._refuse(request.id, f"{WAITING} requests wait already; try again")
        except UsageError as error:
            self._refuse(_id_of(text), str(error))

    def _check_new(self, request: str, *, retained: bool) -> None:
        if retained:
            raise UsageError("a retained request is refused: it would be obeyed at every start; clear it")
        now_s = time.monotonic()
        self._seen = {seen: until_s for seen, until_s in self._seen.items() if until_s > now_s}
        if request in self._seen:
            raise UsageError("this request was answered already")
        if len(self._seen) >= MOST_SEEN:
            raise UsageError("too many requests; try again in a minute")
        self._seen[request] = now_s + 2 * FRESH.total_seconds()

    def _refuse(self, request: str, why: str) -> None:
        self._warn(f"a request was refused: {why}")
        self._say(Answer(id=request, host=self._control.host, error=printable(why)))

    def _say(self, answer: Answer) -> None:
        if self._answers.full():
            self._answers.get_nowait()
        self._answers.put_nowait(answer)

    def _warn(self, what: str) -> None:
        """Say it, but let nobody fill the log with it."""
        now_s = time.monotonic()
        if now_s >= self._log_due_s:
            self._log_due_s = now_s + LOG_EVERY_S
            log.warning("streams: %s (%d without the token so far)", printable(what), self.foreign)

    def _lost(self, error: Exception) -> None:
        cause = cause_of(error)
        if cause != self._said:
            self._said = cause
            log.warning("streams: %s: %s; trying on", self._access.url, cause)


def _id_of(text: str) -> str:
    """The id of a request that is refused for something else in it; empty where that can't be told."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    found = said.get("id") if isinstance(said, dict) else None
    return found if isinstance(found, str) and ID.fullmatch(found) else ""
