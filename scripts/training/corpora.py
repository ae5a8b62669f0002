"""Readers of the corpora: every example with its speaker, its sentiment and what it offers.

A folder that is missing is skipped with a word, so that training works with the corpora a user has.
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RAVDESS = {1: "neutral", 2: "calm", 3: "happy", 4: "sad", 5: "angry", 6: "fearful", 7: "disgust", 8: "surprised"}
EMODB = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "joy", "T": "sadness", "N": "neutral"}
CREMAD = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled clip, sentence or picture; `speaker` is what splits go by, `label` is in [-3, 3]."""

    corpus: str
    id: str
    speaker: str
    label: float
    text: str = ""
    path: Path | None = None
    member: str = ""


def mosi_clips(data: Path) -> Iterator[Example]:
    """CMU-MOSI clips: sound, picture and the true words."""
    for row in _rows(data / "mosi_clips" / "labels.csv"):
        path = data / "mosi_clips" / f"{row['clip']}.mp4"
        yield Example("mosi_clips", row["clip"], row["video_id"], float(row["label"]), row["text"], path)


def mosi_text(data: Path) -> Iterator[Example]:
    """CMU-MOSI transcripts."""
    for row in _rows(data / "mosi" / "text.csv"):
        yield Example("mosi", row["clip"], row["video_id"], float(row["label"]), row["text"])


def rated_snippets(data: Path) -> Iterator[Example]:
    """Snippets rated by twenty people each (Hutto and Gilbert 2014), from [-4, 4] to [-3, 3].

    Films, goods and tweets; not the newspaper editorials, which nobody says like that.
    """
    for path in sorted((data / "vader_ratings").glob("[amt]*_GroundTruth.txt")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            number, rating, text = line.split("\t", 2)
            name = path.name.removesuffix("_GroundTruth.txt")
            yield Example("rated", f"{name}-{number}", f"{name}-{number.split('_')[0]}", float(rating) * 0.75, text)


def meld(data: Path, emotions: Mapping[str, float], sentiments: Mapping[str, float]) -> Iterator[Example]:
    """MELD transcripts, train and dev; an emotion's sentiment where it agrees with the labelled one."""
    for path in sorted((data / "meld").glob("*_sent_emo.csv")):
        if "test" in path.name:
            continue
        for row in _rows(path):
            named, felt = sentiments[row["Sentiment"]], emotions[row["Emotion"]]
            label = felt if named * felt > 0 or named == felt else named
            name = f"{row['Dialogue_ID']}-{row['Utterance_ID']}"
            yield Example("meld", name, row["Speaker"], label, row["Utterance"])


def ravdess(data: Path, emotions: Mapping[str, float]) -> Iterator[Example]:
    """RAVDESS: 24 actors say two neutral sentences in eight emotions."""
    for path in sorted((data / "ravdess").glob("*.ogg")):
        parts = [int(part) for part in path.stem.split("-")]
        yield Example("ravdess", path.stem, f"ravdess-{parts[6]}", emotions[RAVDESS[parts[2]]], path=path)


def emodb(data: Path, emotions: Mapping[str, float]) -> Iterator[Example]:
    """EMO-DB: ten German actors."""
    for path in sorted((data / "emodb").glob("*.ogg")):
        yield Example("emodb", path.stem, f"emodb-{path.stem[:2]}", emotions[EMODB[path.stem[5]]], path=path)


def cremad(data: Path, emotions: Mapping[str, float]) -> Iterator[Example]:
    """CREMA-D: never trained on, it is for looking."""
    for path in sorted((data / "cremad").glob("*.flv")):
        yield Example(
            "cremad", path.stem, f"cremad-{path.stem[:4]}", emotions[CREMAD[path.stem.split("_")[2]]], path=path
        )


def fer2013(data: Path, emotions: Mapping[str, float]) -> Iterator[Example]:
    """FER2013: faces of 48 x 48 pixels; every picture is a speaker of its own, and comes once.

    Of byte-identical copies the first is kept, lest one be trained on and another judged; sizes and checksums tell.
    """
    path = data / "fer2013" / "fer2013_48.zip"
    if not path.exists():
        return
    with zipfile.ZipFile(path) as archive:
        seen: set[tuple[int, int]] = set()
        for info in sorted(archive.infolist(), key=lambda entry: entry.filename.rsplit("/", 1)[-1]):
            member, content = info.filename, (info.file_size, info.CRC)
            parts = member.split("/")
            if member.endswith(".jpg") and parts[-2] in emotions and content not in seen:
                seen.add(content)
                yield Example(
                    "fer2013", member.replace("/", "-"), member, emotions[parts[-2]], path=path, member=member
                )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        yield from csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")))
