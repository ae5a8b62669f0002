"""`evaluate.py live`: stream clips through the very pipeline that runs live, at full speed, and judge what it says.

`score`, `interval` and `p_positive` of the messages against the labels: at the sentence end first, then before it, over
all windows and over time (evaluation/published.py says how). `raw` and the words' own reading stand beside them. With
--context the clips of a video are played in their order as one stream, as somebody who goes on talking: what the stream
has learned of the person stays. The gap between two clips is as long as a window, so that no window mixes two of them,
and holds the noise of the clip's own pauses. With --folds (as scripts/fit.py leaves them there) every clip is judged by
weights that did not see its speaker; the shipped ones saw all of CMU-MOSI.
"""

from __future__ import annotations

import argparse
import csv
import json
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from models import zoo
from models.textline import BASE, TextLine
from realtime.capture.media import MediaFile
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.extract.text import TextExtractor
from realtime.fuse.worker import fuser_of
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun
from realtime.types import MODALITIES, NS_PER_S, SAMPLE_RATE_HZ, Chunk, Frame, Transcript, item_end_ns
from scripts.benchmarks.words import ErrorRate
from scripts.evaluation.published import END_S, Told, figures, over_time, rounded
from scripts.training.damage import Damage, damaged
from scripts.training.live import folds_of, held_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime.config.schema import Config
    from realtime.publish.messages import Message
    from realtime.types import Modality, Reading, TextFeatures, Word

