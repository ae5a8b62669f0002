"""Comparing words: normalisation, edit distance, and which recognised word is which spoken one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """Words without case and punctuation, small numbers spelled out."""
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


@dataclass
class ErrorRate:
    """Word error rate over many clips."""

    edits: int = 0
    words: int = 0

    def add(self, spoken: Sequence[str], heard: Sequence[str]) -> None:
        """Count a clip."""
        self.edits += pair(spoken, heard)[0]
        self.words += len(spoken)

    @property
    def value(self) -> float:
        """Edits per spoken word."""
        return self.edits / max(1, self.words)
