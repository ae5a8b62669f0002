"""LocalAgreement-2: a word is committed when two hypotheses in a row agree on it and on all before it.

Macháček, Dabre, Bojar: Turning Whisper into Real-Time Transcription System (2023). Pure; committed words never change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from realtime.types import Word

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word of a hypothesis: its time, the mean probability of its tokens, these, and those of the marks after it."""

    start_ns: int
    end_ns: int
    text: str
    probability: float
    tokens: tuple[int, ...] = ()
    marks: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What two hypotheses are compared by: letters and digits without case."""
        return "".join(letter for letter in self.text.casefold() if letter.isalnum()) or self.text.strip()

    def word(self, *, committed: bool) -> Word:
        """Return the word as other stages see it."""
        return Word(self.start_ns, self.end_ns, self.text.strip(), self.probability, committed)


class LocalAgreement:
    """Holds the tentative words, and commits what a new hypothesis confirms.

    Attributes:
        tentative: words of the last hypothesis that are not committed.
    """

    def __init__(self) -> None:
        self.tentative: tuple[Spoken, ...] = ()
        self._committed_ns = 0

    def update(
        self, hypothesis: Sequence[Spoken], until_ns: int | None = None, overdue_ns: int | None = None
    ) -> tuple[Spoken, ...]:
        """Take the words after the committed ones; return those committed now, in the newer spelling.

        Args:
            hypothesis: the words.
            until_ns: words that end later stay tentative even if confirmed: what follows may still change them.
            overdue_ns: words that end before it are committed even if unconfirmed: what followed is in them already.
        """
        agreed = common_prefix(self.tentative, hypothesis)
        if overdue_ns is not None:
            agreed = max(agreed, ending_by(hypothesis, overdue_ns))
        if until_ns is not None:
            agreed = min(agreed, ending_by(hypothesis, until_ns))
        return self._commit(hypothesis, agreed)

    def commit_all(self) -> tuple[Spoken, ...]:
        """Commit what is tentative: no more sound will come that could confirm it."""
        return self._commit(self.tentative, len(self.tentative))

    def commit(self, count: int) -> tuple[Spoken, ...]:
        """Commit the first `count` tentative words without a second hypothesis."""
        return self._commit(self.tentative, count)

    def drop(self) -> None:
        """Forget the tentative words."""
        self.tentative = ()

    def _commit(self, hypothesis: Sequence[Spoken], count: int) -> tuple[Spoken, ...]:
        ordered = in_order(hypothesis, self._committed_ns)
        committed, self.tentative = ordered[:count], ordered[count:]
        if committed:
            self._committed_ns = committed[-1].end_ns
        return committed


def common_prefix(first: Sequence[Spoken], second: Sequence[Spoken]) -> int:
    """Count the words at the beginning that both have, apart from case and punctuation."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one.key != other.key:
            break
        count += 1
    return count


def ending_by(words: Sequence[Spoken], t_ns: int) -> int:
    """Count the words at the beginning that end by then."""
    return sum(1 for _ in takewhile(lambda word: word.end_ns <= t_ns, words))


def in_order(words: Sequence[Spoken], floor_ns: int) -> tuple[Spoken, ...]:
    """Return the words with times that never go back, the first not before `floor_ns`.

    Each alignment is made anew, so a word can seem to begin inside one that was committed earlier.
    """
    ordered = []
    for word in words:
        start_ns = max(word.start_ns, floor_ns)
        end_ns = max(word.end_ns, start_ns)
        moved = (start_ns, end_ns) != (word.start_ns, word.end_ns)
        ordered.append(replace(word, start_ns=start_ns, end_ns=end_ns) if moved else word)
        floor_ns = end_ns
    return tuple(ordered)
