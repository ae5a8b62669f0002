"""How often to decode, and what the machine makes of it: measured, never guessed. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

STEP_PER_P95 = 1.2
REMEMBERED_DECODES = 40
REMEMBERED_SOUND_S = 60.0
LAG_WORDS = 200
OVERLOAD_RATIO, EASED_RATIO = 2.0, 1.5
"""Overloaded: the step has grown to so many times the configured one, until it is less than the second."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What the recogniser measured of itself over the last minute; a value is None until there is something to measure.

    `real_time_factor` is decoder time over time of sound; lags run from the end of a word in the sound to the moment
    it was first handed out, tentative or committed.
    """

    step_s: float
    decode_p95_s: float
    real_time_factor: float
    tentative_lag_p50_s: float | None
    tentative_lag_p95_s: float | None
    committed_lag_p50_s: float | None
    committed_lag_p95_s: float | None
    overload: str | None


class DecodeSchedule:
    """Adapts the step to max(configured, 1.2 x 95th percentile of the decode time) and keeps the measurements.

    The slowest of the last decodes is left out: the first one after a model was loaded, or a single one that had to
    share the processor, says nothing of the next.

    Args:
        step_s: the configured, shortest step.
    """

    def __init__(self, step_s: float) -> None:
        self._least_s = step_s
        self._decodes: deque[float] = deque(maxlen=REMEMBERED_DECODES)
        self._spent: deque[tuple[float, float]] = deque()
        self._lags: dict[bool, deque[float]] = {False: deque(maxlen=LAG_WORDS), True: deque(maxlen=LAG_WORDS)}
        self._heard_s = 0.0
        self._overloaded = False
        self.step_s = step_s
        self.decode_p95_s = 0.0

    def heard(self, sound_s: float) -> None:
        """Note so many seconds of sound, speech or not."""
        self._heard_s += sound_s
        while self._spent and self._heard_s - self._spent[0][0] > REMEMBERED_SOUND_S:
            self._spent.popleft()

    def decoded(self, decode_s: float) -> None:
        """Note the time that a decode took."""
        self._decodes.append(decode_s)
        self._spent.append((self._heard_s, decode_s))
        usual = sorted(self._decodes)[:-1]
        self.decode_p95_s = float(np.percentile(usual, 95)) if usual else 0.0
        self.step_s = max(self._least_s, STEP_PER_P95 * self.decode_p95_s)
        self._overloaded = self.step_s >= self._least_s * (EASED_RATIO if self._overloaded else OVERLOAD_RATIO)

    def lag(self, lag_s: float, *, committed: bool) -> None:
        """Note how late a word appeared."""
        self._lags[committed].append(lag_s)

    @property
    def real_time_factor(self) -> float:
        """Decoder time per second of sound over the last minute."""
        # A copy in one step of the interpreter: the recogniser's thread goes on while others ask.
        return sum(spent for _, spent in tuple(self._spent)) / max(min(self._heard_s, REMEMBERED_SOUND_S), 1.0)

    @property
    def overload(self) -> str | None:
        """Why the words come late, or None."""
        if not self._overloaded:
            return None
        return (
            f"a decode takes {self.decode_p95_s:.2f} s, so words come every {self.step_s:.1f} s instead of "
            f"{self._least_s:.1f} s; free the CPU, or choose a smaller speech model"
        )

    def measures(self) -> Measures:
        """Return the measurements."""
        return Measures(
            step_s=self.step_s,
            decode_p95_s=self.decode_p95_s,
            real_time_factor=self.real_time_factor,
            tentative_lag_p50_s=_percentile(self._lags[False], 50),
            tentative_lag_p95_s=_percentile(self._lags[False], 95),
            committed_lag_p50_s=_percentile(self._lags[True], 50),
            committed_lag_p95_s=_percentile(self._lags[True], 95),
            overload=self.overload,
        )


def _percentile(values: Collection[float], share: int) -> float | None:
    kept = list(values)  # in one step, as above
    return float(np.percentile(kept, share)) if kept else None
