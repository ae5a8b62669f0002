"""`evaluate.py live`: stream clips through the very pipeline that runs live, at full speed, and score `raw`.

A clip's score is the mean of `raw` over its windows, each of which stands for the same time; `final` judges the last
window instead, which has heard the whole sentence as an offline system would. With --context the clips
of a video are played in their order as one stream, as somebody who goes on talking: what the stream has learned of the
person stays. The gap between two clips is as long as a window, so that no window mixes two of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from models.metrics import all_metrics
from realtime.capture.media import MediaFile
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.extract.text import TextExtractor
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun
from realtime.types import MODALITIES, NS_PER_S, Chunk, Frame, item_end_ns
from scripts.benchmarks.words import ErrorRate
from scripts.training.damage import Damage, damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime.config.schema import Config
    from realtime.publish.messages import Message
    from realtime.types import Modality, TextFeatures, Transcript, Word

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Clip:
    """A labelled clip; `number` orders the clips of a video."""

    path: Path
    video: str
    number: int
    label: float
    text: str


class Playlist:
    """Clips one after the other, with a gap of a window's length between them, each with its damage."""

    def __init__(self, clips: Sequence[Clip], damages: Sequence[Damage], config: Config) -> None:
        self.path = clips[0].path
        kinds = {damage.kind for damage in damages}
        self.has_picture = "gone_face" not in kinds
        self.has_sound = "gone_voice" not in kinds
        self.spans: list[tuple[int, int]] = []
        self._clips, self._damages, self._config = clips, damages, config

    def items(self, start_ns: int) -> Iterator[Frame | Chunk]:
        """Frames and sound of all clips; `spans` grows by the begin and end of each."""
        hop_ns = int(self._config.window.hop_s * NS_PER_S)
        begin_ns = start_ns
        for clip in self._clips:
            end_ns = begin_ns
            items: Iterable[Frame | Chunk] = MediaFile(clip.path, self._config.camera).items(0)
            for damage in self._damages:
                items = damaged(items, damage, clip.path.stem)
            for item in items:
                moved = replace(item, t_ns=item.t_ns + begin_ns)
                end_ns = max(end_ns, item_end_ns(moved))
                yield moved
            self.spans.append((begin_ns, end_ns))
            gap_ns = int(self._config.window.length_s * NS_PER_S) + hop_ns
            begin_ns = -(-(end_ns + gap_ns) // hop_ns) * hop_ns


class Listening(TextExtractor):
    """The text extractor, which also notes the committed words."""

    heard: list[Word]

    def feed(self, item: Transcript, /) -> Iterable[TextFeatures]:
        """Note the words that are new, then go on as usual."""
        self.heard.extend(item.committed)
        return super().feed(item)


class ListeningParts(SharedModels):
    """The live models, with the words of the newest stream in `heard`."""

    heard: list[Word]

    def text(self) -> TextExtractor:
        """Return a text extractor that listens."""
        extractor = Listening(self.encoder)
        self.heard = extractor.heard = []
        return extractor


def read_clips(folder: Path) -> list[Clip]:
    """Read a folder's labels.csv: clip, video_id, label, text, and clip_id where there is one."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clips = []
    for row in rows:
        found = sorted(folder.glob(f"{row['clip']}.*"))
        if found:
            number = int(row.get("clip_id") or row["clip"].rsplit("_", 1)[-1])
            clips.append(Clip(found[0], row["video_id"], number, float(row["label"]), row.get("text", "")))
    return sorted(clips, key=lambda clip: (clip.video, clip.number))


def damages_of(text: str) -> list[Damage]:
    """Read KIND:LEVEL, or several with a plus between.

    Raises:
        ValueError: a kind is unknown or a level no number.
    """
    return [Damage.parse(part) for part in text.split("+")]


def play(
    clips: Sequence[Clip], damages: Sequence[Damage], config: Config, parts: ListeningParts
) -> list[dict[str, Any]]:
    """Stream clips as one and return, per clip, its windows' messages and words."""
    messages: list[Sentiment] = []

    def take(message: Message) -> None:
        if isinstance(message, Sentiment):
            messages.append(message)

    playlist = Playlist(clips, damages, config)
    parts.heard = []
    OfflineRun(config, parts, VirtualClock(), Outlet.into(take), playlist).run(threading.Event())
    hop_s = config.window.hop_s
    results = []
    for clip, (begin_ns, end_ns) in zip(clips, playlist.spans, strict=True):
        begin_s, end_s = begin_ns / NS_PER_S, end_ns / NS_PER_S
        inside = [m for m in messages if begin_s < m.window.end_s < end_s + hop_s]
        words = [word.text for word in parts.heard if begin_ns <= word.start_ns < end_ns]
        results.append({"clip": clip, "messages": inside, "words": words})
    return results


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures over clips, with 95 % intervals by bootstrap over clips."""
    label = np.array([result["clip"].label for result in results])
    scored = [[m for m in result["messages"] if m.raw is not None] for result in results]
    found = np.array([np.mean([m.raw for m in messages]) if messages else 0.0 for messages in scored])
    inside = [m.interval[0] <= y <= m.interval[1] for messages, y in zip(scored, label, strict=True) for m in messages]
    width = [m.interval[1] - m.interval[0] for messages in scored for m in messages]
    keys = {"mae": "mae", "r": "r", "has0": "has0", "non0": "non0", "f1": "f1", "acc7": "acc7"}
    point = all_metrics(label, found)
    rng = np.random.default_rng(0)
    samples = [all_metrics(label[rows], found[rows]) for rows in rng.integers(0, len(label), (RESAMPLES, len(label)))]
    summary: dict[str, Any] = {"n": len(results)}
    for key, name in keys.items():
        summary[key] = round(float(point[name]), 4)
        summary[f"{key}_ci"] = np.nanpercentile([sample[name] for sample in samples], [2.5, 97.5]).round(4).tolist()
    last = all_metrics(label, np.array([messages[-1].raw if messages else 0.0 for messages in scored], np.float64))
    errors = ErrorRate()
    for result in results:
        errors.add(result["clip"].text, result["words"])
    everything = [m for messages in scored for m in messages]
    return summary | {
        "coverage": round(float(np.mean(inside)), 4) if inside else None,
        "width": round(float(np.mean(width)), 4) if width else None,
        "final": {key: round(float(last[key]), 4) for key in ("mae", "r", "has0", "acc7")},
        "confidence": round(float(np.mean([m.confidence for m in everything])), 4) if everything else None,
        "gates": {name: _mean(everything, name, "weight") for name in MODALITIES},
        "reliability": {name: _mean(everything, name, "reliability") for name in MODALITIES},
        "wer": round(errors.value, 4),
        "constant_mae": round(float(np.mean(np.abs(label - np.median(label)))), 4),
    }


def main(options: Sequence[str]) -> None:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="evaluate.py live", description=__doc__)
    cli.add_argument("--clips", type=Path, required=True, help="folder with labels.csv")
    cli.add_argument(
        "--damage", type=damages_of, default=damages_of("clean"), metavar="KIND:LEVEL", help="several: noise:0+black:1"
    )
    cli.add_argument("--context", action="store_true", help="play the clips of a video as one stream")
    cli.add_argument("--limit", type=int, help="only the first so many clips")
    cli.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in realtime.run")
    args = cli.parse_args(options)
    clips = read_clips(args.clips)[: args.limit]
    config, _ = load(sets=[*args.set, "streams=[{name: evaluation, source: clips}]"])
    parts = ListeningParts(config, VirtualClock())
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        videos.setdefault(clip.video if args.context else clip.path.stem, []).append(clip)
    results = [
        result for group in tqdm(videos.values(), mininterval=10) for result in play(group, args.damage, config, parts)
    ]
    print(json.dumps(summarise(results)))


def _mean(messages: Sequence[Sentiment], name: Modality, key: str) -> float | None:
    values = [getattr(message.modalities[name], key) for message in messages]
    return round(float(np.mean(values)), 4) if values else None
