"""Which addresses are this machine's own, and what guards the program's own web servers, which listen on loopback only.

A page of another site can make a browser talk to 127.0.0.1, by a name of its own too (DNS rebinding). It can't forge
the headers Host and Origin, so these tell whether the person meant this server.
"""

from __future__ import annotations

import ipaddress
import re

HOST = "127.0.0.1"
# Any port: a tunnel (ssh -L) may change it.
_LOCAL = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself: `localhost` or an address, not a name that begins like one."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local(host: str | None) -> bool:
    """Tell whether a Host header names this machine's loopback."""
    return host is not None and _LOCAL.fullmatch(host) is not None
