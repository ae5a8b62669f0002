"""The ASR pool as a host sees it: recognisers elsewhere, and its own for when they are slow, hung or gone.

A decode goes to the recogniser with the fewest of this host's. It comes back by its deadline, or the host's own model
does it at once; so no failure of a pool costs words more than a deadline, and nothing else waits for it: a decode is
the recogniser's thread's own matter. The words are the same wherever they are decoded (tests/test_asr_pool.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from realtime.errors import UsageError
from realtime.extract.asr.whisper import Request
from realtime.fleet.asr_address import client_tls, parsed, secret_of
from realtime.fleet.asr_link import Link, PoolError
from realtime.publish.connection import LoopThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.extract.asr.decode_queue import DecodeQueue
    from realtime.extract.asr.whisper import Decoder, Hypothesis
    from realtime.fleet.config import AsrLinks
    from realtime.fleet.engine import Json
    from realtime.types import Floats

log = logging.getLogger(__name__)

GRACE_S = 0.5
"""The loop's thread ends a decode at its deadline; a machine that keeps that thread waiting must not keep ours."""
GOODBYE_S = 1.0


class RemoteAsr:
    """Recognisers of a pool, shared by the streams of a host.

    Args:
        config: where they are, and how long to wait for them.
        own: the host's own recogniser.
        vocabulary: number of tokens of its model.
        language: of the host, as asr.language.
        environ: where the secret may stand; None for that of the process.

    Raises:
        UsageError: an address, the secret or a certificate can't be used.
    """

    def __init__(
        self,
        config: AsrLinks,
        own: DecodeQueue,
        vocabulary: int,
        language: str,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if not config.addresses:
            raise UsageError("asr_pool.addresses: there is none")
        token, tls = secret_of(config.token_file, environ), client_tls(config.ca_file)
        self._config, self._own = config, own
        self.links = [Link(parsed(address), config, token, tls, vocabulary, language) for address in config.addresses]
        self._lock = threading.Lock()
        self.decodes: Counter[str] = Counter()
        """Decodes by who did them: `pool`, or the host itself because the pool was `busy`, `late`, `gone`, ...; `down`:
        there was none to be asked."""
        self._stop: asyncio.Event = asyncio.Event()
        self._thread = LoopThread("asr-pool")
        self._thread.start(self._run())

    def member(self) -> Decoder:
        """Return them as one stream sees them."""
        return _Member(self, self._own.member())

    def decode(self, own: Decoder, request: Request) -> tuple[Hypothesis, str]:
        """Decode in the pool, or by the host's own recogniser where that does not come in time."""
        link = self._pick()
        self._try_copies(request)
        if link is None:
            why = "down"
        else:
            try:
                heard = link.ask(request, self._thread.loop, copy=False).result(self._config.deadline_s + GRACE_S)
            except PoolError as error:
                why = error.why
            except FutureTimeoutError:
                why = "late"
            else:
                self._count("pool")
                return heard
            finally:
                with self._lock:
                    link.load -= 1
        self._count(why)
        return own.decode(request.sound, request.prefix, request.max_tokens, request.language)

    def told(self) -> tuple[dict[str, int], int]:
        """Return the decodes so far by who did them, and how many recognisers are relied on."""
        with self._lock:
            return dict(self.decodes), sum(link.usable for link in self.links)

    def about(self) -> Json:
        """Return how the recognisers are, and who did the decodes, for recognisers.merged."""
        return {"recognisers": [link.told() for link in self.links], "decodes": self.told()[0]}

    def close(self) -> None:
        """Hang up."""
        self._thread.call(self._stop.set)
        self._thread.join(GOODBYE_S)

    def _pick(self) -> Link | None:
        """Take a place at the recogniser with the fewest decodes of this host."""
        with self._lock:
            there = [link for link in self.links if link.usable and link.load < self._config.in_flight]
            if not there:
                return None
            link = min(there, key=lambda link: link.load)
            link.load += 1
            return link

    def _try_copies(self, request: Request) -> None:
        """See whether a recogniser that failed works again, by a copy of what is decoded elsewhere anyway."""
        now_s = time.monotonic()
        for link in self.links:
            if link.up and link.trust.tries(now_s):
                link.ask(request, self._thread.loop, copy=True)

    def _count(self, what: str) -> None:
        with self._lock:
            self.decodes[what] += 1

    async def _run(self) -> None:
        tasks = [asyncio.create_task(link.run()) for link in self.links]
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Member:
    """The pool as one stream sees it: a Decoder."""

    def __init__(self, pool: RemoteAsr, own: Decoder) -> None:
        self._pool, self._own = pool, own

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode somewhere, see AsrModel.decode."""
        return self._pool.decode(self._own, Request(sound, tuple(prefix), max_tokens, language))
