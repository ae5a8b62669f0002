"""What a report tells of one stream, taken from its recording: columns, summaries, words. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.types import MODALITIES, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from realtime.recording.reader import Recording

    Column = NDArray[np.float64]


@dataclass
class Session:
    """One stream. Columns are (N,) per window, NaN where there is no value; times in seconds since the stream began."""

    stream: str
    begun: str
    words_kept: bool
    end_s: Column
    score: Column
    low: Column
    high: Column
    weight: dict[str, Column]
    reliability: dict[str, Column]
    states: dict[str, int]
    causes: dict[str, dict[str, int]]
    latency_ms: dict[str, Column]
    events: list[dict[str, Any]]
    words: list[tuple[float, str]]
    drops: dict[str, int]
    missing: int
    truncated: str | None = None
    notes: list[str] = field(default_factory=list)
    media_kept: bool = False
    """Whether the recording holds pictures and sound."""

    @property
    def length_s(self) -> float:
        """Seconds from the first window's end to the last's, with the hop before it."""
        return float(self.end_s[-1]) if len(self.end_s) else 0.0


def read(recording: Recording) -> Session:
    """Take a recording's messages, and its words where they were kept.

    Raises:
        SourceError: the recording is damaged where it can be read at all.
    """
    about = recording.about
    sentiments = [message for message in recording.messages("sentiment") if _usable(message)]
    truncated = recording.truncated
    words = _words(recording) if about.get("words") else []
    return Session(
        stream=recording.stream,
        begun=str(about.get("begun", "")),
        words_kept=bool(about.get("words")),
        media_kept=bool(about.get("media")),
        end_s=_column(message["window"]["end_s"] for message in sentiments),
        score=_column(message.get("score") for message in sentiments),
        low=_column((message.get("interval") or (None, None))[0] for message in sentiments),
        high=_column((message.get("interval") or (None, None))[1] for message in sentiments),
        weight={name: _column(m["modalities"][name]["weight"] for m in sentiments) for name in MODALITIES},
        reliability={name: _column(m["modalities"][name]["reliability"] for m in sentiments) for name in MODALITIES},
        states=_counts(message["state"] for message in sentiments),
        causes={name: _counts(m["modalities"][name]["state"] for m in sentiments) for name in MODALITIES},
        latency_ms={
            name: _column(message["latency_ms"].get(name) for message in sentiments)
            for name in ("capture", "extract", "fuse", "total", "text_lag")
        },
        events=list(recording.messages("event")),
        words=words,
        drops=_drops(recording),
        missing=sum(max(0, late["seq"] - early["seq"] - 1) for early, late in pairwise(sentiments)),
        truncated=truncated,
    )


def _usable(message: dict[str, Any]) -> bool:
    try:
        return (
            isinstance(message["seq"], int)
            and message["window"]["end_s"] >= 0
            and all(message["modalities"][name]["weight"] >= 0 for name in MODALITIES)
            and isinstance(message["latency_ms"], dict)
            and isinstance(message["state"], str)
        )
    except (KeyError, TypeError):
        return False


def _column(values: Iterable[Any]) -> Column:
    return np.array([np.nan if not isinstance(value, int | float) else value for value in values], np.float64)


def _counts(values: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


def _words(recording: Recording) -> list[tuple[float, str]]:
    """Committed words with the second they began at; each once, in the order they were said."""
    begin_ns, said = None, dict[int, str]()
    for entry in recording.entries():
        if entry.topic == "begin":
            begin_ns = entry.item
        elif entry.topic == "text":
            said |= {word.start_ns: word.text.strip() for word in entry.item.words if word.committed and word.text}
    zero_ns = begin_ns or 0
    return [((start_ns - zero_ns) / NS_PER_S, said[start_ns]) for start_ns in sorted(said)]


def _drops(recording: Recording) -> dict[str, int]:
    """Items that each component dropped, by its last health message."""
    last: dict[str, Any] = {}
    for health in recording.messages("health"):
        last = health
    components = last.get("components", {})
    return {
        str(name): part["channel"]["dropped"]
        for name, part in (components.items() if isinstance(components, dict) else ())
        if isinstance(part, dict) and isinstance(part.get("channel"), dict)
    }
