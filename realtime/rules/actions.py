"""Who a rule tells: a webhook, or a program. Both may take long and fail; neither can do more than raise."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage
    from typing import IO

PREFIX = "AGFN_"


class ActionError(Exception):
    """Nobody was told; the message names no address and no word."""


class Action(Protocol):
    """A way to tell somebody."""

    def __call__(self, body: Mapping[str, Any], /) -> None:
        """Tell, within the time allowed.

        Raises:
            ActionError: it was not told.
        """
        ...


class Webhook:
    """POSTs the body as JSON. Certificates are checked, redirections are not followed.

    Args:
        url: where to.
        timeout_s: longest time without an answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, body: Mapping[str, Any], /) -> None:
        """Post."""
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "agfn-live"}
        request = urllib.request.Request(self._url, content, headers, method="POST")  # noqa: S310 - http or https only
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return
        except urllib.error.HTTPError as error:
            error.close()
            raise ActionError(f"it answered {error.code}") from None
        except urllib.error.URLError as error:
            raise ActionError(getattr(error.reason, "strerror", None) or str(error.reason)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise ActionError(getattr(error, "strerror", None) or type(error).__name__) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none: a POST would become a GET, and go where nobody asked for."""


class Command:
    """Runs a program without a shell, with the values in its environment and nothing of ours.

    Args:
        argv: program and arguments.
        timeout_s: after that it is killed with all it started.
    """

    def __init__(self, argv: tuple[str, ...], timeout_s: float) -> None:
        self._argv, self._timeout_s = argv, timeout_s

    def __call__(self, body: Mapping[str, Any], /) -> None:
        """Run."""
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own program, no shell
                self._argv,
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                env=_environment(body),
                start_new_session=True,
            )
        except OSError as error:
            raise ActionError(f"it can't be started: {error.strerror or error}") from None
        try:
            code = process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise ActionError(f"it took more than {self._timeout_s:g} s and was killed") from None
        if code != 0:
            raise ActionError(f"it ended with code {code}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _environment(body: Mapping[str, Any]) -> dict[str, str]:
    """The user's environment without our own variables, which hold passwords and addresses; then the values."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    flat = {name: value for name, value in body.items() if not isinstance(value, dict)}
    flat |= {f"{name}_{key}": value for name in ("values", "text") for key, value in body.get(name, {}).items()}
    told = {f"{PREFIX}{name.removeprefix('values_').upper()}": _text(value) for name, value in flat.items()}
    return inherited | told | {f"{PREFIX}JSON": json.dumps(body, ensure_ascii=False)}


def _text(value: object) -> str:
    return "" if value is None else str(value).replace("\0", "")
