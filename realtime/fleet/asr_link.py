"""A host's connection to one recogniser of the ASR pool, and whether the host relies on it.

All of it runs in one event loop; `ask` may be called from anywhere and gives a future. A recogniser that has not
answered in time, or that has gone, is not relied on until it has answered a copy in time, of a decode that is done
elsewhere: one that was started anew has a cold model, on a machine that is busy with what was lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from realtime.errors import AgfnError
from realtime.fleet import asr_wire as wire
from realtime.fleet.asr_backlog import NEWEST
from realtime.fleet.asr_pool import GREET_S, read_frame
from realtime.system import backoff

if TYPE_CHECKING:
    import ssl

    from realtime.extract.asr.whisper import Hypothesis, Request
    from realtime.fleet.asr_address import Address
    from realtime.fleet.config import AsrLinks
    from realtime.fleet.engine import Json

log = logging.getLogger(__name__)

CONNECT_S = 3.0
AGAIN_S = (0.25, 10.0)
"""First and longest wait before a new connection."""
TRY_S = (1.0, 30.0)
"""First and longest wait before a recogniser that was late is tried with a copy."""
HEALTHY_S = 60.0
"""After so long in order a failure is a first one again."""

Why = Literal["busy", "late", "failed", "gone"]


class PoolError(AgfnError):
    """A recogniser of the pool did not decode; `why` in a word."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


class Trust:
    """Whether a recogniser is relied on. Pure: times are given."""

    def __init__(self) -> None:
        self.given = True
        self._failures = 0
        self._since_s = self._again_s = float("-inf")

    def failed(self, now_s: float, *, copy: bool = False) -> None:
        """Rely on it no longer; each copy that fails, too, puts the next one off for longer."""
        if not (self.given or copy):
            return  # one more of those that were on their way when the first failed
        if self.given and now_s - self._since_s > HEALTHY_S:
            self._failures = 0
        self.given = False
        self._failures += 1
        self._wait(now_s)

    def lost(self, now_s: float) -> None:
        """Rely on it no longer, but try it as soon as it is back."""
        self.given, self._again_s = False, now_s

    def tries(self, now_s: float) -> bool:
        """Whether it is time to send a copy; then it is not again for a while."""
        if self.given or now_s < self._again_s:
            return False
        self._wait(now_s)
        return True

    def proved(self, now_s: float) -> None:
        """Rely on it again: it has answered a copy in time."""
        self.given, self._since_s = True, now_s

    def _wait(self, now_s: float) -> None:
        self._again_s = now_s + backoff.wait_s(self._failures, *TRY_S)


@dataclass(slots=True)
class _Open:
    """A decode that is not answered yet."""

    future: Future[tuple[Hypothesis, str]]
    timer: asyncio.TimerHandle
    copy: bool
    asked_s: float


