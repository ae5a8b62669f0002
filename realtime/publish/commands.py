"""Commands from the broker: checked, limited in rate, and run one after the other beside the network."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from realtime.errors import UsageError
from realtime.publish.messages import Command, parse_command

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realtime.clock import Clock

log = logging.getLogger(__name__)

PER_SECOND = 2.0
BURST = 5.0
LOG_EVERY_S = 5.0


class Commands:
    """The inbox of one stream. Only the newest command waits: pause and resume replace each other.

    Args:
        stream: its name.
        on_command: runs a command; may block, is never called twice at once.
        clock: for the rate.
    """

    def __init__(self, stream: str, on_command: Callable[[str, Command], None], clock: Clock) -> None:
        self.accepted = self.refused = 0
        self._stream, self._on_command, self._clock = stream, on_command, clock
        self._tokens, self._filled_ns = BURST, clock.now_ns()
        self._next: tuple[Command, bytes] | None = None
        self._ready = asyncio.Event()
        self._logged_ns: int | None = None

    def take(self, payload: bytes, *, retained: bool) -> None:
        """Check what arrived; what is wrong is counted and logged, never raised."""
        try:
            command = parse_command(payload)  # first: a stranger's nonsense takes nothing from the rate of commands
            self._check_sending(retained=retained)
        except UsageError as error:
            self.refused += 1
            self._warn(error)
            return
        self._next = command, payload
        self.accepted += 1
        self._ready.set()

    async def run(self, is_kept: Callable[[bytes], Awaitable[bool]]) -> None:
        """Run what comes, until cancelled.

        Args:
            is_kept: asked with a command's payload before it is run: does the broker keep it for those who come later?
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._ready.wait()
            self._ready.clear()
            waiting, self._next = self._next, None
            if waiting is None or await self._refuse_kept(is_kept, waiting[1]):
                continue
            command = waiting[0]
            log.info("stream %s: %s, by MQTT command", self._stream, command.command)
            try:
                await loop.run_in_executor(None, self._on_command, self._stream, command)
            except Exception:
                # Whatever goes wrong in a device must not silence the connection.
                log.exception("stream %s: command %s failed", self._stream, command.command)

    async def _refuse_kept(self, is_kept: Callable[[bytes], Awaitable[bool]], payload: bytes) -> bool:
        kept = await is_kept(payload)
        if kept:
            self.accepted -= 1  # it was said to be refused when it came a second time, marked as retained
        return kept

    def _check_sending(self, *, retained: bool) -> None:
        if retained:
            raise UsageError("retained command refused: it would be obeyed again at every start; clear it")
        now_ns = self._clock.now_ns()
        self._tokens = min(BURST, self._tokens + (now_ns - self._filled_ns) / 1e9 * PER_SECOND)
        self._filled_ns = now_ns
        if self._tokens < 1:
            raise UsageError(f"command refused: more than {PER_SECOND:.0f} a second")
        self._tokens -= 1

    def _warn(self, error: UsageError) -> None:
        now_ns = self._clock.now_ns()
        if self._logged_ns is None or now_ns - self._logged_ns > LOG_EVERY_S * 1e9:
            self._logged_ns = now_ns
            log.warning("stream %s: %s (%d refused so far)", self._stream, error, self.refused)
