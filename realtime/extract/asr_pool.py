"""One speech model for several streams: whoever has waited longest since its last decode goes first.

A decode takes a good part of a core for some tenths of a second, so they run one after another (`asr.workers` at a
time). First come, first served would give a stream with long sentences more than its share; here every stream decodes
as often as the others, and one that has just begun to speak does not queue behind those that have spoken for long.
The time in the queue is part of a decode's time, so each stream's step grows by itself until all fit.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.extract.whisper import Decoder, Hypothesis
    from realtime.types import Floats


class DecodeQueue:
    """Shares a model.

    Args:
        model: what decodes.
        workers: decodes at a time.
    """

    def __init__(self, model: Decoder, workers: int = 1) -> None:
        self._model = model
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
        """Wait for this member's turn and decode, see AsrModel.decode."""
        with self._turns:
            self._waiting.append(member)
            try:
                self._turns.wait_for(lambda: self._free > 0 and self._next() is member)
            finally:
                self._waiting.remove(member)
            self._free -= 1
            self._begun += 1
            member.turn = self._begun
            self._turns.notify_all()  # there may be another free worker
        try:
            return self._model.decode(sound, prefix, max_tokens, language)
        finally:
            with self._turns:
                self._free += 1
                self._turns.notify_all()

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
