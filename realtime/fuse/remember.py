"""What one stream said before, and when to forget it: another face, or a long pause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.context import Memory
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from models.context import Context
    from realtime.fuse.worker import Estimate
    from realtime.types import WindowView


class Remembering:
    """Leans the estimates of one stream towards what its person said before.

    Args:
        context: the coefficients, of the weights file.
    """

    def __init__(self, context: Context) -> None:
        self._counts = context.counts
        self._memory = Memory(context)
        self._face_id = 0

    def reset(self) -> None:
        """Forget the person."""
        self._memory.reset()

    def feed(self, view: WindowView, estimate: Estimate) -> Estimate:
        """Return the estimate with its context; the interval moves along."""
        if view.face_id:
            if self._face_id and view.face_id != self._face_id:
                self.reset()
            self._face_id = view.face_id
        if not self._counts or estimate.raw is None or estimate.interval is None:
            return estimate
        said = view.segments["text"].reliability
        raw = self._memory.feed(view.end_ns / NS_PER_S, estimate.raw, said)
        shift = raw - estimate.raw
        low, high = (min(3.0, max(-3.0, bound + shift)) for bound in estimate.interval)
        return replace(estimate, raw=raw, interval=(low, high), context=self._memory.mean())
