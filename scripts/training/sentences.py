"""Sentences and phrases with their sentiment, for the stages of the text line.

First what strangers wrote and others rated: fragments, sentences and comments of every length; then CMU-MOSI.
"""

from __future__ import annotations

import csv
import gzip
import re
from typing import TYPE_CHECKING

import numpy as np

from scripts.training.adapt import Sentence, sentence
from scripts.training.corpora import meld, mosi_text, rated_snippets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_TREEBANK = (
    (re.compile(r"\b(ca|wo|sha) n't\b"), lambda found: {"ca": "can", "wo": "won", "sha": "shan"}[found[1]] + "'t"),
    (re.compile(r" (n't|'s|'re|'ve|'m|'ll|'d)\b"), lambda found: found[1]),
    (re.compile(r"-[LR][RCS]B-"), lambda _: " "),
)


def plain(text: str) -> str:
    """Write treebank tokens as people do: `do n't` as `don't`, without brackets."""
    for pattern, put in _TREEBANK:
        text = pattern.sub(put, text)
    return text


def sst(data: Path, split: str) -> Iterator[tuple[Sentence, bool]]:
    """Stanford Sentiment Treebank: every phrase, and whether it is a whole sentence."""
    path = data / "sst" / "phrases.csv.gz"
    if not path.exists():
        return
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            made = sentence(plain(row["text"]), (float(row["label"]) - 2) * 1.25) if row["split"] == split else None
            if made:
                yield made, row["root"] == "1"


def goemotions(data: Path, valence: Mapping[str, float]) -> Iterator[Sentence]:
    """GoEmotions comments: the mean sentiment of their emotions; those that hide a name or a faith are left out."""
    path = data / "goemotions" / "train.tsv"
    if not path.exists():
        return
    names = (data / "goemotions" / "labels.txt").read_text(encoding="utf-8").split()
    for line in path.read_text(encoding="utf-8").splitlines():
        text, numbers, _ = line.split("\t")
        felt = [valence[names[int(number)]] for number in numbers.split(",") if names[int(number)] in valence]
        if felt and "[" not in text and (made := sentence(text, float(np.mean(felt)))):
            yield made


def first_stage(data: Path, settings: Mapping[str, Mapping[str, float]], sizes: Mapping[str, int]) -> list[Sentence]:
    """Draw the sentences and phrases of the first stage, `sizes` of each kind, none unless told: no text twice."""
    rng = np.random.default_rng(0)
    longest = sizes["longest"]
    phrases, whole = [], []
    for item, root in sst(data, "train"):
        (whole if root else phrases).append(item)
    short = [item for item in phrases if len(item.words) <= 3]
    longer = [item for item in phrases if 4 <= len(item.words) <= 16]
    neutral = [item for item in longer if item.label == 0]
    told = [item for item in longer if item.label != 0]
    emotions, sentiments = settings["emotions"], settings["sentiments"]
    spoken = [made for one in meld(data, emotions, sentiments) if (made := sentence(one.text, one.label))]
    rated = [made for one in rated_snippets(data) if (made := sentence(one.text, one.label))]
    pools = {
        "sentences": whole,
        "fragments": short,
        "neutral": neutral,
        "phrases": told,
        "rated": rated,
        "comments": list(goemotions(data, settings["comments"])),
        "spoken": [item for item in spoken if item.label != 0 or len(item.words) > 3],
    }
    chosen: dict[tuple[str, ...], Sentence] = {}
    for name, pool in pools.items():
        fits = [item for item in pool if len(item.words) <= longest]
        for index in rng.permutation(len(fits))[: sizes.get(name, 0)]:
            chosen.setdefault(fits[index].words, fits[index])
    return list(chosen.values())


def spoken_reviews(data: Path) -> list[tuple[str, str, Sentence]]:
    """CMU-MOSI: (clip, video, sentence) of every transcript with a word in it."""
    rows = ((one.id, one.speaker, sentence(one.text, one.label)) for one in mosi_text(data))
    return [(clip, video, made) for clip, video, made in rows if made]


def vocabulary(sentences: Iterable[Sentence]) -> set[str]:
    """Return all words of some sentences."""
    return {word for item in sentences for word in item.words}
