"""The embedded MQTT broker: amqtt in a thread of its own, on loopback only, MQTT 3.1.1.

It lets a newcomer subscribe at once. It knows no passwords, so it never listens on another address.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from amqtt.broker import Broker
from amqtt.errors import AMQTTError

from realtime.errors import BrokerError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_S = 10.0
SHUTDOWN_S = 0.5
MAX_CONNECTIONS = 64
PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class TidyBroker(Broker):  # type: ignore[misc] # amqtt has no types
    """amqtt's broker, which leaves the socket of a refused client open and lets its network errors escape."""

    async def stream_connected(self, reader: StreamReader, writer: StreamWriter, listener_name: str) -> None:
        """Serve a client, then close its socket whatever happened."""
        try:
            await super().stream_connected(reader, writer, listener_name)
        except OSError as error:
            log.warning("embedded broker: the connection of a client broke: %s", error)
        finally:
            writer.close()


class EmbeddedBroker:
    """A broker for this machine.

    Args:
        port: where to listen; 0, or a port that is taken, means a free one (said in the log).
    """

    def __init__(self, port: int) -> None:
        self._wanted = port
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)
        self._broker: TidyBroker | None = None

    def start(self) -> None:
        """Listen; `port` is known afterwards.

        Raises:
            BrokerError: it does not start.
        """
        _quieten()
        self.port = _choose_port(self._wanted)
        if self._wanted not in (0, self.port):
            log.warning("port %d is taken: the embedded broker listens on %s:%d", self._wanted, HOST, self.port)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(START_S)
        except (AMQTTError, OSError, FutureTimeoutError) as error:
            self.close(1.0)
            raise BrokerError(
                f"embedded broker on {HOST}:{self.port}: {error or 'no answer'}; try --set mqtt.port=0"
            ) from None

    def close(self, timeout_s: float) -> None:
        """Close all connections and end the thread; a broker that hangs is left behind (it is a daemon)."""
        if not self._thread.is_alive():
            return
        closing = asyncio.run_coroutine_threadsafe(self._shut(), self._loop)
        try:
            closing.result(timeout_s)
        except FutureTimeoutError:
            log.warning("the embedded broker did not close within %.1f s", timeout_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._loop.close()

    async def _open(self) -> None:
        listener = {"type": "tcp", "bind": f"{HOST}:{self.port}", "max_connections": MAX_CONNECTIONS}
        self._broker = TidyBroker({"listeners": {"default": listener}, "plugins": PLUGINS}, loop=self._loop)
        await self._broker.start()

    async def _shut(self) -> None:
        if self._broker is not None and self._broker.transitions.is_started():
            try:  # half a second, so that what hangs is cancelled below instead of left to the garbage collector
                await asyncio.wait_for(self._broker.shutdown(), SHUTDOWN_S)
            except asyncio.TimeoutError:
                log.warning("the embedded broker did not close its connections within %.1f s", SHUTDOWN_S)
        for _ in range(2):  # again for a client that was just being accepted
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            await asyncio.sleep(0.02)  # a closed transport closes its socket in a later round of the loop


def _choose_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            if os.name == "posix":
                # As asyncio's servers do: a port in TIME_WAIT is free. On Windows the option would steal a port in use.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BrokerError(f"no free port on {HOST}; use --mqtt off or --mqtt mqtt://HOST")


def _quieten() -> None:
    """Show warnings and errors of the broker's libraries, not every connection and packet."""
    for name in ("amqtt", "transitions", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)
