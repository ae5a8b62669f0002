"""The way to a broker for all that speaks MQTT here: a bounded client, the loop that reconnects, a thread for both.

aiomqtt does not reconnect by itself: every connection is a fresh client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, cast

from aiomqtt import Client, MqttError
from aiomqtt.exceptions import MqttCodeError, MqttConnectError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from realtime.system import backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from paho.mqtt.properties import Properties

    from realtime.publish.access import Access

log = logging.getLogger(__name__)
client_log = logging.getLogger("realtime.publish.client")
client_log.setLevel(logging.CRITICAL)  # paho and aiomqtt complain of what this module's users handle and say themselves

MAX_PACKET_BYTES = 1_048_576
"""Longer than anything of the contract: a broker that sends more is hung up on before it is read."""
TAKEN_OVER = 0x8E
ANSWER_S = 3.0
CANCEL_S = 0.3
AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Else a message after another waits until the broker's system acknowledges the first, which may take 40 ms."""
LOST = (MqttError, ValueError)
"""What a connection ends with: ValueError comes from paho, on what a broken broker sends."""
PLAINLY = {
    "unspecified error": "the connection broke",
    "keep alive timeout": "it does not answer any more",
    "connection refused": "nobody answers there",
    "operation timed out": "no answer",
}
"""paho's and the system's words for what people meet, in plainer ones."""


class BoundedClient(Client):
    """A client that hangs up on a packet longer than it will ever need, whatever the broker promised to keep to.

    Attributes:
        taken_over: whether the broker hung up because another client came under the same id (MQTT 5 tells).
    """

    def __init__(self, access: Access, **given: Any) -> None:  # noqa: ANN401 - aiomqtt's options
        options: dict[str, Any] = {"timeout": ANSWER_S, "logger": client_log, "socket_options": AT_ONCE} | given
        super().__init__(
            access.host,
            access.port,
            username=access.username,
            password=access.password,
            tls_context=access.tls,
            **options,
        )
        self._where = access.url
        self.taken_over = False
        self._receive = self._client._sock_recv  # noqa: SLF001 - paho has no limit for what comes in
        self._client._sock_recv = self._receive_bounded  # type: ignore[assignment,method-assign] # noqa: SLF001

    def hand_in(self, topic: str, payload: bytes, properties: Properties | None) -> None:
        """Publish with QoS 0 without waiting until the system has it: what is asked of the broker next comes after it.

        Raises:
            MqttError: there is no connection any more.
        """
        code = self._client.publish(topic, payload, properties=properties).rc
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            ended = self._disconnected.exception() if self._disconnected.done() else None
            raise MqttCodeError(code, "Could not publish message") from ended

    async def probe(self, topic: str) -> None:
        """Wait for a sign of life: the answer to an unsubscribe, after all that was handed in before.

        As aiomqtt's `unsubscribe`, without the task that it takes to wait: links ask once for each window.

        Raises:
            MqttError: there is no connection any more, or no answer.
        """
        code, number = self._client.unsubscribe(topic)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or number is None:
            raise MqttCodeError(code, "Could not ask for a sign of life")
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pending_unsubscribes[number] = cast("asyncio.Event", _Answer(answer))
        too_late = self._loop.call_later(self.timeout, _give_up, answer)
        try:
            await answer
        finally:
            too_late.cancel()
            self._pending_unsubscribes.pop(number, None)

    def _on_disconnect(self, *given: Any, **more: Any) -> None:  # noqa: ANN401 - paho's arguments
        """Note why the broker hung up, which aiomqtt tells only to who reads."""
        self.taken_over = any(isinstance(each, ReasonCode) and each.value == TAKEN_OVER for each in given)
        super()._on_disconnect(*given, **more)

    def _receive_bounded(self, size: int) -> bytes:
        packet = self._client._in_packet  # noqa: SLF001
        if packet["remaining_length"] > MAX_PACKET_BYTES:
            log.warning("%s: sent a packet of %d bytes; hung up", self._where, packet["remaining_length"])
            return b""  # as if the other side had hung up
        return self._receive(size)


class _Answer:
    """What aiomqtt sets when an answer has come."""

    def __init__(self, answer: asyncio.Future[None]) -> None:
        self._answer = answer

    def set(self) -> None:
        """Take it."""
        if not self._answer.done():
            self._answer.set_result(None)


