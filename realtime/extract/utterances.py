"""Words become utterances: what is judged is what a person says now, not all that they said before.

A new utterance begins after a pause, after a full stop and a breath, and after a comma and a longer breath. A few words
do not yet stand for themselves: until there are LEAST_WORDS of them they are read together with the utterance before
("... | at all"), unless the pause between was a long one.

A second reading (asr/reading.py) changes neither the words nor where they are parted; it stands beside them, each of
its words with the utterance in whose time it was spoken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Opinion, Reading, Transcript, Word

    Numbered = tuple[Word, int]
    """A word with the number of the recogniser's utterance."""

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
MAX_READ = 16
"""Utterances of the recogniser whose second reading is remembered."""
STOPS, COMMAS = frozenset(".?!"), frozenset(",;:")


@dataclass(frozen=True, slots=True)
class Said:
    """The words of an utterance, and `read`, the same as a second reading has them; empty where none was made."""

    words: tuple[Word, ...]
    read: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Spoken:
    """The present utterance, its state, and the utterances that ended since the last update.

    `ended` are whole utterances, in order, each told once, and once more when it was read again.
    """

    present: Said
    state: Opinion
    ended: tuple[Said, ...]


class Utterances:
    """Follows the transcripts of one stream. Pure: the time is that of the words."""

    def __init__(self) -> None:
        self._committed: deque[Numbered] = deque(maxlen=MAX_WORDS)
        self._past: deque[tuple[Numbered, ...]] = deque(maxlen=MAX_READ)
        self._readings = Readings()
        self._newest: Transcript | None = None
        self._told_ns = -1

    def clear(self) -> None:
        """Forget the words."""
        self._committed.clear()
        self._past.clear()
        self._readings = Readings()
        self._newest = None
        self._told_ns = -1

    def feed(self, item: Transcript) -> Spoken:
        """Take an update of the recogniser."""
        committed = [(word, item.utterance) for word in item.committed]
        self._committed.extend(committed)
        self._readings.heard(committed)
        self._newest = item
        return self._spoken(item)

    def read_again(self, reading: Reading) -> Spoken | None:
        """Take the second reading of an utterance; None where it is of nothing that was heard, or of no words."""
        if not self._readings.take(reading) or self._newest is None:
            return None
        again = [part for part in self._past if any(number == reading.utterance for _, number in part)]
        spoken = self._spoken(self._newest)
        return Spoken(spoken.present, spoken.state, (*map(self._both, again), *spoken.ended))

    def _both(self, part: Sequence[Numbered]) -> Said:
        return Said(tuple(word for word, _ in part), self._readings.of(part))

    def _spoken(self, item: Transcript) -> Spoken:
        tentative = [(word, item.utterance) for word in item.tentative]
        parts = _joined(_parts([*self._committed, *tentative][-MAX_WORDS:]))
        oldest_ns = item.t_ns - int(CONTEXT_S * NS_PER_S)
        while self._committed and self._committed[0][0].end_ns < oldest_ns:
            self._committed.popleft()
        if not parts:
            return Spoken(Said(()), "listening", ())
        *before, present = parts
        # What is tentative may yet join the utterance before: that one has ended when the next one has surely begun.
        certain = before if present[0][0].committed else before[:-1]
        ended = [part for part in certain if part[0][0].end_ns > self._told_ns]
        if ended:
            self._told_ns = ended[-1][-1][0].end_ns
            self._past.extend(ended)
        told = tuple(map(self._both, ended))
        said = self._both([pair for pair in present if pair[0].end_ns >= oldest_ns])
        if not said.words:
            return Spoken(Said(()), "listening", told)
        whole = all(word.committed for word in said.words) and (item.ended or _mark(said.words[-1]) in STOPS)
        return Spoken(said, "final" if whole or _said(said.words) else "partial", told)


class Readings:
    """The second readings of the newest utterances, laid beside the words that were heard first."""

    def __init__(self) -> None:
        self._heard: dict[int, deque[Word]] = {}
        self._read: dict[int, Reading] = {}

    def heard(self, committed: Sequence[Numbered]) -> None:
        """Take words that were committed now."""
        for word, number in committed:
            if number < max(self._heard, default=0):  # the recogniser was built anew, and counts afresh
                self._heard.clear()
                self._read.clear()
            self._heard.setdefault(number, deque(maxlen=MAX_WORDS)).append(word)
        for number in [number for number in self._heard if number <= max(self._heard) - MAX_READ]:
            del self._heard[number]
            self._read.pop(number, None)

    def take(self, reading: Reading) -> bool:
        """Keep a reading that has words; False for one of an utterance that is not known, or of another time."""
        if not reading.words or reading.utterance < max(self._heard, default=0) - MAX_READ:
            return False
        heard = self._heard.get(reading.utterance, ())
        if heard and not any(word.end_ns > reading.start_ns and word.start_ns < reading.end_ns for word in heard):
            return False
        self._read[reading.utterance] = reading
        return True

    def of(self, part: Sequence[Numbered]) -> tuple[Word, ...]:
        """Return the words of a part of what was heard as second readings have them; empty where none was made."""
        numbers = list(dict.fromkeys(number for _, number in part))
        if not any(number in self._read for number in numbers):
            return ()
        found: list[Word] = []
        for number in numbers:
            own = [word for word, of in part if of == number]
            found += self._beside(own, number) if number in self._read else own
        return tuple(found[-MAX_WORDS:])

    def _beside(self, own: Sequence[Word], number: int) -> list[Word]:
        """The words of a reading that were spoken in the time of some of the utterance's words."""
        reading, heard = self._read[number], self._heard.get(number, ())
        before = [word for word in heard if word.end_ns <= own[0].start_ns and word is not own[0]]
        after = [word for word in heard if word.start_ns >= own[-1].end_ns and word is not own[-1]]
        begin_ns = (before[-1].end_ns + own[0].start_ns) // 2 if before else reading.start_ns
        end_ns = (own[-1].end_ns + after[0].start_ns) // 2 if after else reading.end_ns
        early = [word for word in own if word.end_ns <= reading.start_ns]  # of a long utterance the end was read
        return early + [word for word in reading.words if begin_ns <= (word.start_ns + word.end_ns) // 2 <= end_ns]


def _parts(words: Sequence[Numbered]) -> list[tuple[tuple[Numbered, ...], float]]:
    """Utterances in order, each with the seconds between it and the one before."""
    parts: list[tuple[list[Numbered], float]] = []
    for index, (word, speech) in enumerate(words):
        before, speech_before = words[index - 1] if index else (word, speech)
        gap_s = (word.start_ns - before.end_ns) / NS_PER_S if index else LONG_PAUSE_S
        mark = _mark(before)
        breath_s = STOP_S if mark in STOPS else COMMA_S if mark in COMMAS else PAUSE_S
        if speech != speech_before or gap_s >= breath_s:
            parts.append(([], gap_s))
        parts[-1][0].append((word, speech))
    return [(tuple(part), gap_s) for part, gap_s in parts]


def _joined(parts: Sequence[tuple[tuple[Numbered, ...], float]]) -> list[tuple[Numbered, ...]]:
    joined: list[tuple[Numbered, ...]] = []
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
