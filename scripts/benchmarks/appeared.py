"""When each spoken word appeared, told by the texts alone: recognisers differ in what they say of the times of words.

A recogniser shows, again and again, the text that it is sure of and the text that may still change. Which spoken word a
shown one is, an alignment of the texts tells; when it was shown is known. So every recogniser is scored alike, whether
it gives its words times or not.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.benchmarks.lag import Lag
from scripts.benchmarks.sound import spoken_words
from scripts.benchmarks.words import normal, pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.benchmarks.live import Run
    from scripts.benchmarks.sound import Clip


@dataclass(frozen=True, slots=True)
class Shown:
    """What a recogniser showed from a second of the sound on: all its committed text so far, and what may change."""

    at_s: float
    committed: str
    tentative: str


def shown_by(run: Run) -> list[Shown]:
    """Return what our recogniser showed."""
    committed: list[str] = []
    shown = []
    for at_s, update in run.updates:
        committed += [word.text for word in update.committed]
        shown.append(Shown(at_s, " ".join(committed), " ".join(word.text for word in update.tentative)))
    return shown


def lags(clip: Clip, shown: Sequence[Shown]) -> list[Lag]:
    """Lags of the words of a clip that are right in the committed text at the end.

    A word appeared first when it was there at its place, be it to be changed once more; it was committed when the
    committed text had grown to it.

    Args:
        clip: with word times.
        shown: in order; committed text only grows.
    """
    if not shown:
        return []
    spoken = spoken_words(clip)
    begins_s = [word.start_s for word in spoken]
    _, right = pair([word.text for word in spoken], normal(shown[-1].committed))
    heard_at = [j for _, j in right]
    first_s: dict[int, float] = {}
    committed_s: dict[int, float] = {}
    count = 0
    for one in shown:
        grown = len(normal(one.committed))
        committed_s |= dict.fromkeys(range(count, grown), one.at_s)
        count = max(count, grown)
        settled = bisect_right(heard_at, grown - 1)  # so many of the right words are committed by now
        begin = right[settled - 1][0] + 1 if settled else 0
        open_words = [word.text for word in spoken[begin : bisect_right(begins_s, one.at_s)]]
        for i in _earliest(open_words, normal(one.tentative)):
            first_s.setdefault(begin + i, one.at_s)
    found = []
    for i, j in right:
        sure_s, end_s = committed_s[j], spoken[i].end_s
        found.append(Lag(end_s, min(first_s.get(i, sure_s), sure_s) - end_s, sure_s - end_s))
    return found


def _earliest(spoken: Sequence[str], heard: Sequence[str]) -> list[int]:
    """Which spoken words are heard; of alignments equally good, the one with the earliest: what follows is to come."""
    _, same = pair(spoken[::-1], heard[::-1])
    return [len(spoken) - 1 - i for i, _ in same]
