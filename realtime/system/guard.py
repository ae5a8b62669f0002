"""Who may see the dashboard, or the metrics: everybody on this machine, and beyond it whoever has a token, over TLS.

Two tokens: the one that is set lets a page pause and resume, one that is derived from it only watch. Neither stands
in a command line, in the path of a request or in the log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from realtime.errors import UsageError
from realtime.system.loopback import HOST, is_local
from realtime.system.tls import server_context
from realtime.system.token import read_token

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

Role = Literal["control", "watch"]

Section = Literal["dashboard", "metrics"]
_HOST_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?", re.ASCII)
HOW = "docs/{section}.md says how to make them; or tunnel to it: ssh -L {port}:127.0.0.1:{port} MACHINE"


@dataclass(frozen=True, slots=True)
class Guard:
    """What a visitor needs.

    `host` is the address that is listened on; `token` None lets everybody in who comes by a name of this machine;
    `certificate` and `key` are PEM files, for TLS; `section` is that of the configuration, for errors.
    """

    host: str = HOST
    token: str | None = None
    certificate: str | None = None
    key: str | None = None
    section: Section = "dashboard"

    @property
    def scheme(self) -> str:
        """Of the page's address."""
        return "http" if self.certificate is None else "https"

    @property
    def watch_token(self) -> str | None:
        """The token that lets its holder watch, and nothing else."""
        if self.token is None:
            return None
        return hmac.new(self.token.encode(), b"agfn dashboard: watch", hashlib.sha256).hexdigest()

    def role(self, token: str | None) -> Role | None:
        """What who shows this token may do; None for nothing."""
        if self.token is None:
            return "control"
        given = (token or "").encode()
        if hmac.compare_digest(given, self.token.encode()):
            return "control"
        return "watch" if hmac.compare_digest(given, (self.watch_token or "").encode()) else None

    def knows(self, host: str | None) -> bool:
        """Whether a Host header may be answered: without a token only this machine's, since it may be DNS rebinding."""
        if self.token is None:
            return is_local(host)
        return host is not None and _HOST_HEADER.fullmatch(host) is not None

    def own_page(self, origin: str | None, host: str | None) -> bool:
        """Whether a page that this server gave out asks: its Origin is the Host that it asks for."""
        return self.knows(host) and origin == f"{self.scheme}://{host}"

    def tls(self) -> ssl.SSLContext | None:
        """Return the context of the server; None for plain HTTP.

        Raises:
            UsageError: certificate or key can't be read, or don't belong together.
        """
        if self.certificate is None:
            return None
        return server_context(self.certificate, self.key, self.section)


def guard_of(
    *,
    host: str,
    port: int | None,
    token_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    section: Section = "dashboard",
    environ: Mapping[str, str] | None = None,
) -> Guard:
    """Return who is let in, by the settings of a section.

    Raises:
        UsageError: the token is unusable, or it would be reachable beyond this machine without token or TLS.
    """
    variable = f"AGFN_{section.upper()}_TOKEN"
    token = read_token(token_file, f"{section}.token_file", variable, os.environ if environ is None else environ)
    if (cert_file is None) != (key_file is None):
        raise UsageError(f"{section}.cert_file and {section}.key_file belong together: set both, or neither")
    guard = Guard(host, token, cert_file, key_file, section)
    if not is_local(f"[{host}]" if ":" in host else host):
        missing = [
            *([f"a token ({variable} or {section}.token_file)"] if token is None else []),
            *([f"TLS ({section}.cert_file and {section}.key_file)"] if cert_file is None else []),
        ]
        if missing:
            raise UsageError(
                f"--{section} {host}:{port} can be reached from other machines, so it needs {' and '.join(missing)}; "
                + HOW.format(section=section, port=port)
            )
    guard.tls()
    return guard
