"""Commands as they arrive from a broker."""

from __future__ import annotations

from realtime.errors import UsageError
from realtime.publish.messages import parse_command
from scripts.fuzzing.checks import expect, expect_one_line


def seeds() -> list[bytes]:
    """Every way to say it."""
    return [b"pause", b" resume\n", b'{"command": "pause"}', b'{"command": "resume"}']


def run(data: bytes) -> bool:
    """Read a command."""
    try:
        command = parse_command(data)
    except UsageError as refusal:
        expect_one_line(refusal)
        return False
    expect(command.command in {"pause", "resume"}, f"a command {command.command!r}")
    return True
