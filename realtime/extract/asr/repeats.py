"""A word or phrase three times in a row: a person says it, and a decoder in a loop invents it. Pure.

They differ in the sound. Each repeat that was said takes its time there; those of a loop are crammed into no time at
its end, or lie where nobody speaks. So a run of repeats is collapsed to those that have time, and what follows stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.extract.asr.local_agreement import Spoken

    Spans = Sequence[tuple[int, int]]
    """Intervals of speech, (start_ns, end_ns), rising."""

RUN = 3
"""So many of the same in a row are looked at; twice is rhetoric."""
LONGEST_PHRASE = 6
"""Most words of a phrase that is looked for when it repeats."""
REPEAT_S = 0.12
"""Nobody says anything again in less: eight syllables a second."""
SHORT_WORD_S = 0.04
"""A word of a phrase that has less has no time."""
TOKEN_S = 0.06
"""Nor a token inside a word, as in a laugh."""


@dataclass(frozen=True, slots=True)
class Collapsed:
    """The words that stand.

    `found`: somebody or something repeats itself; `loop`: more was dropped than a last repeat that has only begun.
    """

    words: tuple[Spoken, ...]
    found: bool = False
    loop: bool = False


def collapse(said: Sequence[Spoken], words: Sequence[Spoken], speech: Spans) -> Collapsed:
    """Drop the repeats that have no time in the sound.

    Args:
        said: the words of this utterance that are committed, just before; they count as repeats but always stand.
        words: after them.
        speech: where somebody speaks in the sound of `words`.
    """
    kept = [word for word in words if not _crammed(word, speech)]
    found = loop = len(kept) < len(words)
    for length in range(LONGEST_PHRASE, 0, -1):
        everything = [*said, *kept]
        gone: set[int] = set()
        for run in runs([word.key for word in everything], length):
            found = True
            extra = _without_time(everything, run, length, len(said), speech)
            loop = loop or len(extra) > (length if run.stop == len(everything) else 0)
            gone |= extra
        kept = [word for index, word in enumerate(everything) if index >= len(said) and index not in gone]
    return Collapsed(tuple(kept), found, loop)


def runs(keys: Sequence[str], length: int) -> list[range]:
    """Return where a phrase of `length` words is said at least three times in a row; the last one may break off.

    A phrase that is itself made of repeats is none: those are found by their own length.
    """
    found = []
    at = 0
    while at + RUN * length <= len(keys):
        end = at + length
        while end < len(keys) and keys[end] == keys[end - length]:
            end += 1
        if end - at >= RUN * length and _primitive(keys[at : at + length]):
            found.append(range(at, end))
            at = end
        else:
            at += 1
    return found


def voiced_s(start_ns: int, end_ns: int, speech: Spans) -> float:
    """Seconds of speech between two times."""
    return sum(max(0, min(end_ns, end) - max(start_ns, start)) for start, end in speech) / NS_PER_S


def _without_time(words: Sequence[Spoken], run: range, length: int, said: int, speech: Spans) -> set[int]:
    """Indices of the words of a run that are repeats without time; of those after the first `said` words only.

    The alignment may give the time of a short word to its neighbour of the same sound, or to nobody. So repeats without
    time of their own stand if the speech since the word before them, which belongs to nobody else, has room for them.
    A single word of a longer phrase may always be too short for the alignment.
    """
    # What was committed stands anyway, and the sound of it may be gone: its own times count.
    times_s = {
        index: (words[index].end_ns - words[index].start_ns) / NS_PER_S
        if index < said
        else voiced_s(words[index].start_ns, words[index].end_ns, speech)
        for index in run
    }
    least_s = max(REPEAT_S / length, SHORT_WORD_S)
    timed = [at_s for at_s in times_s.values() if at_s >= least_s]
    repeat_s = max(REPEAT_S, length * median(timed)) if timed else REPEAT_S
    gone: set[int] = set()
    for in_time, group in groupby(run, lambda index: index < said or times_s[index] >= least_s):
        placeless = list(group)
        if in_time or len(placeless) < length:
            continue
        before = max(0, placeless[0] - 1)
        room = round(voiced_s(words[before].end_ns, words[placeless[-1]].end_ns, speech) / repeat_s)
        extra = placeless[room * length :]
        if placeless[-1] + 1 < len(words):  # a phrase that was only begun belongs to what follows
            extra = extra[: len(extra) // length * length]
        gone.update(extra)
    return gone


def _crammed(word: Spoken, speech: Spans) -> bool:
    """Whether one token is repeated in a word that has no time for it."""
    longest = run = 0
    previous = None
    for token in word.tokens:
        run = run + 1 if token == previous else 1
        previous, longest = token, max(longest, run)
    return longest >= RUN and voiced_s(word.start_ns, word.end_ns, speech) < TOKEN_S * longest


def _primitive(phrase: Sequence[str]) -> bool:
    length = len(phrase)
    return not any(
        length % part == 0 and list(phrase) == list(phrase[:part]) * (length // part) for part in range(1, length)
    )
