"""Words become utterances: what is judged is what a person says now, not all that they said before.

A new utterance begins after a pause, after a full stop and a breath, and after a comma and a longer breath. A few words
do not yet stand for themselves: until there are LEAST_WORDS of them they are read together with the utterance before
("... | at all"), unless the pause between was a long one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Opinion, Transcript, Word

CONTEXT_S = 15.0
"""Words that ended longer ago say little about now."""
MAX_WORDS = 64
"""Most words that are kept, committed and tentative."""
PAUSE_S = 0.7
"""A pause of so long ends an utterance."""
STOP_S = 0.25
"""So does a shorter one after a full stop, a question or an exclamation mark,"""
COMMA_S = 0.45
"""and this one after a comma, a colon or a semicolon."""
LEAST_WORDS = 5
"""Fewer words than this are read together with the utterance before them,"""
LONG_PAUSE_S = 2.0
"""but not over so long a pause."""
STOPS, COMMAS = frozenset(".?!"), frozenset(",;:")


@dataclass(frozen=True, slots=True)
class Spoken:
    """The words of the present utterance, its state, and the utterances that ended since the last update.

    `ended` are words of whole utterances, in order, each told once.
    """

    words: tuple[Word, ...]
    state: Opinion
    ended: tuple[tuple[Word, ...], ...]


class Utterances:
    """Follows the transcripts of one stream. Pure: the time is that of the words."""

    def __init__(self) -> None:
        self._committed: deque[tuple[Word, int]] = deque(maxlen=MAX_WORDS)
        self._told_ns = -1

    def clear(self) -> None:
        """Forget the words."""
        self._committed.clear()
        self._told_ns = -1

    def feed(self, item: Transcript) -> Spoken:
        """Take an update of the recogniser."""
        self._committed.extend((word, item.utterance) for word in item.committed)
        tentative = [(word, item.utterance) for word in item.tentative]
        parts = _joined(_parts([*self._committed, *tentative][-MAX_WORDS:]))
        oldest_ns = item.t_ns - int(CONTEXT_S * NS_PER_S)
        while self._committed and self._committed[0][0].end_ns < oldest_ns:
            self._committed.popleft()
        if not parts:
            return Spoken((), "listening", ())
        *before, present = parts
        # What is tentative may yet join the utterance before: that one has ended when the next one has surely begun.
        certain = before if present[0].committed else before[:-1]
        ended = [part for part in certain if part[0].end_ns > self._told_ns]
        if ended:
            self._told_ns = ended[-1][-1].end_ns
        present = tuple(word for word in present if word.end_ns >= oldest_ns)
        if not present:
            return Spoken((), "listening", tuple(ended))
        whole = all(word.committed for word in present) and (item.ended or _mark(present[-1]) in STOPS)
        return Spoken(present, "final" if whole or _said(present) else "partial", tuple(ended))


def _parts(words: Sequence[tuple[Word, int]]) -> list[tuple[tuple[Word, ...], float]]:
    """Utterances in order, each with the seconds between it and the one before."""
    parts: list[tuple[list[Word], float]] = []
    for index, (word, speech) in enumerate(words):
        before, speech_before = words[index - 1] if index else (word, speech)
        gap_s = (word.start_ns - before.end_ns) / NS_PER_S if index else LONG_PAUSE_S
        mark = _mark(before)
        breath_s = STOP_S if mark in STOPS else COMMA_S if mark in COMMAS else PAUSE_S
        if speech != speech_before or gap_s >= breath_s:
            parts.append(([], gap_s))
        parts[-1][0].append(word)
    return [(tuple(part), gap_s) for part, gap_s in parts]


def _joined(parts: Sequence[tuple[tuple[Word, ...], float]]) -> list[tuple[Word, ...]]:
    joined: list[tuple[Word, ...]] = []
    for part, gap_s in parts:
        if joined and len(part) < LEAST_WORDS and gap_s < LONG_PAUSE_S:
            joined[-1] = (*joined[-1], *part)
        else:
            joined.append(part)
    return joined


def _said(words: Sequence[Word]) -> bool:
    """Whether a sentence is whole, and the few words after it do not yet stand for themselves."""
    stops = [number for number, word in enumerate(words, start=1) if word.committed and _mark(word) in STOPS]
    return bool(stops) and stops[-1] >= LEAST_WORDS and len(words) - stops[-1] < LEAST_WORDS


def _mark(word: Word) -> str:
    """Punctuation mark at the end of a word; "" for none."""
    last = word.text.strip()[-1:]
    return last if last in STOPS | COMMAS else ""
