"""One speech model for several streams: whoever has waited longest since its last decode goes first.

A decode takes a good part of a core for some tenths of a second, so they run one after another (`asr.workers` at a
time). First come, first served would give a stream with long sentences more than its share; here every stream decodes
as often as the others, and one that has just begun to speak does not queue behind those that have spoken for long.
The time in the queue is part of a decode's time, so each stream's step grows by itself until all fit.

A decode that never returns would keep all streams waiting for ever: it is given up, its model with it, and a fresh
model takes over.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from realtime.clock import MonotonicClock
from realtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.extract.asr.whisper import Decoder, Hypothesis
    from realtime.types import Floats

log = logging.getLogger(__name__)

HANG_S = 8.0
"""A decode that takes longer never returns: the supervisor waits 10 s for a stage."""
MOST_HUNG = 2
"""So many decodes may hang, each with a model of its own, until none is loaded any more."""
LOOK_EVERY_S = 0.5


class DecodeQueue:
    """Shares a model.

    Args:
        model: what decodes.
        workers: decodes at a time.
        renew: loads a fresh model in place of one that hangs; None for none.
        hang_s: how long a decode may take before it is given up.
    """

    def __init__(
        self,
        model: Decoder,
        workers: int = 1,
        renew: Callable[[], Decoder] | None = None,
        hang_s: float = HANG_S,
    ) -> None:
        self._model, self._renew = model, renew
        self._hang_ns = int(hang_s * 1e9)
        self._clock = MonotonicClock()  # of the machine, also in a replay: it is the decoder that is watched
        self._running: dict[int, int] = {}  # number of a decode: when it began
        self._hung = 0
        self._free = workers
        self._turns = threading.Condition()
        self._waiting: list[Member] = []
        self._begun = 0

    def member(self) -> Member:
        """Return the model as one stream sees it."""
        return Member(self)

    def decode(
        self, member: Member, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Wait for this member's turn and decode, see AsrModel.decode.

        Raises:
            ModelError: one fresh model after the other hangs.
        """
        with self._turns:
            self._waiting.append(member)
            try:
                while not self._turns.wait_for(lambda: self._free > 0 and self._next() is member, LOOK_EVERY_S):
                    self._give_up()
            finally:
                self._waiting.remove(member)
            self._free -= 1
            self._begun += 1
            member.turn = number = self._begun
            model, self._running[number] = self._model, self._clock.now_ns()
            self._turns.notify_all()  # there may be another free worker
        try:
            return model.decode(sound, prefix, max_tokens, language)
        finally:
            with self._turns:
                if self._running.pop(number, None) is None:
                    self._hung -= 1  # it was given up, and has returned after all
                else:
                    self._free += 1
                self._turns.notify_all()

    def _give_up(self) -> None:
        """Replace the model when a decode hangs in it."""
        oldest_ns = self._clock.now_ns() - self._hang_ns
        hung = [number for number, begun_ns in self._running.items() if begun_ns < oldest_ns]
        if not hung or self._renew is None:
            return
        if self._hung >= MOST_HUNG:
            raise ModelError("the speech model hangs again and again; restart the program")
        log.warning("the speech model hangs; loading it afresh")
        self._model = self._renew()
        for number in hung:
            del self._running[number]
        self._hung += len(hung)
        self._free += len(hung)

    def _next(self) -> Member:
        return min(self._waiting, key=lambda member: member.turn)


class Member:
    """The shared model as one stream sees it: a Decoder. `turn` numbers its last decode among all."""

    def __init__(self, queue: DecodeQueue) -> None:
        self._queue = queue
        self.turn = 0

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode when it is this stream's turn, see AsrModel.decode."""
        return self._queue.decode(self, sound, prefix, max_tokens, language)
