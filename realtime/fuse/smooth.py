"""From raw to score: at once where something was said, calmly in between, nothing strong before anything is said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from realtime.types import Opinion

EVENT_TAU_S = 0.12
"""Time constant after an event: within half a second nearly all of the way."""
EVENT_S = 0.5
"""How long an event is followed so fast."""
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
        self._event: Hashable = None
        self._event_ns = -(1 << 62)
        self._strong_ns: int | None = None
        self._strong_side = 0
        self._side = self._leaning = 0.0
        self._leaning_ns = 0

    def feed(self, t_ns: int, raw: float, event: Hashable = None, opinion: Opinion = "final") -> float:
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
        self._t_ns = t_ns
        if self._score is None or fresh:
            self._score = target
        else:
            recent = (t_ns - self._event_ns) / 1e9 < EVENT_S
            step = 1.0 - math.exp(-gap_s / (min(EVENT_TAU_S, self._tau_s) if recent else self._tau_s))
            self._score += step * (target - self._score)
        return self._with_side(t_ns, self._score, opinion)

    def _with_side(self, t_ns: int, score: float, opinion: Opinion) -> float:
        least = TURN if score * self._side < 0 and opinion != "final" else CLEAR[opinion]
        leaning = math.copysign(1.0, score) if opinion == "partial" and abs(score) >= STEADY else 0.0
        if leaning != self._leaning:
            self._leaning, self._leaning_ns = leaning, t_ns
        steady = leaning and (t_ns - self._leaning_ns) / 1e9 >= STEADY_S
        if score * self._side > 0 or abs(score) >= least or steady:
            self._side = math.copysign(1.0, score) if score else 0.0
            return score
        return 0.0

    def _quiet(self, t_ns: int, raw: float) -> float:
        if abs(raw) <= QUIET:
            self._strong_ns = None
            return raw
        side = 1 if raw > 0 else -1
        if self._strong_ns is None or self._strong_side != side:
            self._strong_ns, self._strong_side = t_ns, side
        return raw if (t_ns - self._strong_ns) / 1e9 >= QUIET_S else side * QUIET
