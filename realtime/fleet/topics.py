"""The topics of a fleet at the broker: `<base>/_fleet/<fleet>/...`; no stream can be called `_fleet`.

`entry/<stream>` (retained) is a line of the book, `status` (retained) how the fleet is, `command` what it is told, and
`answer/<id>` what it says to that. Who may write below `_fleet` is a matter of the broker's rights (docs/fleet.md).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from realtime.config.section import Name, Section
from realtime.errors import UsageError

MAX_COMMAND_BYTES = 8192
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Order(Section):
    """What a fleet is told."""

    schema_: Literal["agfn.fleet.command/1"] = Field("agfn.fleet.command/1", alias="schema")
    id: Id
    """The answer comes under this name."""
    command: Literal["add", "remove", "drain", "undrain", "move", "down"]
    stream: dict[str, Any] | None = None
    """For add: the stream as in the configuration, with its labels."""
    name: Name | None = None
    """For remove and move: the stream."""
    host: Name | None = None
    """For drain, undrain and move: the host."""


def root(base: str, fleet: str) -> str:
    """First part of a fleet's topics."""
    return f"{base}/_fleet/{fleet}"


def read_order(payload: bytes) -> Order:
    """Read a command.

    Raises:
        UsageError: it is none; the message is safe to log.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        raise UsageError(f"command of {len(payload)} bytes refused: at most {MAX_COMMAND_BYTES}")
    try:
        order = Order.model_validate_json(payload)
    except (ValidationError, RecursionError) as error:
        count = error.error_count() if isinstance(error, ValidationError) else 1
        raise UsageError(f"command refused: {count} keys do not fit") from None
    wanted = {"add": ("stream",), "remove": ("name",), "move": ("name", "host")}.get(order.command, ("host",))
    if order.command != "down" and (missing := [key for key in wanted if getattr(order, key) is None]):
        raise UsageError(f"command {order.command} refused: {', '.join(missing)} is missing")
    return order


def write_order(order: Order) -> bytes:
    """Return what is published for a command."""
    return order.model_dump_json(by_alias=True, exclude_none=True).encode()


def answer(error: str | None) -> bytes:
    """Return what is published for an answer."""
    return json.dumps({"ok": error is None, "error": error}).encode()
