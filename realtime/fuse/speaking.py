"""Whose voice it is: the lips of who speaks move while the voice is loud.

For every person the motion of the lips is correlated with the level of the sound over a window, and kept as evidence
that fades; it counts only while somebody speaks. `python -m scripts.evaluate people` says how often it is right.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from realtime.fuse.reliability import SPEECH_P, ramp
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.types import SpeechFrame

STEP_S: Final = 0.05
"""Lips and level are compared at such steps."""
LEAST_S: Final = 1.5
LEAD_S: Final = 0.15
"""Lips move so much before the sound is loud."""
SMOOTH_STEPS: Final = 3
QUIET_DB: Final = -60.0
"""Levels below it are alike."""
FADE_S: Final = 3.0
"""Time constant of the evidence."""
WEIGHT: Final = 4.4
"""Log odds of speaking that a correlation of 1 is worth: the gap between who speaks and others over their variance."""
OFFSCREEN: Final = 0.0
"""Log odds at which the voice is somebody's whom the camera does not see."""
VOICE_S: Final = 0.5
"""Whether somebody speaks is told by so much of the newest sound."""

Lips = list[tuple[int, float]]
"""Times and openings of one mouth."""


class Speaking:
    """Evidence of who speaks, gathered over the windows of one stream."""

    def __init__(self) -> None:
        self._evidence: dict[int, float] = {}
        self._last_ns: int | None = None

    def close(self, lips: Mapping[int, Lips], speech: Sequence[SpeechFrame], end_ns: int) -> dict[int, float | None]:
        """Return the probability that the voice of now is each one's; None where there is no sound to tell by."""
        if not speech:
            return dict.fromkeys(lips)
        passed_s = 0.0 if self._last_ns is None else max(0.0, (end_ns - self._last_ns) / NS_PER_S)
        self._last_ns = end_ns
        keep = math.exp(-passed_s / FADE_S)
        voice = _voice(speech, end_ns)
        for number, mouth in lips.items():
            old = self._evidence.get(number)
            new = together(mouth, speech)
            if new is not None and voice > 0:
                self._evidence[number] = new if old is None else keep * old + (1 - keep) * new
        self._evidence = {number: value for number, value in self._evidence.items() if number in lips}
        odds = {number: math.exp(WEIGHT * self._evidence.get(number, 0.0)) for number in lips}
        every = math.exp(OFFSCREEN) + sum(odds.values())
        return {number: voice * value / every for number, value in odds.items()}


def together(mouth: Lips, speech: Sequence[SpeechFrame]) -> float | None:
    """Correlation of the motion of a mouth with the level of the sound; None where there is too little of both."""
    begin_ns = max(mouth[0][0], speech[0].t_ns)
    end_ns = min(mouth[-1][0], speech[-1].t_ns)
    steps = int((end_ns - begin_ns) / NS_PER_S / STEP_S)
    if steps * STEP_S < LEAST_S:
        return None
    at_s = np.arange(steps) * STEP_S
    known_s, opening = np.array([((at - begin_ns) / NS_PER_S, value) for at, value in mouth]).T
    motion = _smooth(np.abs(np.gradient(np.interp(at_s, known_s, opening))))
    heard_s, loud = np.array(
        [((frame.t_ns - begin_ns) / NS_PER_S, max(QUIET_DB, frame.level_db)) for frame in speech]
    ).T
    level = _smooth(np.interp(at_s + LEAD_S, heard_s, loud))
    spreads = float(motion.std()), float(level.std())
    if min(spreads) < 1e-6:
        return 0.0
    return float(((motion - motion.mean()) * (level - level.mean())).mean() / (spreads[0] * spreads[1]))


def _smooth(values: np.ndarray) -> np.ndarray:
    wide = np.pad(values, SMOOTH_STEPS // 2, mode="edge")
    return np.convolve(wide, np.ones(SMOOTH_STEPS) / SMOOTH_STEPS, "valid")


def _voice(speech: Sequence[SpeechFrame], end_ns: int) -> float:
    """How sure it is that somebody speaks just now, 0 to 1."""
    recent = [frame.probability for frame in speech if end_ns - frame.t_ns <= VOICE_S * NS_PER_S]
    return ramp(max(recent, default=0.0), 0.5 * SPEECH_P, 1.5 * SPEECH_P)
