"""Comparing words: the error rate as the field counts it, and which recognised word is which spoken one.

Two normalisations, for two purposes. The error rate takes Whisper's for English, so that it can be compared with
published ones: spelling, contractions, numbers written out or not and filled pauses do not count. Times need the words
as they were said, one for one: `normal` and `pair`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

from realtime.extract.text import NO_WORD, normal_word

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS = dict(
    enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
            "twenty",
        )
    )
)
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True, slots=True)
class TimedText:
    """A word and its time in seconds."""

    text: str
    start_s: float
    end_s: float


def normal(text: str) -> list[str]:
    """Words without case and punctuation, small numbers spelled out: for `pair`."""
    plain = "".join(c if c.isalnum() or c.isspace() else "" if c in APOSTROPHES else " " for c in text.casefold())
    return [NUMBERS.get(int(word), word) if word.isdecimal() else word for word in plain.split()]


def pair(spoken: Sequence[str], heard: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Levenshtein alignment: the number of edits, and the (spoken, heard) indices of the words that are the same."""
    rows, columns = len(spoken) + 1, len(heard) + 1
    cost = [[max(i, j) if not (i and j) else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            differ = spoken[i - 1] != heard[j - 1]
            cost[i][j] = min(cost[i - 1][j - 1] + differ, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    same = []
    i, j = rows - 1, columns - 1
    while i and j:
        differ = spoken[i - 1] != heard[j - 1]
        if cost[i][j] == cost[i - 1][j - 1] + differ:
            i, j = i - 1, j - 1
            if not differ:
                same.append((i, j))
        elif cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return cost[-1][-1], same[::-1]


def comparable(text: str) -> str:
    """Text as the error rate compares it: Whisper's English normaliser.

    Corpora write contractions without an apostrophe, which Whisper's knows nothing of, and XXX for what nobody could
    understand, which is not counted.
    """
    words = (normal_word(word) if word.isalpha() else word for word in text.split())
    return str(_normaliser()(" ".join(word for word in words if word != NO_WORD)))


@dataclass
class ErrorRate:
    """Word error rate over many clips, and its parts."""

    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def add(self, spoken: str | Sequence[str], heard: str | Sequence[str]) -> None:
        """Count a clip, given as texts or as lists of words."""
        reference, hypothesis = (
            comparable(text if isinstance(text, str) else " ".join(text)) for text in (spoken, heard)
        )
        found = jiwer.process_words(reference, hypothesis)
        self.words += found.hits + found.substitutions + found.deletions
        self.substitutions += found.substitutions
        self.deletions += found.deletions
        self.insertions += found.insertions

    @property
    def edits(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def value(self) -> float:
        """Edits per spoken word."""
        return self.edits / max(1, self.words)


@cache
def _normaliser() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()
