"""Plots as inline SVG: a value with its band, and shares over time; long sessions as the envelope of columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

WIDTH, LEFT, RIGHT = 1000, 46, 8
COLUMNS = 900
"""At most so many points across: more than a screen has, and a page of four hours stays small."""
NICE_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)


def thinned(times_s: Column, *columns: Column) -> tuple[Column, list[tuple[Column, Column, Column]]]:
    """Bring columns to at most COLUMNS points: the times, and of each column the least, the mean and the greatest."""
    size = max(1, math.ceil(len(times_s) / COLUMNS))
    edges = range(0, len(times_s), size)
    made = []
    for column in columns:
        parts = [part[np.isfinite(part)] for part in (column[at : at + size] for at in edges)]
        made.append(
            (
                np.array([part.min() if len(part) else np.nan for part in parts]),
                np.array([part.mean() if len(part) else np.nan for part in parts]),
                np.array([part.max() if len(part) else np.nan for part in parts]),
            )
        )
    return np.array([times_s[min(len(times_s), at + size) - 1] for at in edges]), made


class Axes:
    """A plot of `height` units over [0, length_s] and [low, high]."""

    def __init__(self, length_s: float, low: float, high: float, height: int) -> None:
        self._length_s, self._low, self._high, self._height = max(length_s, 0.25), low, high, height
        self._parts: list[str] = []

    def x(self, time_s: float) -> float:
        """Horizontal place of a time."""
        return LEFT + (WIDTH - LEFT - RIGHT) * time_s / self._length_s

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        return 6 + self._height * (self._high - value) / (self._high - self._low)

    def grid(self, values: list[float], *, times: bool) -> None:
        """Lines at values, and below them the times where wanted."""
        for value in values:
            y = self.y(value)
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self._parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        if times:
            step_s = next((step for step in NICE_S if self._length_s / step <= 10), math.ceil(self._length_s / 10))
            for number in range(int(self._length_s // step_s) + 1):
                x = self.x(number * step_s)
                self._parts.append(
                    f'<text class="tick" x="{x:.1f}" y="{self._height + 24}" text-anchor="middle">'
                    f"{clock(number * step_s)}</text>"
                )

    def band(self, times_s: Column, low: Column, high: Column, kind: str) -> None:
        """Fill between two columns, broken where there is nothing."""
        for run in runs(np.isfinite(low) & np.isfinite(high)):
            above = [f"{self.x(times_s[i]):.1f},{self.y(high[i]):.1f}" for i in run]
            below = [f"{self.x(times_s[i]):.1f},{self.y(low[i]):.1f}" for i in reversed(run)]
            self._parts.append(f'<polygon class="{kind}" points="{" ".join(above + below)}"/>')

    def line(self, times_s: Column, values: Column, kind: str) -> None:
        """Draw a column, broken where there is nothing."""
        for run in runs(np.isfinite(values)):
            points = " ".join(f"{self.x(times_s[i]):.1f},{self.y(values[i]):.1f}" for i in run)
            self._parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def marks(self, times_s: list[float]) -> None:
        """Vertical lines, for events."""
        for time_s in times_s:
            x = self.x(min(max(0.0, time_s), self._length_s))
            self._parts.append(f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{6 + self._height}"/>')

    def svg(self, label: str) -> Markup:
        """Return the drawing; `label` says in words what it shows."""
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, self._height + 30, label)
        # The parts are made here, of figures with a fixed number of digits and of names of this program.
        return head + Markup("".join(self._parts)) + Markup("</svg>")  # noqa: S704


def runs(there: NDArray[np.bool_]) -> list[list[int]]:
    """Stretches of True as lists of indices."""
    found: list[list[int]] = []
    for index in np.flatnonzero(there).tolist():
        if found and found[-1][-1] == index - 1:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
