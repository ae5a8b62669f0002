"""How a device is called in messages, logs and errors."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_url(address: str) -> bool:
    """Whether the address names a network camera."""
    return "://" in address


def public_address(address: str) -> str:
    """Return the address without what may be a secret: user, password, query."""
    if not is_url(address):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:  # no address: none of it is shown, for there is no telling where a password would be
        return f"{address.partition('://')[0]}://"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
