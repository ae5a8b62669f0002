"""Real speech for benchmarks: clips with their words, and streams made of them.

MOSI has transcripts without times; these come from aligning the true transcript to the sound with Whisper at its full
30 s. GRID has word times made by hand-checked forced alignment.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
from faster_whisper.audio import decode_audio, pad_or_trim
from faster_whisper.tokenizer import Tokenizer

from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks.words import TimedText, normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from faster_whisper import WhisperModel

    from realtime.types import Floats

GRID_UNITS_PER_S = 25_000


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording: mono sound (N,) float32 at 16 kHz and what is said in it (times may be unknown)."""

    name: str
    sound: Floats
    text: str
    words: tuple[TimedText, ...] = ()


def mosi(folder: Path, most: int | None = None) -> list[Clip]:
    """Clips of CMU-MOSI, evenly chosen over the speakers if at most `most` are wanted."""
    with (folder / "mosi_clips" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = np.linspace(0, len(rows) - 1, min(most or len(rows), len(rows))).round().astype(int)
    return [
        Clip(row["clip"], decode_audio(str(folder / "mosi_clips" / f"{row['clip']}.mp4")), row["text"])
        for row in (rows[index] for index in chosen)
    ]


def grid(folder: Path) -> list[Clip]:
    """Clips of GRID with their word times."""
    clips = []
    for align in sorted((folder / "grid").glob("*.align")):
        words = []
        for line in align.read_text(encoding="ascii").splitlines():
            start, end, word = line.split()
            if word not in {"sil", "sp"}:
                words.append(TimedText(word, int(start) / GRID_UNITS_PER_S, int(end) / GRID_UNITS_PER_S))
        sound = decode_audio(str(align.with_suffix(".mpg")))
        clips.append(Clip(align.stem, sound, " ".join(word.text for word in words), tuple(words)))
    return clips


def join(clips: Sequence[Clip], length_s: float, pauses_s: Sequence[float]) -> Clip:
    """One stream of `length_s` from clips in turn, with silent pauses of the given lengths in turn."""
    parts: list[Floats] = []
    words: list[TimedText] = []
    at = 0
    for clip, pause_s in zip(cycle(clips), cycle(pauses_s), strict=False):
        if at / SAMPLE_RATE_HZ >= length_s:
            break
        offset_s = at / SAMPLE_RATE_HZ
        words += [replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s) for word in clip.words]
        pause = np.zeros(int(pause_s * SAMPLE_RATE_HZ), np.float32)
        parts += [clip.sound, pause]
        at += len(clip.sound) + len(pause)
    return Clip("stream", np.concatenate(parts), " ".join(word.text for word in words), tuple(words))


def noise(length_s: float, level: float = 0.05, seed: int = 0) -> Floats:
    """White noise."""
    samples = int(length_s * SAMPLE_RATE_HZ)
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def silence(length_s: float) -> Floats:
    """Digital silence."""
    return np.zeros(int(length_s * SAMPLE_RATE_HZ), np.float32)


def tones(length_s: float, seed: int = 0) -> Floats:
    """Music-like: a chord of three decaying partials, a new one every 0.4 s."""
    random = np.random.default_rng(seed)
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12)
    t = np.arange(int(0.4 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ

    def chords() -> Iterator[Floats]:
        while True:
            roots = random.choice(scale, 3, replace=False)
            partials = [np.sin(2 * np.pi * root * k * t) / k for root in roots for k in (1, 2, 3)]
            yield (0.08 * np.exp(-3 * t) * np.sum(partials, axis=0)).astype(np.float32)

    return np.concatenate(list(islice(chords(), int(length_s / 0.4))))


def spoken_words(clip: Clip) -> list[TimedText]:
    """The timed words of a clip, split and spelled like `normal` does."""
    return [TimedText(part, word.start_s, word.end_s) for word in clip.words for part in normal(word.text)]


def align(clip: Clip, whisper: WhisperModel) -> Clip:
    """Give the words of a clip the times at which the true transcript fits its sound best (Whisper's full 30 s)."""
    tokenizer = Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, task="transcribe", language="en")
    tokens = tokenizer.encode(" " + " ".join(normal(clip.text)))
    states = whisper.encode(pad_or_trim(whisper.feature_extractor(clip.sound)))
    length_s = len(clip.sound) / SAMPLE_RATE_HZ
    timed = whisper.find_alignment(tokenizer, [tokens], states, round(length_s * 100))[0]
    return replace(
        clip,
        words=tuple(
            TimedText(word["word"].strip(), float(word["start"]), min(float(word["end"]), length_s))
            for word in timed
            if word["word"].strip()
        ),
    )
