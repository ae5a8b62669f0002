"""What the dashboard's server answers to a request for a page: a fixed set of files, each read once, and headers.

Nothing in a request is ever taken for the name of a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models import zoo
from realtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.system.guard import Guard

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SETTINGS = "/settings.json"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response: status, headers, body."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


class Site:
    """The page and its parts.

    Args:
        base: first part of the topics, told to the page.
        broker: address of a websocket listener of an external broker; None where the page asks this server.
        guard: says who is let in.
        control: whether who has the token may add and remove streams.

    Raises:
        ModelError: the MQTT library of the page is missing or damaged.
    """

    def __init__(self, base: str, broker: str | None, guard: Guard, *, control: bool = False) -> None:
        self._broker, self._guard, self._control = broker, guard, control
        self._settings = {"base": base, "broker": broker}
        self._files = _read_files()

    def answer(self, path: str, host: str | None, authorization: str | None) -> Answer:
        """Answer a GET.

        Args:
            path: of the request, with its query.
            host: its Host header.
            authorization: its header of that name, `Bearer TOKEN`.
        """
        if not self._guard.knows(host):
            return _refusal(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost only")
        path = urlsplit(path).path
        if path == SETTINGS:
            role = self._guard.role((authorization or "").removeprefix("Bearer "))
            if role is None:
                return _refusal(HTTPStatus.UNAUTHORIZED, "the page's token is missing or wrong")
            watch = self._guard.watch_token if role == "control" else None
            settings = {**self._settings, "watch": watch, "control": self._control and role == "control"}
            return Answer(HTTPStatus.OK, self._headers("application/json", host), json.dumps(settings).encode())
        if path not in self._files:
            return _refusal(HTTPStatus.NOT_FOUND, "there is no such page; the dashboard is at /")
        kind, body = self._files[path]
        return Answer(HTTPStatus.OK, self._headers(kind, host), body)

    def _headers(self, kind: str, host: str | None) -> dict[str, str]:
        # Not every browser takes 'self' for a websocket of the same host.
        reach = f"{self._guard.scheme.replace('http', 'ws')}://{host}"
        if self._broker:
            reach = f"{reach} {self._broker_origin()}" if self._control else self._broker_origin()
        policy = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": f"'self' {reach}",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            # No text can become markup or code: the browser refuses innerHTML and its like.
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        return {
            "Content-Type": kind,
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            **_COMMON,
        }

    def _broker_origin(self) -> str:
        parts = urlsplit(self._broker or "")
        return f"{parts.scheme}://{parts.netloc}"


_COMMON = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _refusal(status: HTTPStatus, why: str) -> Answer:
    return Answer(status, {"Content-Type": "text/plain; charset=utf-8", **_COMMON}, f"{why}\n".encode())


def _read_files() -> Mapping[str, tuple[str, bytes]]:
    page = files("realtime.dashboard") / "page"
    found = {}
    for file in page.iterdir():
        kind = TYPES.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            found[f"/{file.name}"] = (kind, file.read_bytes())
    found["/"] = found["/index.html"]
    try:
        found["/mqtt.min.js"] = (TYPES[".js"], zoo.path("mqtt.js").read_bytes())
    except zoo.ZooError as error:
        raise ModelError(str(error)) from None
    return found