class Link:
    """A connection to a recogniser, made again whenever it is lost.

    Args:
        address: where it is.
        config: deadline and the like.
        token: the secret.
        tls: checks its certificate where it is on another machine.
        vocabulary: number of tokens of the host's own model.
        language: of the host, as asr.language.
    """

    def __init__(
        self, address: Address, config: AsrLinks, token: str, tls: ssl.SSLContext, vocabulary: int, language: str
    ) -> None:
        self.address, self._config, self._token, self._tls = address, config, token, tls
        self._vocabulary, self._language = vocabulary, language
        self.trust = Trust()
        self.up = False
        self.load = 0
        """Decodes that were given to it and not answered; counted by whoever gives them."""
        self._model: str | None = None
        self._decodes, self._decode_s = 0, 0.0
        self._open: dict[int, _Open] = {}
        self._numbers = 0
        self._writer: asyncio.StreamWriter | None = None
        self._said: str | None = None

    @property
    def usable(self) -> bool:
        """Whether decodes go there."""
        return self.up and self.trust.given

    def told(self) -> Json:
        """Return how it is, for recognisers.merged."""
        return {
            "address": self.address.text,
            "model": self._model,
            "connected": self.up,
            "relied_on": self.usable,
            "decodes": self._decodes,
            "decode_ms": round(1000 * self._decode_s) if self._decodes else None,
        }

    async def run(self) -> None:
        """Connect and read answers, again and again, until cancelled."""
        failures = 0
        while True:
            begun_s = time.monotonic()
            try:
                await self._connected()
            except (OSError, EOFError, asyncio.TimeoutError, wire.WireError) as error:
                self._say(_cause_of(error))
            finally:
                self._lost()
            failures = 0 if time.monotonic() - begun_s > HEALTHY_S else failures + 1
            await asyncio.sleep(backoff.jittered_s(failures, *AGAIN_S))

    def ask(self, request: Request, loop: asyncio.AbstractEventLoop, *, copy: bool) -> Future[tuple[Hypothesis, str]]:
        """Ask for a decode; the future fails with a PoolError at the deadline at the latest. From any thread."""
        future: Future[tuple[Hypothesis, str]] = Future()
        try:
            loop.call_soon_threadsafe(self._send, request, future, copy)
        except RuntimeError:  # the loop has ended
            future.set_exception(PoolError("gone"))
        return future

    def _send(self, request: Request, future: Future[tuple[Hypothesis, str]], copy: bool) -> None:  # noqa: FBT001
        if self._writer is None or self._writer.is_closing():
            future.set_exception(PoolError("gone"))
            return
        self._numbers += 1
        number, deadline_s = self._numbers, self._config.deadline_s
        try:
            self._writer.write(wire.ask_of(number, request, self._config.sound, deadline_s))
        except ValueError:  # more sound or tokens than the pool takes
            future.set_exception(PoolError("failed"))
            return
        timer = asyncio.get_running_loop().call_later(deadline_s, self._late, number)
        self._open[number] = _Open(future, timer, copy, time.monotonic())

    def _late(self, number: int) -> None:
        if (late := self._open.pop(number, None)) is None:
            return
        self._failed("does not answer in time", late)
        if self._writer is not None and self._writer.transport.get_write_buffer_size() > 0:
            self._writer.transport.abort()  # it does not read either: nothing more is kept for it
        late.future.set_exception(PoolError("late"))

    async def _connected(self) -> None:
        """Connect, prove who we are, and read answers until it goes."""
        reader, writer = await asyncio.wait_for(self.address.connect(self._tls), CONNECT_S)
        try:
            await asyncio.wait_for(self._greet(reader, writer), GREET_S)
            self._writer, self.up = writer, True
            self._say(None)
            while True:
                header, _ = await read_frame(reader, wire.MOST_HEADER_BYTES)
                self._settle(wire.read(wire.Answer, header))
        finally:
            writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = wire.read(wire.Greeting, (await read_frame(reader, wire.MOST_GREETING_BYTES))[0])
        number = secrets.token_hex(16)
        writer.write(wire.frame(wire.Claim(number=number, proof=self._proof("host", greeting.number, number))))
        try:
            welcome = wire.read(wire.Welcome, (await read_frame(reader, wire.MOST_GREETING_BYTES))[0])
        except EOFError:
            raise wire.WireError("it hangs up: is the secret the same there?") from None
        if not wire.proves(welcome.proof, self._token, "pool", greeting.number, number):
            raise wire.WireError("it does not know the secret")
        self._model = welcome.model
        if (welcome.vocabulary, welcome.language) != (self._vocabulary, self._language):
            raise wire.WireError(
                f"it decodes {welcome.language} with {welcome.vocabulary} tokens, this host {self._language} with "
                f"{self._vocabulary}: settings.asr and asr_pool.model must be of one kind"
            )

    def _proof(self, side: Literal["host", "pool"], of_pool: str, of_host: str) -> str:
        return wire.proof(self._token, side, of_pool, of_host)

    def _settle(self, answer: wire.Answer) -> None:
        if (asked := self._open.pop(answer.id, None)) is None:
            return  # it was too late
        asked.timer.cancel()
        if answer.heard is not None:
            now_s = time.monotonic()
            took_s = now_s - asked.asked_s
            self._decode_s = took_s if not self._decodes else NEWEST * took_s + (1 - NEWEST) * self._decode_s
            self._decodes += 1
            if asked.copy:
                self.trust.proved(now_s)
                log.info("recogniser %s is back", self.address.text)
            asked.future.set_result((answer.heard.hypothesis(), answer.heard.language))
            return
        if answer.why == "failed":
            self._failed("can't decode", asked)
        asked.future.set_exception(PoolError(answer.why or "failed"))

    def _failed(self, what: str, asked: _Open) -> None:
        if self.trust.given:
            log.warning("recogniser %s %s: this host decodes by itself meanwhile", self.address.text, what)
        self.trust.failed(time.monotonic(), copy=asked.copy)

    def _lost(self) -> None:
        """Let nobody wait for a connection that is gone."""
        if self.up:
            self.trust.lost(time.monotonic())
        self.up, self._writer = False, None
        waiting, self._open = self._open, {}
        for asked in waiting.values():
            asked.timer.cancel()
            asked.future.set_exception(PoolError("gone"))

    def _say(self, cause: str | None) -> None:
        """Log a change, once."""
        if cause == self._said and cause is not None:
            return
        self._said = cause
        if cause is None:
            log.info("recogniser %s decodes for this host", self.address.text)
        else:
            log.warning("recogniser %s: %s; trying on, this host decodes by itself", self.address.text, cause)


def _cause_of(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it does not answer"
    if isinstance(error, EOFError):
        return "it has gone"
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split()) or type(error).__name__
    return str(error)