def _give_up(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(MqttError("Operation timed out"))


class Connection:
    """Keeps up one connection: makes it, serves it, and makes it again with jittered backoff.

    Args:
        connect: makes a fresh client, in the loop's thread.
        serve: works with a connected client; returns when it is to end for good after `close`.
        lost: told of every failure; returns how long to wait instead of the backoff, or None.
        backoff_s: first and longest wait.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        serve: Callable[[Client], Awaitable[None]],
        lost: Callable[[Exception], float | None],
        backoff_s: tuple[float, float],
    ) -> None:
        self.closing = asyncio.Event()
        self.up = False
        self._connect, self._serve, self._lost, self._backoff_s = connect, serve, lost, backoff_s
        self._failures = 0

    def proved(self) -> None:
        """Say that the connection works: the next failure is a first one again."""
        self.up, self._failures = True, 0

    def close(self) -> None:
        """End `run` once `serve` returns. In the loop's thread."""
        self.closing.set()

    async def run(self) -> None:
        """Connect, serve, and connect again until closed."""
        while not self.closing.is_set():
            wait_s: float | None = None
            try:
                async with self._connect() as client:
                    await self._serve(client)
            except LOST as error:
                self._failures += 1
                wait_s = self._lost(error)
            finally:
                self.up = False
            if not self.closing.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), self._wait_s() if wait_s is None else wait_s)

    def _wait_s(self) -> float:
        return backoff.jittered_s(self._failures, *self._backoff_s)


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run some works until the first one ends, cancel the others, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def cause_of(error: Exception) -> str:
    """Say in words why a connection failed or ended."""
    inner = error if isinstance(error, MqttConnectError) else error.__cause__ or error
    if isinstance(inner, MqttCodeError):
        said = str(inner.rc) if isinstance(inner.rc, ReasonCode) else str(inner)
    else:
        said = str(inner)
    # numbers in brackets stand before the words
    said = re.sub(r"^\[[^]]*\] ", "", said)
    return PLAINLY.get(said.lower(), said)


def code_of(error: Exception) -> int | None:
    """The reason code of a refusal, as MQTT 5 numbers it."""
    return error.rc.value if isinstance(error, MqttConnectError) and isinstance(error.rc, ReasonCode) else None


def distrust_of(error: Exception) -> str | None:
    """Say why the broker's certificate is not trusted, or None where it is."""
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.__context__.verify_message})"
    return None


class LoopThread:
    """A daemon thread with an event loop that runs one work to its end.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        # Not the platform's default: paho's sockets need add_reader, which the proactor loop of Windows lacks.
        self.loop = asyncio.SelectorEventLoop()
        self.loop.set_default_executor(DaemonThreads())
        self.loop.set_exception_handler(_overlooked)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._work: Coroutine[Any, Any, None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin to run it."""
        self._work = work
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call something in the loop's thread, soon; nothing happens once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def run(self, work: Coroutine[Any, Any, None], timeout_s: float) -> bool:
        """Do something in the loop's thread and wait for it; False, and it is cancelled, when that takes longer."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:  # the loop has ended
            work.close()
            return False
        try:
            future.result(timeout_s)
        except (FutureTimeoutError, CancelledError):
            future.cancel()
            return False
        return True

    def is_alive(self) -> bool:
        """Whether the work goes on."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the work; False, and it is cancelled, when that takes longer."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        self.call(self._cancel_all)
        self._thread.join(CANCEL_S)
        return False

    def _run(self) -> None:
        assert self._work is not None  # noqa: S101 - start() set it
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._work)
        except asyncio.CancelledError:
            log.debug("%s was stopped in the middle of something", self._thread.name)
        finally:
            self.loop.run_until_complete(_cancel(asyncio.all_tasks(self.loop)))
            self.loop.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()


class DaemonThreads(ThreadPoolExecutor):
    """A thread per call that does not hold up the end of the program: a connect to a dead host takes seconds."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Run `fn` in a daemon thread."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the result
                future.set_exception(error)

        threading.Thread(target=run, name="mqtt-call", daemon=True).start()
        return future


def _overlooked(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody took; what aiomqtt leaves behind when a broker hangs up has been said by its user already."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, MqttError | OSError) else logging.ERROR
    log.log(level, "%s", context["message"], exc_info=error)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
