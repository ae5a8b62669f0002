"""The dashboard's server: the page over HTTP and, on the same port, a websocket that leads to the embedded broker.

One port, so that the page's own origin is the only one that may open the websocket. The bytes of the websocket are
handed to the broker's TCP port as they are: the broker stays the only one that reads MQTT.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import os
import socket
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from websockets.asyncio.server import Server, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.typing import Subprotocol

from realtime.dashboard.readonly import ForbiddenError, ReadOnly
from realtime.dashboard.site import Answer, Site
from realtime.errors import UsageError
from realtime.system.guard import Guard
from realtime.system.loopback import HOST

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request

log = logging.getLogger(__name__)

REFUSALS_EVERY_S = 10.0

WEBSOCKET, CONTROL = "/mqtt", "/control"
CONTROL_PROTOCOL = "agfn-control"
TOKEN = "token."  # noqa: S105 - what a token begins with among the protocols of a websocket
EVERYWHERE = {"0.0.0.0", "::", ""}  # noqa: S104 - looked for, not listened on
OPEN = Guard()
MAX_MESSAGE_BYTES = 16_384
"""A page sends commands and answers; what comes from the broker is not limited by this."""
BLOCK_BYTES = 16_384
MAX_CLIENTS = 32
START_S = 5.0
CLOSE_S = 1.0
"""A page is given so long to say goodbye."""
CLOSED_S = 3.0


class Dashboard:
    """Serves until closed, in a thread of its own.

    Args:
        port: where to listen; 0 takes a free one.
        base: first part of the topics.
        bridge: host and port of the broker that the websocket leads to; None for no websocket.
        broker: address that the page connects to instead.
        guard: where it listens, and who is let in; loopback and everybody there by default.
        control: answers a request about the streams, JSON both; may block. Only a page with the token reaches it.

    Raises:
        UsageError: the port can't be had, or the certificate is none.
        ModelError: the MQTT library of the page is missing or damaged.
    """

    def __init__(
        self,
        port: int,
        base: str,
        bridge: tuple[str, int] | None,
        broker: str | None,
        guard: Guard = OPEN,
        control: Callable[[str], str] | None = None,
    ) -> None:
        self._control = control if guard.token is not None else None
        self._site, self._guard = Site(base, broker, guard, control=self._control is not None), guard
        self._tls = guard.tls()
        self._bridge = bridge
        self._clients = self._refused = 0
        self._refusals_due_s = 0.0
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="dashboard", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(port), self._loop).result(START_S)
        except OSError as error:
            self.close()
            why = os.strerror(error.errno) if error.errno else error  # asyncio's own words are a long sentence
            where = f"{port}" if guard.host == HOST else f"{guard.host}:{port}"
            raise UsageError(f"--dashboard {where}: {why}; choose another port, or 0 for a free one") from None
        log.info("the dashboard is on %s", self.url)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(next(iter(self._server.sockets)).getsockname()[1]) if self._server else 0

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = socket.gethostname() if self._guard.host in EVERYWHERE else self._guard.host
        return f"{self._guard.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def close(self) -> None:
        """Hang up on everybody and end."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(FutureTimeoutError):
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(CLOSED_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _open(self, port: int) -> None:
        logging.getLogger("websockets").setLevel(logging.WARNING)
        self._server = await serve(
            self._serve_websocket,
            self._guard.host,
            port,
            ssl=self._tls,
            process_request=self._process,
            subprotocols=[Subprotocol("mqtt"), Subprotocol(CONTROL_PROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            server_header=None,
            close_timeout=CLOSE_S,
            logger=_quiet,
        )

    async def _shut(self) -> None:
        """Say goodbye, and cut off who does not answer: over TLS a browser may take its time."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), CLOSE_S)
            for connection in list(self._server.connections):
                connection.transport.abort()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _process(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no websocket; let the own page, and nobody else, open one."""
        asked, origin = _only(request, "Host"), _only(request, "Origin")
        controls = request.path == CONTROL and self._control is not None
        if not controls and (request.path != WEBSOCKET or self._bridge is None):
            return _response(self._site.answer(request.path, asked, _only(request, "Authorization")))
        if not self._guard.own_page(origin, asked):
            self._note_refusal("of another origin")
            return _response(_refused("only the dashboard's own page may connect", http.HTTPStatus.FORBIDDEN))
        role = self._guard.role(_token(request))
        if role is None or (controls and role != "control"):
            self._note_refusal("without the token")
            return _response(_refused("the page's token is missing or wrong", http.HTTPStatus.UNAUTHORIZED))
        if self._clients >= MAX_CLIENTS:
            return _response(_refused("too many pages are open", http.HTTPStatus.SERVICE_UNAVAILABLE))
        return None

    def _note_refusal(self, why: str) -> None:
        """Say it, but let no page fill the log with it."""
        self._refused += 1
        now_s = time.monotonic()
        if now_s >= self._refusals_due_s:
            log.warning("dashboard: %d connection(s) refused, the last one %s", self._refused, why)
            self._refused, self._refusals_due_s = 0, now_s + REFUSALS_EVERY_S

    async def _serve_control(self, page: ServerConnection, control: Callable[[str], str]) -> None:
        """Answer a page's requests, one after the other."""
        with contextlib.suppress(ConnectionClosed):
            async for message in page:
                if isinstance(message, bytes):
                    return
                await page.send(await self._loop.run_in_executor(None, control, message))

    async def _serve_websocket(self, page: ServerConnection) -> None:
        if page.request is not None and page.request.path == CONTROL and self._control is not None:
            self._clients += 1
            try:
                await self._serve_control(page, self._control)
            finally:
                self._clients -= 1
            return
        assert self._bridge is not None  # noqa: S101 - _process lets nobody in without
        self._clients += 1
        try:
            reader, writer = await asyncio.open_connection(*self._bridge)
        except OSError as error:
            log.debug("dashboard: the broker does not answer: %s", error)
            await page.close(1013, "the broker does not answer")
            return
        else:
            watches = page.request is not None and self._guard.role(_token(page.request)) == "watch"
            await _join(page, reader, writer, ReadOnly() if watches else None)
        finally:
            self._clients -= 1


async def _join(page: ServerConnection, reader: StreamReader, writer: StreamWriter, only: ReadOnly | None) -> None:
    """Pass bytes on both ways until one side ends."""
    ways = [asyncio.create_task(_to_broker(page, writer, only)), asyncio.create_task(_to_page(reader, page))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await page.close()


async def _to_broker(page: ServerConnection, writer: StreamWriter, only: ReadOnly | None) -> None:
    with contextlib.suppress(ConnectionClosed, OSError, ForbiddenError):
        async for message in page:
            if isinstance(message, str):
                return  # MQTT over websockets is binary
            writer.write(message if only is None else only.feed(message))
            await writer.drain()


async def _to_page(reader: StreamReader, page: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while block := await reader.read(BLOCK_BYTES):
            await page.send(block)


def _only(request: Request, name: str) -> str | None:
    """The value of a header that is there exactly once."""
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else None


def _token(request: Request) -> str | None:
    """The token in a websocket's request: a page can set no header but that of the protocols it speaks."""
    spoken = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return next((each.strip().removeprefix(TOKEN) for each in spoken if each.strip().startswith(TOKEN)), None)


def _refused(why: str, status: http.HTTPStatus) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8"}, f"{why}\n".encode())


def _response(answer: Answer) -> Response:
    length = {"Content-Length": str(len(answer.body)), "Connection": "close"}
    return Response(answer.status.value, answer.status.phrase, Headers({**answer.headers, **length}), answer.body)


_quiet = logging.getLogger(f"{__name__}.websockets")
_quiet.setLevel(logging.CRITICAL)  # a port scanner or a closed laptop is nothing to report with a traceback
