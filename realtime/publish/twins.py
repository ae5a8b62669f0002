"""Notices another program that publishes under a stream's name: by what the broker hands out that is not ours.

Two programs that nobody gave a lease are twins by mistake: both go on, and both say so. Of holders of a lease the one
of the newest epoch goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime.clock import Clock

log = logging.getLogger(__name__)

REMEMBERED = 64
"""Own messages that may still be on their way back."""
LOG_EVERY_S = 60.0
MOST = 2**53


class Twins:
    """Tells own health messages, which a broker of MQTT 3.1.1 sends back, from those of a twin.

    Args:
        where: address of the broker.
        stream: name of the stream.
        clock: for the rate of warnings.
        epoch: of the own lease; 0 for none.
    """

    def __init__(self, where: str, stream: str, clock: Clock, epoch: int = 0) -> None:
        self.foreign = 0
        self._epoch = epoch
        self._where, self._stream, self._clock = where, stream, clock
        self._own: deque[bytes] = deque(maxlen=REMEMBERED)
        self._logged_ns: int | None = None

    def sent(self, payload: bytes) -> None:
        """Remember a message that goes out."""
        self._own.append(_digest(payload))

    def heard(self, payload: bytes) -> int | None:
        """Count a message that we did not send, and warn of it now and then; return the epoch of a newer lease."""
        if not payload or _digest(payload) in self._own:
            return None
        self.foreign += 1
        epoch = epoch_of(payload)
        if self._epoch and epoch is not None and epoch > self._epoch:
            return epoch
        now_ns = self._clock.now_ns()
        if self._logged_ns is None or now_ns - self._logged_ns > LOG_EVERY_S * 1e9:
            self._logged_ns = now_ns
            if self._epoch:
                log.warning(
                    "%s: another program publishes as stream %s with epoch %s: this one has %d, so subscribers that "
                    "know epochs leave the other out",
                    self._where,
                    self._stream,
                    epoch,
                    self._epoch,
                )
            else:
                log.warning(
                    "%s: another program publishes as stream %s, too: subscribers get both mixed; "
                    "give one of them another name (--stream)",
                    self._where,
                    self._stream,
                )
        return None


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


def epoch_of(payload: bytes) -> int | None:
    """Return the epoch that a message carries; 0 for one without, None where it is no message."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    epoch = said.get("epoch", 0) if isinstance(said, dict) else None
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch <= MOST else None
