"""From raw to score: at once where something was said, calmly in between, nothing strong before anything is said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from realtime.config.section import Ns, Section
from realtime.types import Opinion

if TYPE_CHECKING:
    from typing import TypeAlias

    Said: TypeAlias = tuple[Opinion, int, int, int]
    """What was said so far: its opinion, how many committed words, when the last of them ended, words read again."""

EVENT_TAU_S = 0.12
"""Time constant after an event: within half a second nearly all of the way."""
EVENT_S = 0.5
"""How long an event is followed so fast."""
EVENT_STEP_S = 0.25
"""With the event itself the score goes as far as in such a time, however soon after the last window it comes."""
QUIET = 0.5
"""While nothing is said no score is stronger than this,"""
QUIET_S = 1.0
"""unless voice or face have said so for so long."""
CLEAR = {"listening": 0.6, "partial": 1.0, "final": 0.0}
"""What a score must reach to take a side; until then it is 0: a sign that comes and goes is flicker."""
TURN = 1.2
"""And what it must reach to change sides before the utterance has ended."""
STEADY, STEADY_S = 0.5, 0.75
"""Words that say less do so, too, when they have said it for so long."""


Count = Annotated[int, Field(ge=0, le=1_000_000)]
Side = Literal[-1, 0, 1]


class SmootherState(Section):
    """What a smoother remembers; times are nanoseconds since the stream began."""

    score: float = Field(ge=-3, le=3)
    t_ns: Ns
    """End of the newest window."""
    said: tuple[Opinion, Count, Ns, Count] | None = None
    event_ns: Ns | None = None
    strong_ns: Ns | None = None
    strong_side: Side = 0
    side: Side = 0
    leaning: Side = 0
    leaning_ns: Ns = 0


class Smoother:
    """Low-pass filter with the time constant `tau_s`, which gives way to events: a new word, an utterance that ends.

    After `forget_s` without a window the next one starts afresh; a time constant of 0 switches it off.
    """

    def __init__(self, tau_s: float, forget_s: float = 5.0) -> None:
        self._tau_s = tau_s
        self._forget_s = forget_s
        self.reset()

    def reset(self) -> None:
        """Forget the past, as after a pause or a new face."""
        self._score: float | None = None
        self._t_ns = 0
        self._event: Said | None = None
        self._event_ns: int | None = None
        self._strong_ns: int | None = None
        self._strong_side: Side = 0
        self._side: Side = 0
        self._leaning: Side = 0
        self._leaning_ns = 0

    def snapshot(self, t0_ns: int) -> SmootherState | None:
        """Return what it remembers, with times since `t0_ns`; None where that is nothing."""
        if self._score is None:
            return None
        return SmootherState(
            score=max(-3.0, min(3.0, self._score)),
            t_ns=self._t_ns - t0_ns,
            said=_moved(self._event, -t0_ns),
            event_ns=None if self._event_ns is None else self._event_ns - t0_ns,
            strong_ns=None if self._strong_ns is None else self._strong_ns - t0_ns,
            strong_side=self._strong_side,
            side=self._side,
            leaning=self._leaning,
            leaning_ns=self._leaning_ns - t0_ns,
        )

    def restore(self, state: SmootherState | None, t0_ns: int) -> None:
        """Go on from what another one remembered, of a stream that began at `t0_ns`."""
        self.reset()
        if state is None:
            return
        self._score, self._t_ns = state.score, t0_ns + state.t_ns
        self._event = _moved(state.said, t0_ns)
        self._event_ns = None if state.event_ns is None else t0_ns + state.event_ns
        self._strong_ns = None if state.strong_ns is None else t0_ns + state.strong_ns
        self._strong_side, self._side, self._leaning = state.strong_side, state.side, state.leaning
        self._leaning_ns = t0_ns + state.leaning_ns

    def feed(self, t_ns: int, raw: float, event: Said | None = None, opinion: Opinion = "final") -> float:
        """Take the raw score of the window that ends at `t_ns` and return the smoothed one.

        Args:
            t_ns: rising.
            raw: in [-3, 3].
            event: what was said so far; a new value is an event.
            opinion: how much of the utterance is known.
        """
        if self._tau_s <= 0:
            return raw
        target = self._quiet(t_ns, raw) if opinion == "listening" else raw
        gap_s = (t_ns - self._t_ns) / 1e9
        fresh = self._score is None or gap_s > self._forget_s
        if event != self._event:
            self._event, self._event_ns = event, t_ns
            gap_s = max(gap_s, EVENT_STEP_S)
        self._t_ns = t_ns
        if self._score is None or fresh:
            self._score = target
        else:
            recent = self._event_ns is not None and (t_ns - self._event_ns) / 1e9 < EVENT_S
            step = 1.0 - math.exp(-gap_s / (min(EVENT_TAU_S, self._tau_s) if recent else self._tau_s))
            self._score += step * (target - self._score)
        return self._with_side(t_ns, self._score, opinion)

    def _with_side(self, t_ns: int, score: float, opinion: Opinion) -> float:
        least = TURN if score * self._side < 0 and opinion != "final" else CLEAR[opinion]
        leaning = _side_of(score) if opinion == "partial" and abs(score) >= STEADY else 0
        if leaning != self._leaning:
            self._leaning, self._leaning_ns = leaning, t_ns
        steady = leaning and (t_ns - self._leaning_ns) / 1e9 >= STEADY_S
        if score * self._side > 0 or abs(score) >= least or steady:
            self._side = _side_of(score)
            return score
        return 0.0

    def _quiet(self, t_ns: int, raw: float) -> float:
        if abs(raw) <= QUIET:
            self._strong_ns = None
            return raw
        side = _side_of(raw)
        if self._strong_ns is None or self._strong_side != side:
            self._strong_ns, self._strong_side = t_ns, side
        return raw if (t_ns - self._strong_ns) / 1e9 >= QUIET_S else side * QUIET


def _side_of(score: float) -> Side:
    return 1 if score > 0 else -1 if score < 0 else 0


def _moved(said: Said | None, by_ns: int) -> Said | None:
    """Return what was said with its time moved; without a word there is no time."""
    if said is None or not said[1]:
        return said
    return said[0], said[1], said[2] + by_ns, said[3]
