"""The endpoint that Prometheus scrapes: `http://127.0.0.1:PORT/metrics`, on loopback only."""

from __future__ import annotations

import logging
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from realtime.errors import UsageError
from realtime.system.loopback import HOST, is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

PATH = "/metrics"
REQUEST_S = 5.0


class Endpoint:
    """A server in a thread of its own.

    Args:
        registry: what it gives out.
        port: where to listen; 0 takes a free one.

    Raises:
        UsageError: the port can't be had.
    """

    def __init__(self, registry: CollectorRegistry, port: int) -> None:
        try:
            self._server = make_server(HOST, port, _guarded(make_wsgi_app(registry)), _Server, _Handler)
        except OSError as error:
            raise UsageError(
                f"--metrics {port}: {error.strerror or error} on {HOST}; choose another port, or 0 for a free one"
            ) from None
        self.url = f"http://{HOST}:{self._server.server_port}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()
        log.info("metrics are on %s", self.url)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S
    """A client that connects and says nothing is hung up on."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as in the base class
        log.debug(format, *args)


def _guarded(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not is_local(environ.get("HTTP_HOST")):
            return _refuse(start_response, "403 Forbidden", "this server answers to 127.0.0.1 and localhost only")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _refuse(start_response, "405 Method Not Allowed", "GET only")
        if environ["PATH_INFO"] != PATH:
            return _refuse(start_response, "404 Not Found", f"metrics are on {PATH}")
        return app(environ, start_response)

    return answer


def _refuse(start_response: Callable[..., Any], status: str, why: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{why}\n".encode()]