READING = 0
"""Column of the words' features that is a sentiment."""
LEVEL_CHUNK = 512
QUIET_SHARE = 10
"""Percentile of the level of a clip's pieces of sound that its pauses have."""


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
            levels: list[float] = []
            for item in items:
                moved = replace(item, t_ns=item.t_ns + begin_ns)
                end_ns = max(end_ns, item_end_ns(moved))
                if isinstance(moved, Chunk) and len(moved.samples):
                    levels.append(float(np.sqrt(np.mean(np.square(moved.samples)))))
                yield moved
            self.spans.append((begin_ns, end_ns))
            gap_ns = int(self._config.window.length_s * NS_PER_S) + hop_ns
            begin_ns = -(-(end_ns + gap_ns) // hop_ns) * hop_ns
            if clip is not self._clips[-1] and levels:
                yield from pause(end_ns, begin_ns, float(np.percentile(levels, QUIET_SHARE)))


def pause(begin_ns: int, end_ns: int, level: float) -> Iterator[Chunk]:
    """White noise of a level, from one time to another."""
    rng = np.random.default_rng(0)
    count = (end_ns - begin_ns) * SAMPLE_RATE_HZ // NS_PER_S
    sound = rng.normal(0.0, max(level, 1e-4), count).astype(np.float32)
    for first in range(0, count, LEVEL_CHUNK):
        yield Chunk(begin_ns + first * NS_PER_S // SAMPLE_RATE_HZ, sound[first : first + LEVEL_CHUNK])


@dataclass(slots=True)
class Notes:
    """What the words of a stream did: each committed word with when that was, and each reading with when it was made.

    A reading is what the words alone say, None for no words; times in nanoseconds of the stream.
    """

    committed: list[tuple[int, Word]]
    appeared: list[tuple[int, int]]
    """When there was a word, and when the newest had begun."""
    readings: list[tuple[int, float | None]]


class Listening(TextExtractor):
    """The text extractor, which also takes notes."""

    notes: Notes

    def feed(self, item: Transcript | Reading, /) -> Iterable[TextFeatures]:
        """Note the words that are new and what all of them say, then go on as usual."""
        at_ns = item_end_ns(item)
        if isinstance(item, Transcript):
            self.notes.committed.extend((at_ns, word) for word in item.committed)
            if words := (*item.committed, *item.tentative):
                self.notes.appeared.append((at_ns, words[0].start_ns))
        found = list(super().feed(item))
        for features in found:
            self.notes.readings.append((at_ns, reading(features)))
        return found


class ListeningParts(SharedModels):
    """The live models, with notes on the words of the newest stream."""

    notes: Notes
    line: TextLine | None = None
    """Reads the words in place of the shipped text line."""

    def judge(self, folds: Path, speaker: str) -> None:
        """Take the weights that did not see a speaker."""
        number = folds_of(folds / "folds.json")[speaker]
        weights, graphs = folds / f"fold{number}.safetensors", zoo.cache().parent / "graphs"
        self.line = TextLine.load(zoo.path(BASE), weights, graphs=graphs)
        sets = [f"fusion.weights={held_weights(folds, speaker)}"]
        self.fuser = fuser_of(load(sets=sets)[0], VirtualClock())

    def text(self) -> TextExtractor:
        """Return a text extractor that listens."""
        extractor = Listening(self.line or self.reader)
        self.notes = extractor.notes = Notes([], [], [])
        return extractor


def reading(features: TextFeatures) -> float | None:
    """What the words alone say, in [-3, 3]; None without words."""
    return float(features.values[-1, READING]) if len(features.values) else None


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
    """Stream clips as one and return, per clip, its windows' messages, its begin in the stream, and `Told`."""
    messages: list[Sentiment] = []

    def take(message: Message) -> None:
        if isinstance(message, Sentiment):
            messages.append(message)

    playlist = Playlist(clips, damages, config)
    parts.notes = Notes([], [], [])
    OfflineRun(config, parts, VirtualClock(), Outlet.into(take), playlist).run(threading.Event())
    late_ns = int(END_S * NS_PER_S)
    results = []
    for number, (clip, (begin_ns, end_ns)) in enumerate(zip(clips, playlist.spans, strict=True)):
        begin_s, end_s = begin_ns / NS_PER_S, end_ns / NS_PER_S + config.window.hop_s
        committed = [(at, word) for at, word in parts.notes.committed if begin_ns <= word.start_ns < end_ns]
        if number < len(clips) - 1 and committed:
            # Somebody who pauses: the last word may be committed in the pause, and is read END_S later at most.
            end_s = max(end_s, (committed[-1][0] + late_ns) / NS_PER_S)
        inside = [m for m in messages if begin_s < m.window.end_s < end_s]
        results.append(
            {
                "clip": clip,
                "messages": inside,
                "words": [word.text for _, word in committed],
                "begin_s": begin_s,
                "told": told(clip, inside, parts.notes, (begin_ns, end_ns), committed, config),
            }
        )
    return results


def told(
    clip: Clip,
    messages: Sequence[Sentiment],
    notes: Notes,
    span_ns: tuple[int, int],
    committed: Sequence[tuple[int, Word]],
    config: Config,
) -> Told:
    """Lay out the messages of a clip for the figures."""
    begin_ns, end_ns = span_ns
    late_ns = int(config.window.lateness_s * NS_PER_S)
    appeared = [at for at, start_ns in notes.appeared if begin_ns <= start_ns < end_ns]
    nowhere = float("nan")
    text = []
    for message in messages:
        until_ns = int(message.window.end_s * NS_PER_S) + late_ns
        said = [value for at, value in notes.readings if begin_ns < at <= until_ns]
        text.append((said[-1] if said else None) or 0.0)
    rows = [
        (m.score, m.raw, *m.interval, nowhere if (p := probability(m)) is None else p)
        if m.score is not None and m.raw is not None and m.interval is not None
        else (nowhere,) * 5
        for m in messages
    ]
    score, raw, low, high, p_positive = np.array(rows, np.float64).reshape(-1, 5).T
    return Told(
        label=clip.label,
        speaker=clip.video,
        end_s=np.array([m.window.end_s for m in messages]) - begin_ns / NS_PER_S,
        score=score,
        raw=raw,
        low=low,
        high=high,
        p_positive=p_positive,
        text=np.array(text),
        committed_s=(committed[-1][0] - begin_ns) / NS_PER_S if committed else None,
        first_word_s=(appeared[0] - begin_ns) / NS_PER_S if appeared else None,
        word_end_s=(committed[-1][1].end_ns - begin_ns) / NS_PER_S if committed else None,
        hop_s=config.window.hop_s,
    )


def probability(message: Sentiment) -> float | None:
    """P(score > 0) as published; None where it is not."""
    value = getattr(message, "p_positive", None)
    return None if value is None else float(value)


def summarise(results: Sequence[dict[str, Any]], *, over: bool = False) -> dict[str, Any]:
    """Figures over clips; `over` time, too, where the clips of a video were one stream."""
    errors = ErrorRate()
    for result in results:
        errors.add(result["clip"].text, result["words"])
    everything = [m for result in results for m in result["messages"] if m.raw is not None]
    found = {"n": len(results), **figures([result["told"] for result in results])}
    if over:
        streams: dict[str, list[tuple[float, Told]]] = {}
        for result in results:
            streams.setdefault(result["clip"].video, []).append((result["begin_s"], result["told"]))
        found["over_time_ccc"] = over_time(list(streams.values()))
    found |= {
        "confidence": float(np.mean([m.confidence for m in everything])) if everything else None,
        "gates": {name: _mean(everything, name, "weight") for name in MODALITIES},
        "reliability": {name: _mean(everything, name, "reliability") for name in MODALITIES},
        "score_size": float(np.mean([abs(m.score) for m in everything if m.score is not None])) if everything else None,
        "wer": errors.value,
    }
    rounding: dict[str, Any] = rounded(found)
    return rounding


def main(options: Sequence[str]) -> None:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="evaluate.py live", description=__doc__)
    cli.add_argument("--clips", type=Path, required=True, help="folder with labels.csv")
    cli.add_argument(
        "--damage", type=damages_of, default=damages_of("clean"), metavar="KIND:LEVEL", help="several: noise:0+black:1"
    )
    cli.add_argument("--context", action="store_true", help="play the clips of a video as one stream")
    cli.add_argument("--folds", type=Path, help="weights of scripts/fit.py that did not see the clip's speaker")
    cli.add_argument("--jobs", type=int, default=1, help="processes")
    cli.add_argument("--limit", type=int, help="only the first so many clips")
    cli.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in realtime.run")
    args = cli.parse_args(options)
    clips = read_clips(args.clips)[: args.limit]
    config, _ = load(sets=[*args.set, "streams=[{name: evaluation, source: clips}]"])
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        videos.setdefault(clip.video if args.context else clip.path.stem, []).append(clip)
    groups = list(videos.values())
    share = -(-len(groups) // args.jobs)
    work = [(groups[begin : begin + share], args.damage, config, args.folds) for begin in range(0, len(groups), share)]
    if args.jobs == 1:
        results = play_all(*work[0])
    else:
        with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
            results = [result for part in pool.map(play_all, *zip(*work, strict=True)) for result in part]
    print(json.dumps(summarise(results, over=args.context)))


def play_all(
    groups: Sequence[Sequence[Clip]], damages: Sequence[Damage], config: Config, folds: Path | None
) -> list[dict[str, Any]]:
    """Play groups of clips, each as one stream, over one set of models; see `play`."""
    parts = ListeningParts(config, VirtualClock())
    results, speaker = [], None
    for group in tqdm(groups, mininterval=10):
        if folds is not None and group[0].video != speaker:
            speaker = group[0].video
            parts.judge(folds, speaker)
        results += play(group, damages, config, parts)
    return results


def _mean(messages: Sequence[Sentiment], name: Modality, key: str) -> float | None:
    values = [getattr(message.modalities[name], key) for message in messages]
    return round(float(np.mean(values)), 4) if values else None
