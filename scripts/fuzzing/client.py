"""Messages as `realtime.client` gets them from any broker."""

from __future__ import annotations

import functools

from aiomqtt import Message

from realtime.client import MODELS, Client, ContractError
from scripts.fuzzing.checks import expect
from scripts.fuzzing.entry import MESSAGES

KINDS = tuple(MODELS)
"""The first byte says on which topic the rest came."""


def seeds() -> list[bytes]:
    """The examples of the contract, and one of a later version of it."""
    lines = MESSAGES.read_bytes().splitlines()
    found = [(kind, line) for line in lines for kind in KINDS if f'"agfn.{kind}/1"'.encode() in line]
    found.append(("sentiment", b'{"schema": "agfn.sentiment/2"}'))
    return [bytes([KINDS.index(kind)]) + line for kind, line in found]


@functools.cache
def _client() -> Client:
    return Client()


def run(data: bytes) -> bool:
    """Hand a message to the client; whatever it is, nothing may be raised."""
    kind, payload = KINDS[data[0] % len(KINDS) if data else 0], data[1:]
    client = _client()
    feeds = (client.sentiments(), client.events(), client.health())
    before = client.refused
    client._take(Message(f"agfn/desk/{kind}", payload, 0, False, 0, None))  # noqa: SLF001 - where messages come in
    got = [feed._queue.get_nowait() for feed in feeds if not feed._queue.empty()]  # noqa: SLF001 - without a loop
    expect(len(got) + client.refused - before <= 1, f"handed out and refused: {got!r}")
    taken = [item for item in got if not isinstance(item, ContractError)]
    expect(all(isinstance(item, MODELS[kind]) for item in taken), f"of another kind: {taken!r}")
    return bool(taken)
