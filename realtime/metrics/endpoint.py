"""The endpoint that Prometheus scrapes: `http://127.0.0.1:PORT/metrics`; beyond this machine with a token and TLS."""

from __future__ import annotations

import logging
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from realtime.errors import UsageError
from realtime.system.guard import Guard
from realtime.system.loopback import HOST

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

PATH = "/metrics"
REQUEST_S = 5.0
OPEN = Guard(section="metrics")


class Endpoint:
    """A server in a thread of its own.

    Args:
        registry: what it gives out.
        port: where to listen; 0 takes a free one.
        guard: where it listens, and who is answered; loopback and everybody there by default.

    Raises:
        UsageError: the port can't be had, or the certificate is none.
    """

    def __init__(self, registry: CollectorRegistry, port: int, guard: Guard = OPEN) -> None:
        app = _guarded(make_wsgi_app(registry), guard)
        kind: type[_Server] = type("Server", (_Server,), {"tls": guard.tls(), "address_family": _family(guard.host)})
        try:
            self._server = make_server(guard.host, port, app, kind, _Handler)
        except OSError as error:
            where = f"{port}" if guard.host == HOST else f"{guard.host}:{port}"
            raise UsageError(
                f"--metrics {where}: {error.strerror or error} on {guard.host}; choose another port, or 0 for a free "
                "one"
            ) from None
        host = f"[{guard.host}]" if ":" in guard.host else guard.host
        self.url = f"{guard.scheme}://{host}:{self._server.server_port}{PATH}"
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
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS is spoken by the thread that answers it, so that none holds up the others."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - as in the base class
        """Say nothing of a client that hung up, or spoke no TLS, where a log would be filled by it."""
        log.debug("metrics: %s hung up, or speaks no TLS", client_address)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S
    """A client that connects and says nothing is hung up on."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as in the base class
        log.debug(format, *args)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _guarded(app: Callable[..., Iterable[bytes]], guard: Guard) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not guard.knows(environ.get("HTTP_HOST")):
            return _refuse(start_response, "403 Forbidden", "this server answers to 127.0.0.1 and localhost only")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _refuse(start_response, "405 Method Not Allowed", "GET only")
        if environ["PATH_INFO"] != PATH:
            return _refuse(start_response, "404 Not Found", f"metrics are on {PATH}")
        if guard.role(environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")) != "control":
            return _refuse(start_response, "401 Unauthorized", "the token is missing or wrong")
        return app(environ, start_response)

    return answer


def _refuse(start_response: Callable[..., Any], status: str, why: str) -> Iterable[bytes]:
    challenge = [("WWW-Authenticate", "Bearer")] if status.startswith("401") else []
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *challenge])
    return [f"{why}\n".encode()]
