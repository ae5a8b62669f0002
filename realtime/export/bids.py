"""A recording as part of a BIDS dataset: `_physio.tsv.gz` with the scores on their grid, `_events.tsv`, their meanings.

BIDS wants a continuous recording to have one sampling frequency and no gap: a window that is missing is a row of n/a.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.export.columns import EVENTS, SENTIMENT, WORDS
from realtime.system.logs import printable
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.export.columns import Table

TABLES: frozenset[Table] = frozenset({"sentiment", "events", "words"})
FOLDER = "bids"
VERSION = "1.10.0"
TASK = "live"
NOTHING = "n/a"
KINDS = ("physio.tsv.gz", "physio.json", "events.tsv", "events.json")
UNITS = {
    **dict.fromkeys(("score", "raw", "low", "high", "band_low", "band_high", "context"), "sentiment, -3 to 3"),
    **dict.fromkeys(("p_positive", "confidence"), "proportion"),
    **{f"{name}_{part}": "proportion" for name in MODALITIES for part in ("weight", "reliability")},
    "faces": "count",
    "latency_total_ms": "ms",
}
"""The columns of the table of sentiments that are signals, and their units."""
SIGNALS = tuple(column for column in SENTIMENT if column.name in UNITS)
EVENT_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "trial_type": {
        "Description": "what this row is about",
        "Levels": {"event": "something happened to a device or a stage", "word": "a word that was said"},
    },
    "component": {"Description": "camera, microphone, stream, recording ..."},
    "kind": {"Description": "started, lost, stalled, frozen, slow, recovered, overload, paused, resumed or ended"},
    "value": {"Description": "cause of the event, or the word"},
}


class Bids:
    """Collects rows of tables for one participant.

    Args:
        hop_s: seconds between two windows.
    """

    def __init__(self, hop_s: float) -> None:
        self._hop_s = hop_s
        self._samples: dict[int, list[Any]] = {}
        self._events: list[tuple[float, float, str, str, str, str]] = []

    def take(self, table: Table, row: list[Any]) -> None:
        """Take a row of the tables sentiment, events and words."""
        if table == "sentiment":
            named = {column.name: value for column, value in zip(SENTIMENT, row, strict=True)}
            if named["end_s"] is not None and named["reason"] == "hop":  # the signals have a rate
                self._samples[round(named["end_s"] / self._hop_s)] = [named[column.name] for column in SIGNALS]
        elif table == "events":
            named = {column.name: value for column, value in zip(EVENTS, row, strict=True)}
            if named["time_s"] is not None:
                said = [_text(named[key]) for key in ("component", "kind", "cause")]
                self._events.append((named["time_s"], 0.0, "event", said[0], said[1], said[2]))
        elif table == "words":
            named = {column.name: value for column, value in zip(WORDS, row, strict=True)}
            if named["word"]:
                length_s = max(0.0, named["end_s"] - named["begin_s"])
                self._events.append(
                    (named["begin_s"], length_s, "word", NOTHING, NOTHING, _text(named["word"].strip()))
                )

    def write(self, files: Mapping[str, IO[bytes]]) -> None:
        """Write the four files, by the end of their names.

        Raises:
            UsageError: there is no window to write.
        """
        if not self._samples:
            raise UsageError("the recording holds no window, so there is nothing for --bids")
        first, last = min(self._samples), max(self._samples)
        nothing = [None] * len(SIGNALS)
        rows = (self._samples.get(index, nothing) for index in range(first, last + 1))
        with gzip.GzipFile("", "wb", fileobj=files["physio.tsv.gz"], mtime=0) as packed:
            packed.write("".join("\t".join(_number(value) for value in row) + "\n" for row in rows).encode())
        files["physio.json"].write(_json(self._about_signals(first * self._hop_s)))
        lines = ["\t".join(("onset", "duration", *EVENT_COLUMNS))]
        for onset_s, length_s, *rest in sorted(self._events):
            lines.append("\t".join((f"{onset_s:.4f}", f"{length_s:.4f}", *rest)))
        files["events.tsv"].write(("\n".join(lines) + "\n").encode())
        files["events.json"].write(_json(EVENT_COLUMNS))

    def _about_signals(self, start_s: float) -> dict[str, Any]:
        meanings = {c.name: {"Description": c.meaning, "Units": UNITS[c.name]} for c in SIGNALS}
        return {
            "SamplingFrequency": round(1 / self._hop_s, 9),
            "StartTime": round(start_s, 6),
            "Columns": [column.name for column in SIGNALS],
            "PhysioType": "generic",
            "Manufacturer": "AGFN Live",
            "TaskName": TASK,
            **meanings,
        }


def label_of(stream: str) -> str:
    """Return the participant's label of a stream: BIDS takes letters and digits only."""
    return re.sub(r"[^A-Za-z0-9]", "", stream) or "stream"


def paths(folder: Path, stream: str) -> dict[str, Path]:
    """The files of a stream below the output folder, by the end of their names."""
    sub = f"sub-{label_of(stream)}"
    return {kind: folder / FOLDER / sub / "beh" / f"{sub}_task-{TASK}_{kind}" for kind in KINDS}


def dataset(streams: Sequence[str]) -> dict[Path, bytes]:
    """Return the files of the dataset as a whole.

    Raises:
        UsageError: two streams would be one participant.
    """
    labels = [label_of(stream) for stream in streams]
    if len({label.lower() for label in labels}) < len(labels):
        raise UsageError(f"--bids: of {', '.join(streams)} two have the same letters and digits")
    description = {
        "Name": "Sentiment by AGFN Live",
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "License": "n/a",
        "Authors": ["n/a"],
        "GeneratedBy": [{"Name": "AGFN Live", "Description": "python -m realtime.export --bids"}],
    }
    readme = (
        "Sentiment of streams of video, sound and words, estimated by AGFN Live (arXiv 2510.01677).\n\n"
        "Each participant is a stream. The physio files hold the score, its intervals and the gates; time 0 is the\n"
        "beginning of the session. Replace authors and licence in dataset_description.json before you share it.\n"
    )
    rows = "".join(f"sub-{label}\t{printable(stream)}\n" for label, stream in zip(labels, streams, strict=True))
    return {
        Path("dataset_description.json"): _json(description),
        Path("README"): readme.encode(),
        Path("participants.tsv"): f"participant_id\tstream\n{rows}".encode(),
        Path("participants.json"): _json({"stream": {"Description": "name of the stream"}}),
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}"


def _text(value: str | None) -> str:
    return printable(value).replace("\t", " ") if value else NOTHING
