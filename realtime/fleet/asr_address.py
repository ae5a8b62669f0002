"""Where a recogniser of the ASR pool is reached: loopback and Unix sockets as they are, other machines over TLS only.

What goes over is speech, so there is no switch against TLS: whoever has a network of their own tunnels to loopback
(`ssh -L`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.errors import UsageError
from realtime.system.loopback import is_loopback
from realtime.system.tls import server_context
from realtime.system.token import read_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from realtime.fleet.config import AsrPoolConfig

VARIABLE = "AGFN_ASR_POOL_TOKEN"
UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Address:
    """A Unix socket by its `path`, or `host` and `port`; `text` is as it was written."""

    text: str
    path: str | None = None
    host: str = ""
    port: int = 0

    @property
    def beyond(self) -> bool:
        """Whether other machines are involved."""
        return self.path is None and not is_loopback(self.host)

    async def connect(self, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to it."""
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection(self.host, self.port, ssl=tls if self.beyond else None)

    async def listen(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        tls: ssl.SSLContext | None,
        backlog: int,
    ) -> asyncio.Server:
        """Take connections there; a Unix socket is its owner's only."""
        if self.path is not None:
            with _owners_only():
                return await asyncio.start_unix_server(serve, self.path, backlog=backlog)
        return await asyncio.start_server(
            serve, self.host, self.port, ssl=tls if self.beyond else None, backlog=backlog
        )


def parsed(text: str) -> Address:
    """Return an address of the configuration.

    Raises:
        UsageError: it can't be used here.
    """
    if text.startswith(UNIX):
        if sys.platform == "win32":
            raise UsageError(f"{text}: there are no Unix sockets here; write 127.0.0.1:PORT")
        return Address(text, path=text.removeprefix(UNIX))
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"{text}: write HOST:PORT, or unix:/PATH")
    return Address(text, host=host.strip("[]"), port=int(port))


def secret_of(token_file: str | None, environ: Mapping[str, str] | None = None) -> str:
    """Return the secret of pool and hosts.

    Raises:
        UsageError: there is none, or what is there is no token.
    """
    token = read_token(token_file, "asr_pool.token_file", VARIABLE, os.environ if environ is None else environ)
    if token is None:
        raise UsageError(f"the ASR pool needs a secret, shared with its hosts: asr_pool.token_file or {VARIABLE}")
    return token


def client_tls(ca_file: str | None) -> ssl.SSLContext:
    """Return what the certificates of pools are checked with.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UsageError(f"asr_pool.ca_file {ca_file}: {error.strerror or error}") from None


def server_tls(address: Address, config: AsrPoolConfig) -> ssl.SSLContext | None:
    """Return the context of a pool that listens at an address; None where it needs none.

    Raises:
        UsageError: it would be reached from other machines without TLS, or the certificate is none.
    """
    if not address.beyond:
        return None
    if config.cert_file is None or config.key_file is None:
        raise UsageError(
            f"--listen {address.text} can be reached from other machines, and what goes over is speech: it needs TLS "
            "(asr_pool.cert_file and asr_pool.key_file); or tunnel to 127.0.0.1"
        )
    return server_context(config.cert_file, config.key_file, "asr_pool")


@contextmanager
def _owners_only() -> Iterator[None]:
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
