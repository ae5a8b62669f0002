"""What a report tells of one stream, taken from its recording: columns, summaries, words. No HTML here."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.types import MODALITIES, NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from realtime.recording.reader import Recording

    Column = NDArray[np.float64]

LATENCIES = ("capture", "extract", "fuse", "total", "text_lag")


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
    band_low: Column
    band_high: Column
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
    columns: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    states: Counter[str] = Counter()
    gates: dict[str, Counter[str]] = {name: Counter() for name in MODALITIES}
    missing, last_seq = 0, None
    for message in recording.messages("sentiment"):
        missing += 0 if last_seq is None else max(0, message["seq"] - last_seq - 1)
        last_seq = message["seq"]
        if message["reason"] != "hop":  # shares of the time are counted in hops
            continue
        for name, value in _values(message).items():
            columns[name].append(np.nan if value is None else value)
        states[message["state"]] += 1
        for name in MODALITIES:
            gates[name][message["modalities"][name]["state"]] += 1
    truncated = recording.truncated
    made = {name: np.array(values, np.float64) for name, values in columns.items()}
    empty = np.zeros(0)
    return Session(
        stream=recording.stream,
        begun=str(about.get("begun", ""))[:40],
        words_kept=bool(about.get("words")),
        media_kept=bool(about.get("media")),
        end_s=made.get("end_s", empty),
        score=made.get("score", empty),
        low=made.get("low", empty),
        high=made.get("high", empty),
        band_low=made.get("band_low", empty),
        band_high=made.get("band_high", empty),
        weight={name: made.get(f"weight {name}", empty) for name in MODALITIES},
        reliability={name: made.get(f"reliability {name}", empty) for name in MODALITIES},
        states=dict(states),
        causes={name: dict(counts) for name, counts in gates.items()},
        latency_ms={name: made.get(f"latency {name}", empty) for name in LATENCIES},
        events=list(recording.messages("event")),
        words=_words(recording) if about.get("words") else [],
        drops=_drops(recording),
        missing=missing,
        truncated=truncated,
    )


def _values(message: dict[str, Any]) -> dict[str, float | None]:
    low, high = message["interval"] or (None, None)
    band_low, band_high = message.get("band") or (None, None)  # older programs give none
    return {
        "end_s": message["window"]["end_s"],
        "score": message["score"],
        "low": low,
        "high": high,
        "band_low": band_low,
        "band_high": band_high,
        **{f"weight {name}": message["modalities"][name]["weight"] for name in MODALITIES},
        **{f"reliability {name}": message["modalities"][name]["reliability"] for name in MODALITIES},
        **{f"latency {name}": message["latency_ms"][name] for name in LATENCIES},
    }


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
    last: dict[str, Any] = {"components": {}}
    for health in recording.messages("health"):
        last = health
    return {name: part["channel"]["dropped"] for name, part in last["components"].items() if part["channel"]}
