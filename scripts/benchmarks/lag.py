"""When each spoken word appeared: lag from its end in the sound to its first tentative and its committed appearance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realtime.types import NS_PER_S
from scripts.benchmarks.sound import spoken_words
from scripts.benchmarks.words import TimedText, normal, pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.benchmarks.live import Run
    from scripts.benchmarks.sound import Clip

NEAR_S = 1.0
"""A tentative word counts as the first appearance of a spoken one if it is the same and not farther off."""


@dataclass(frozen=True, slots=True)
class Lag:
    """A spoken word that was recognised: where it ends in the sound, and how late it appeared and was committed."""

    end_s: float
    tentative_s: float
    committed_s: float


@dataclass(frozen=True, slots=True)
class WordLag(Lag):
    """As Lag, with the error of its start."""

    start_error_s: float


def word_lags(clip: Clip, run: Run, *, local: bool = True) -> list[WordLag]:
    """Lags of the words of a clip that were recognised correctly.

    Args:
        clip: with word times.
        run: what came out.
        local: pair words over the whole clip at once; for a long stream, pair piece by piece with local=False.
    """
    spoken = spoken_words(clip)
    heard = _heard(run)
    first = _first_appearances(run)
    lags = []
    for piece, said in _pieces(spoken, heard) if not local else [(spoken, heard)]:
        _, same = pair([word.text for word in piece], [word.text for word, _ in said])
        for i, j in same:
            word, (mine, committed_s) = piece[i], said[j]
            seen = [at for at, start_s in first.get(word.text, ()) if abs(start_s - mine.start_s) <= NEAR_S]
            lags.append(
                WordLag(
                    word.end_s,
                    min([*seen, committed_s]) - word.end_s,
                    committed_s - word.end_s,
                    abs(mine.start_s - word.start_s),
                )
            )
    return lags


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    p50, p95 = np.percentile(values, [50, 95]) if len(values) else (np.nan, np.nan)
    return float(p50), float(p95)


def slope_ms_per_min(lags: Sequence[WordLag]) -> float:
    """Trend of the tentative lag over the stream: least squares, milliseconds per minute."""
    at = [lag.end_s / 60 for lag in lags]
    return float(np.polyfit(at, [lag.tentative_s * 1000 for lag in lags], 1)[0])


def _heard(run: Run) -> list[tuple[TimedText, float]]:
    return [
        (TimedText(part, word.start_ns / NS_PER_S, word.end_ns / NS_PER_S), at)
        for at, update in run.updates
        for word in update.committed
        for part in normal(word.text)
    ]


def _first_appearances(run: Run) -> dict[str, list[tuple[float, float]]]:
    first: dict[str, list[tuple[float, float]]] = {}
    for at, update in run.updates:
        for word in update.tentative:
            for part in normal(word.text):
                first.setdefault(part, []).append((at, word.start_ns / NS_PER_S))
    return first


def _pieces(
    spoken: list[TimedText], heard: list[tuple[TimedText, float]], length_s: float = 30.0
) -> list[tuple[list[TimedText], list[tuple[TimedText, float]]]]:
    last = max((word.end_s for word in spoken), default=0.0)
    edges = np.arange(0, last + length_s, length_s)
    return [
        (
            [word for word in spoken if edge <= word.start_s < edge + length_s],
            [pair_ for pair_ in heard if edge <= pair_[0].start_s < edge + length_s],
        )
        for edge in edges
    ]
