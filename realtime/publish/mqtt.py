"""The MQTT sink: a thread with an event loop of its own, in which every stream has its link to the broker.

The rest of the program hands messages over without waiting and never sees the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiomqtt import MqttError

from realtime.clock import MonotonicClock
from realtime.errors import BrokerError
from realtime.publish.access import Access, access_of
from realtime.publish.broker import HOST, EmbeddedBroker
from realtime.publish.commands import Commands
from realtime.publish.link import Link
from realtime.runtime.channel import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.clock import Clock
    from realtime.config.schema import MqttConfig
    from realtime.publish.messages import Command, EventMessage, Health, PublisherHealth, Sentiment

log = logging.getLogger(__name__)

BROKER_CLOSE_S = 1.0
CANCEL_S = 0.3


class MqttPublisher:
    """Publishes the messages of some streams and takes their commands.

    Args:
        config: where the broker is; `embedded` starts one. Not `off`.
        streams: names of the streams.
        on_command: called with a stream's name and a command, in a thread of its own; may block.
        clock: for ages and rates.

    Raises:
        UsageError: the address or a file of the configuration is wrong.
    """

    def __init__(
        self,
        config: MqttConfig,
        streams: Iterable[str],
        on_command: Callable[[str, Command], None],
        clock: Clock | None = None,
    ) -> None:
        self._config, self._streams, self._on_command = config, tuple(streams), on_command
        self._clock = clock or MonotonicClock()
        self._broker = EmbeddedBroker(config.port) if config.url == "embedded" else None
        self._access = Access(HOST, config.port, speaks_v5=False) if self._broker else access_of(config)
        if self._access.shows_password:
            log.warning("%s: the password crosses the network for all to read; use mqtts://", self._access.url)
        self._links: dict[str, Link] = {}
        self._commands: list[Commands] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._settled = threading.Event()
        self._refusal: str | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """The broker's address, without user and password."""
        return self._access.url

    def start(self) -> None:
        """Start the embedded broker, if it is one, and begin to connect; does not wait for an external broker.

        Raises:
            BrokerError: the embedded broker does not start.
        """
        if self._broker is not None:
            self._broker.start()
            self._access = Access(HOST, self._broker.port, speaks_v5=False)
        # Not the platform's default: paho's sockets need add_reader, which the proactor loop of Windows lacks.
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_default_executor(DaemonThreads())
        self._loop.set_exception_handler(_overlooked)
        for stream in self._streams:
            commands = Commands(stream, self._on_command, self._clock)
            self._commands.append(commands)
            self._links[stream] = Link(
                self._access,
                self._config.base,
                stream,
                self._config.keepalive_s,
                commands,
                self._clock,
                self._changed,
            )
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until all streams are connected; False when that takes longer (it goes on trying).

        Raises:
            BrokerError: the broker refuses for a reason that waiting does not mend.
        """
        self._settled.wait(timeout_s)
        if self._refusal is not None:
            raise BrokerError(self._refusal)
        return self._settled.is_set()

    def send(self, message: Sentiment | Health | EventMessage) -> None:
        """Hand over a sentiment, a health or an event message; never waits. Ignored once closed."""
        if self._loop is None or self._stopping:
            return
        link = self._links[message.stream]
        # Closed between the check and here: the message has nowhere to go any more.
        with contextlib.suppress(ClosedError, RuntimeError):
            link.put(message)
            self._loop.call_soon_threadsafe(link.wake.set)

    def stats(self, stream: str) -> PublisherHealth:
        """Return the counts of a stream's connection."""
        return self._links[stream].stats()

    def close(self, timeout_s: float = 1.0) -> None:
        """Send what waits, say `offline`, disconnect; what takes longer is given up."""
        if self._loop is None or self._stopping:
            return
        self._stopping = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._close_links)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s: no goodbye within %.1f s", self.url, timeout_s)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel_all)
            self._thread.join(CANCEL_S)
        if self._broker is not None:
            self._broker.close(BROKER_CLOSE_S)

    def _run(self) -> None:
        assert self._loop is not None  # noqa: S101 - start() made it
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except asyncio.CancelledError:
            log.debug("the publisher was stopped in the middle of something")
        finally:
            self._loop.run_until_complete(_cancel(asyncio.all_tasks(self._loop)))
            self._loop.close()

    async def _serve(self) -> None:
        inboxes = [asyncio.create_task(commands.run()) for commands in self._commands]
        try:
            await asyncio.gather(*(link.run() for link in self._links.values()))
        finally:
            for inbox in inboxes:
                inbox.cancel()

    def _close_links(self) -> None:
        for link in self._links.values():
            link.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _changed(self, refusal: str | None) -> None:
        """Take note that a link has connected, or was refused before it ever did."""
        if refusal is not None:
            self._refusal = refusal
        elif not all(link.connects for link in self._links.values()):
            return
        else:
            self._refusal = None
        self._settled.set()


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
    """Log what nobody took; what aiomqtt leaves behind when a broker hangs up has been said by the link already."""
    error = context.get("exception")
    level = logging.DEBUG if isinstance(error, MqttError | OSError) else logging.ERROR
    log.log(level, "%s", context["message"], exc_info=error)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
