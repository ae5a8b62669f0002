"""Addresses of network cameras: what of one may be shown, what may be a secret, and where its password comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from realtime.errors import UsageError
from realtime.system.shown import screen_area

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORD_VARIABLE = "AGFN_CAMERA_PASSWORD"  # noqa: S105 - the name of a variable, not a password
PLACEHOLDER = "{password}"
HIDDEN = "(the rest is not shown)"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?")
_AUTHORITY_ENDS = re.compile(r"[/?#]")
_HARMLESS = frozenset(
    {"camera", "channel", "channelid", "codec", "compression", "fps", "framerate", "height", "profile", "proto"}
    | {"quality", "rate", "resolution", "size", "stream", "streamtype", "subtype", "unicast", "videocodec", "width"}
)
"""Parameters of a camera's address that say which picture is wanted, and nothing about who asks."""
_PARAMETER = re.compile(r"([A-Za-z]+)=([A-Za-z0-9_.x]{0,12})")


def is_url(address: str) -> bool:
    """Whether the address names a network camera."""
    return "://" in address


def public_address(address: str) -> str:
    """Return of a URL the scheme, host and port, as far as they can be told from a secret; a device as it is.

    A password may hold `/ # ? @` unescaped, and a path may hold one: of two possible readings neither is shown.
    """
    if not is_url(address):
        local = address.isdecimal() or address.startswith("/") or not set(address) & set("@:?=&;#")
        return address if local or _is_area(address) else HIDDEN
    scheme, _, rest = address.partition("://")
    if not _SCHEME.fullmatch(scheme):
        return HIDDEN
    host = _host(rest)
    return f"{scheme}://{host or HIDDEN}"


def _is_area(address: str) -> bool:
    try:
        screen_area(address)
    except ValueError:
        return False
    return True


def _host(rest: str) -> str | None:
    authority = _AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    beyond = rest[len(authority) :]
    host = authority.rpartition("@")[2]
    if "@" in beyond:
        if _HOST.fullmatch(host) or rest.count("@") > 1:
            return None  # rtsp://cam:1/2@x: a camera on port 1, or one called x with a password 1/2
        host = _AUTHORITY_ENDS.split(rest.rpartition("@")[2], maxsplit=1)[0]
    return host if _HOST.fullmatch(host) else None


def may_hold_secret(address: str) -> bool:
    """Whether an address should not stand in a command line, which every user of the machine can read.

    A user's name, and parameters that choose a picture, are no secrets; anything else that is more than a path may be.
    """
    if not is_url(address):
        return False
    rest = address.partition("://")[2]
    authority = _AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    if ":" in user or not _HOST.fullmatch(host):
        return True
    beyond = rest[len(authority) :].replace(PLACEHOLDER, "")
    path, _, parameters = beyond.partition("?")
    if set(path) & set("@#&=;:"):
        return True
    for each in filter(None, re.split(r"[&;]", parameters)):
        found = _PARAMETER.fullmatch(each)
        if found is None or (found[2] and found[1].lower() not in _HARMLESS):
            return True
    return False


READS_ARGV = "everybody on this machine can read a command line"


def refuse_secret(address: str, option: str, why: str = READS_ARGV) -> None:
    """See that an address on the command line, or where else others can read it, holds nothing that they must not.

    Raises:
        UsageError: it may hold a secret; the message says the way to do it, and does not repeat it.
    """
    if may_hold_secret(address):
        raise UsageError(
            f"{option}: this address may hold a password, and {why}; "
            f"give the address in AGFN_STREAMS__0__CAMERA or --config FILE, or write rtsp://USER@HOST/PATH (or "
            f"{PLACEHOLDER} where it belongs) and the password into {PASSWORD_VARIABLE} or camera.password_file"
        )


def without_addresses(text: str) -> str:
    """Return a text for an error without addresses and all that follows them."""
    return re.sub(r"\S*://.*", "(an address)", text, flags=re.DOTALL)


def with_password(address: str, file: str | None, environ: Mapping[str, str] | None = None) -> str:
    """Return the address with the password of a file or the environment, where it has a place for one.

    The place is after the name of a user (`rtsp://USER@HOST/`), or wherever `{password}` stands.

    Raises:
        UsageError: the file can't be read, or there is a place and no password; the message holds no secret.
    """
    if not is_url(address):
        return address
    scheme, _, rest = address.partition("://")
    authority = _AUTHORITY_ENDS.split(rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    named = bool(at) and ":" not in user
    if not named and PLACEHOLDER not in address:
        return address
    password = _password(file, os.environ if environ is None else environ)
    if PLACEHOLDER in address:
        if password is None:
            raise UsageError(f"a camera's address asks for a password: set {PASSWORD_VARIABLE} or camera.password_file")
        return address.replace(PLACEHOLDER, quote(password, safe=""))
    if password is None:
        return address
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}{rest[len(authority) :]}"


def _password(file: str | None, environ: Mapping[str, str]) -> str | None:
    if file is None:
        return environ.get(PASSWORD_VARIABLE) or None
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"camera.password_file {file}: {getattr(error, 'strerror', None) or 'no text'}") from None
    if not lines or not lines[0]:
        raise UsageError(f"camera.password_file {file}: its first line is empty")
    return lines[0]
