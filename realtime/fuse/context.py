"""What the person of one stream said before, and when to forget it: another face, or a pause of the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from models.context import LIMIT
from realtime.config.section import Ns, Section
from realtime.fuse.reliability import mean

if TYPE_CHECKING:
    from models.context import Context
    from realtime.fuse.worker import Estimate
    from realtime.types import WindowView

MAX_EARLIER = 16
"""Utterances before the present one that are remembered."""
QUIET = 0.5
"""While nothing is said, what was said before moves the score by at most so much."""


class ContextState(Section):
    """What is remembered of a person: the number of their face, and what they said before."""

    face_id: int = Field(0, ge=0, le=1_000_000_000)
    said: tuple[Annotated[float, Field(ge=-LIMIT, le=LIMIT)], ...] = Field((), max_length=MAX_EARLIER)
    """Sentiment of each utterance that has ended, the newest last."""
    since_ns: Ns | None = None
    """What ended before does not count, in ns since the stream began."""


class SpeakerContext:
    """Leans what the words of one stream say towards what its person said before.

    Args:
        context: the coefficients, of the weights file.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._face_id = 0
        self._since_ns = -1
        self._now_ns = -1
        self._restored: tuple[float, ...] = ()
        self._earlier: tuple[float, ...] = ()

    def reset(self) -> None:
        """Forget what was said up to now."""
        self._since_ns = self._now_ns
        self._restored = self._earlier = ()

    def snapshot(self, t0_ns: int) -> ContextState:
        """Return what is remembered, with times since `t0_ns`."""
        said = (round(max(-LIMIT, min(LIMIT, location)), 4) for location in self._earlier)
        since_ns = None if self._since_ns < 0 else self._since_ns - t0_ns
        return ContextState(face_id=self._face_id, said=tuple(said), since_ns=since_ns)

    def restore(self, state: ContextState, t0_ns: int) -> None:
        """Go on from what another one remembered, of a stream that began at `t0_ns`."""
        self._face_id = state.face_id
        self._since_ns = self._now_ns = -1 if state.since_ns is None else t0_ns + state.since_ns
        self._restored = self._earlier = state.said

    def lean(self, view: WindowView) -> WindowView:
        """Return the view with its words' location leaned, and the mean of what was said before as its context."""
        self._now_ns = view.end_ns
        if view.face_id:
            if self._face_id and view.face_id != self._face_id:
                self.reset()
            self._face_id = view.face_id
        heard = [said.location for said in view.ended if said.end_ns > self._since_ns]
        self._earlier = earlier = (*self._restored, *heard)[-MAX_EARLIER:]
        if not self._context.counts or not earlier:
            return view
        text = view.segments["text"]
        if len(text.values):
            values = text.values.copy()
            values[-1, 0] = self._context.leaned(float(values[-1, 0]), earlier)
            text = replace(text, values=values)
        quiet = max(-QUIET, min(QUIET, self._context.before(earlier)))
        return replace(view, segments={**view.segments, "text": text}, context=mean(earlier), expected=quiet)

    @staticmethod
    def expect(view: WindowView, estimate: Estimate) -> Estimate:
        """Return the estimate of a window in which nothing is said, moved by what was said before."""
        interval, band = estimate.interval, estimate.band
        if view.opinion != "listening" or estimate.raw is None or interval is None or not view.expected:
            return estimate
        raw = max(-3.0, min(3.0, estimate.raw + view.expected))
        shift = raw - estimate.raw
        moved = None if band is None else (band[0] + shift, band[1] + shift)
        return replace(estimate, raw=raw, interval=(interval[0] + shift, interval[1] + shift), band=moved)
