"""What a recording tells of the time: how long committed words waited for a message, and what came after its window."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.config.schema import WindowConfig
from realtime.fuse.opinion_word import OpinionWord
from realtime.recording.journal import decode
from realtime.types import NS_PER_S, item_end_ns

if TYPE_CHECKING:
    from realtime.recording.reader import Recording
    from realtime.types import TextFeatures

NAMES = ("word", "opinion_word", "opinion_word_by_hop")


@dataclass(frozen=True, slots=True)
class _Waiting:
    at_ns: int
    name: str


def word_waits(recording: Recording) -> dict[str, list[float]]:
    """Milliseconds from the commitment of words to the message that has them, by NAMES.

    `word`: any; `opinion_word`: those worth a message of their own; `opinion_word_by_hop`: these, to the next hop's.
    """
    opinion, text = OpinionWord(), None
    waiting: list[_Waiting] = []
    closed: dict[int, list[_Waiting]] = defaultdict(list)
    sent_ns: dict[int, int] = {}
    newest_ns = seq = 0
    for at_ns, topic, data in recording.raw():
        if topic == "text":
            text = decode(at_ns, topic, data).item
            committed_ns = _committed_ns(text)
            if committed_ns > newest_ns:
                newest_ns = committed_ns
                waiting.append(_Waiting(at_ns, "word"))
            if opinion.is_news(text) and not any(one.name == "opinion_word" for one in waiting):
                waiting += [_Waiting(at_ns, "opinion_word"), _Waiting(at_ns, "opinion_word_by_hop")]
        elif topic in {"tick", "word"}:
            of_grid = topic == "tick"
            closed[seq] = [one for one in waiting if of_grid or one.name != "opinion_word_by_hop"]
            waiting = [one for one in waiting if one not in closed[seq]]
            opinion.told(text)
            seq += 1
        elif topic == "sentiment":
            sent_ns[json.loads(data)["seq"]] = at_ns
    waits: dict[str, list[float]] = {name: [] for name in NAMES}
    for number, ones in closed.items():
        for one in ones:
            if number in sent_ns:
                waits[one.name].append((sent_ns[number] - one.at_ns) / 1e6)
    return waits


def late_windows(recording: Recording) -> tuple[int, int]:
    """How many windows of the grid there were, and after how many something of them came within the lateness."""
    lateness_ns = int(WindowConfig.model_validate(recording.about["window"]).lateness_s * NS_PER_S)
    windows, late = 0, set()
    end_ns = 0
    for entry in recording.entries():
        if entry.topic == "tick":
            windows, end_ns = windows + 1, entry.item
        elif entry.topic in {"face", "voice", "speech"} and entry.at_ns < end_ns + lateness_ns:
            late |= {end_ns} if item_end_ns(entry.item) <= end_ns else set()
    return windows, len(late)


def _committed_ns(text: TextFeatures) -> int:
    return max((word.end_ns for word in text.words if word.committed), default=0)
