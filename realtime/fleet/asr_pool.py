"""A recogniser of the ASR pool: decodes for many hosts, several streams at once, in a process of its own.

    python -m realtime.fleet pool --listen 127.0.0.1:7400 --config my-fleet.yaml

What waits is bounded and has a deadline; what can't be done in time is refused at once, so that its host does it
itself. A model that hangs ends the process: whoever started it starts it anew. What is heard is in no log.

    loop's thread: connections, frames, refusals        decoding thread: a batch after the other
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from realtime.errors import AgfnError, UsageError
from realtime.fleet import asr_wire as wire
from realtime.fleet.asr_address import parsed, secret_of, server_tls
from realtime.fleet.asr_backlog import Backlog, Job
from realtime.fleet.config import FleetConfig
from realtime.system.logs import set_up
from realtime.system.parent import die_with
from realtime.system.threads import limit_pools, name_thread

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.whisper import Hypothesis, Request
    from realtime.fleet.asr_address import Address
    from realtime.fleet.config import AsrPoolConfig

log = logging.getLogger(__name__)

GREET_S = 3.0
"""Who has not said who it is by then is hung up on."""
FRAME_S = 10.0
"""So long a frame may take once it has begun."""
MOST_CONNECTIONS = 256
MOST_UNREAD_BYTES = 4_000_000
"""Answers that may wait for a host that does not read them."""
HANG_S = 8.0
LOOK_S = 0.5


class BatchDecoder(Protocol):
    """What a pool needs of a model."""

    @property
    def vocabulary(self) -> int:
        """Number of its tokens."""
        ...

    def decode_batch(self, requests: Sequence[Request]) -> list[tuple[Hypothesis, str]]:
        """Decode, see AsrModel.decode_batch."""
        ...


class AsrPool:
    """A recogniser that serves hosts.

    Args:
        model: what decodes.
        asr: its settings, for what it tells of itself.
        config: of the pool.
        token: the secret.
        hung: called when the model hangs.
    """

    def __init__(
        self, model: BatchDecoder, asr: AsrConfig, config: AsrPoolConfig, token: str, hung: Callable[[], None]
    ) -> None:
        self._model, self._token, self._hung = model, token, hung
        self._about = {"model": asr.hears_with[-256:], "vocabulary": model.vocabulary, "language": asr.language}
        self._backlog = Backlog(config.queue, config.batch)
        self._there = threading.Condition()
        self._begun_s: float | None = None
        self._over = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.decodes = self.batches = self.most_waiting = 0
        self._worker = threading.Thread(target=self._decode, name="asr-pool-decode", daemon=True)

    async def run(self, address: Address, tls: ssl.SSLContext | None, stop: asyncio.Event) -> None:
        """Serve until stopped.

        Raises:
            UsageError: the address can't be had.
        """
        self._worker.start()
        try:
            server = await address.listen(self._serve, tls, MOST_CONNECTIONS)
        except OSError as error:
            raise UsageError(f"--listen {address.text}: {error.strerror or error}") from None
        where = [each.getsockname() for each in server.sockets]
        port = "" if address.path is not None or address.port else f" (port {where[0][1]})"
        log.info("recogniser %s listens at %s%s", self._about["model"], address.text, port)
        async with server:
            watched, looks = None, 0
            while not stop.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_S)
                # Looks are counted, not time: in a process that was stopped time goes on.
                looks = looks + 1 if watched is not None and self._begun_s == watched else 0
                watched = self._begun_s
                if looks * LOOK_S > HANG_S:
                    self._hung()
            for writer in tuple(self._writers):
                writer.transport.abort()
        with self._there:
            self._over = True
            self._there.notify_all()
        log.info("recogniser ends after %d decodes in %d batches", self.decodes, self.batches)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if len(self._writers) > MOST_CONNECTIONS:
                raise wire.WireError(f"{MOST_CONNECTIONS} hosts are connected already")  # noqa: TRY301 - said below
            await asyncio.wait_for(self._greet(reader, writer), GREET_S)
            await self._take(reader, writer)
        except wire.WireError as error:
            log.warning("a host is hung up on: %s", error)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            log.debug("a host has gone: %s", type(error).__name__)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Prove to each other that both know the secret."""
        if (peer := writer.get_extra_info("socket")) is not None and peer.family != getattr(socket, "AF_UNIX", None):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        number = secrets.token_hex(16)
        writer.write(wire.frame(wire.Greeting(schema=wire.SCHEMA, number=number)))
        header, _ = await read_frame(reader, wire.MOST_GREETING_BYTES)
        claim = wire.read(wire.Claim, header)
        if not wire.proves(claim.proof, self._token, "host", number, claim.number):
            raise wire.WireError("it does not know the secret")
        proof = wire.proof(self._token, "pool", number, claim.number)
        writer.write(wire.frame(wire.Welcome.model_validate({"proof": proof, **self._about})))

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a host's decodes until it goes."""
        loop = asyncio.get_running_loop()

        def send(answer: bytes) -> None:
            if writer.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                writer.transport.abort()
            elif not writer.is_closing():
                writer.write(answer)

        def answer(said: bytes) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(send, said)

        while True:
            header, sound = await read_frame(reader, wire.MOST_HEADER_BYTES, wire.MOST_SOUND_BYTES)
            asked = wire.read(wire.Ask, header)
            now_s = time.monotonic()
            job = Job(asked.id, wire.request_of(asked, sound), now_s + asked.deadline_ms / 1000, answer)
            with self._there:
                taken = self._backlog.offer(job, now_s)
                self.most_waiting = max(self.most_waiting, len(self._backlog))
                self._there.notify_all()
            if not taken:
                send(wire.frame(wire.Answer(id=asked.id, why="busy")))

    def _decode(self) -> None:
        """Decode a batch after the other."""
        name_thread("asr-pool")
        while True:
            with self._there:
                self._there.wait_for(lambda: self._over or len(self._backlog) > 0)
                if self._over:
                    return
                jobs, late = self._backlog.take(time.monotonic())
            for job in late:
                job.answer(wire.frame(wire.Answer(id=job.number, why="late")))
            if not jobs:
                continue
            self.decodes += len(jobs)  # first: whoever has an answer finds it counted
            self.batches += 1
            self._begun_s = begun_s = time.monotonic()
            self._decode_all(jobs)
            self._begun_s = None
            with self._there:
                self._backlog.done(time.monotonic() - begun_s)

    def _decode_all(self, jobs: Sequence[Job]) -> None:
        """Decode a batch and answer; one that fails is tried one by one, so that it costs no other host its words."""
        try:
            found = self._model.decode_batch([job.request for job in jobs])
            answers = [wire.answer_of(job.number, *each) for job, each in zip(jobs, found, strict=True)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the hosts decode themselves
            if len(jobs) > 1:
                for job in jobs:
                    self._decode_all([job])
                return
            # Not the message: it might hold what was said.
            log.error("a decode failed: %s", type(error).__name__)  # noqa: TRY400 - as above
            answers = [wire.frame(wire.Answer(id=jobs[0].number, why="failed"))]
        for job, answer in zip(jobs, answers, strict=True):
            job.answer(answer)


async def read_frame(reader: asyncio.StreamReader, most_header: int, most_sound: int = 0) -> tuple[bytes, bytes]:
    """Read a frame: the bytes of its header and of its sound.

    Raises:
        WireError: it is larger than what is taken.
        EOFError: the other side has gone.
    """
    header, sound = wire.lengths(await reader.readexactly(wire.LENGTHS.size), most_header, most_sound)
    body = await asyncio.wait_for(reader.readexactly(header + sound), FRAME_S)
    return body[:header], body[header:]


def serve(config: FleetConfig, listen: str) -> None:
    """Load the model and serve until SIGTERM or Ctrl-C.

    Raises:
        AgfnError: model, address, certificate or secret can't be used.
    """
    from realtime.extract.asr.whisper import AsrModel  # noqa: PLC0415 - heavy

    pool = config.asr_pool
    address = parsed(listen)
    tls, token = server_tls(address, pool), secret_of(pool.token_file)
    asr = config.config().asr.model_copy(
        update={"device": pool.device, "threads": pool.threads, "workers": 1}
        | ({} if pool.model is None else {"model": pool.model})
    )
    served = AsrPool(AsrModel(asr), asr, pool, token, _hung)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        await served.run(address, tls, stop)

    asyncio.run(run())


def _hung() -> None:
    log.error("the speech model hangs; the process ends, to be started anew")
    logging.shutdown()
    os._exit(1)


def main() -> int:
    """Serve as a child of a fleet's program, which says on standard input with which settings; the exit code."""
    hello = json.loads(sys.stdin.buffer.readline() or b"null")
    if hello is None:
        return 1
    die_with(int(hello["parent"]))
    limit_pools()
    set_up(hello["log_level"], "text")
    try:
        serve(FleetConfig.model_validate(hello["config"]), hello["listen"])
    except AgfnError as error:
        log.error("recogniser: %s", error)  # noqa: TRY400 - the one line says it
        return error.exit_code
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # no thread of a library holds it up
