"""Notices another program that publishes under a stream's name: by what the broker hands out that is not ours."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime.clock import Clock

log = logging.getLogger(__name__)

REMEMBERED = 64
"""Own messages that may still be on their way back."""
LOG_EVERY_S = 60.0


class Twins:
    """Tells own health messages, which a broker of MQTT 3.1.1 sends back, from those of a twin.

    Args:
        where: address of the broker.
        stream: name of the stream.
        clock: for the rate of warnings.
    """

    def __init__(self, where: str, stream: str, clock: Clock) -> None:
        self.foreign = 0
        self._where, self._stream, self._clock = where, stream, clock
        self._own: deque[bytes] = deque(maxlen=REMEMBERED)
        self._logged_ns: int | None = None

    def sent(self, payload: bytes) -> None:
        """Remember a message that goes out."""
        self._own.append(_digest(payload))

    def heard(self, payload: bytes) -> None:
        """Count a message that we did not send, and warn of it now and then."""
        if not payload or _digest(payload) in self._own:
            return
        self.foreign += 1
        now_ns = self._clock.now_ns()
        if self._logged_ns is None or now_ns - self._logged_ns > LOG_EVERY_S * 1e9:
            self._logged_ns = now_ns
            log.warning(
                "%s: another program publishes as stream %s, too: subscribers get both mixed; "
                "give one of them another name (--stream)",
                self._where,
                self._stream,
            )


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()
