"""Fit the projection of the utterance embedding to acted voices, and write it.

python -m scripts.train_embedding [--data ../shared/data] [--cache DIR]

Needs the tapes of scripts/features.py, which hold Whisper's states as the live recogniser pooled them at each decode.
What those of a clip are off their speaker's mean is mapped to the clip's valence, arousal and emotion, a column each
(ridge). `python -m scripts.train_streams` learns what the columns say, of actors whom the projection that it uses does
not know, and gives the figures.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import yaml
from tqdm import tqdm

from models import zoo
from models.embedding import WEIGHTS, VoiceEmbedder, save
from realtime.config.schema import AsrConfig
from realtime.types import Transcript
from scripts.train_arousal import arousal_of
from scripts.training import corpora
from scripts.training.live import pooled_tape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST_SCALE: Final = 1e-3
PENALTY: Final = 1500.0
EMOTIONS: Final = {
    "neutral": 0,
    "calm": 0,
    "boredom": 1,
    "happy": 2,
    "joy": 2,
    "sad": 3,
    "sadness": 3,
    "angry": 4,
    "anger": 4,
    "fearful": 5,
    "fear": 5,
    "disgust": 6,
    "surprised": 7,
}
"""Columns of the emotions, behind those of valence and arousal."""


def targets(examples: Sequence[corpora.Example]) -> np.ndarray:
    """Valence, arousal and emotions (N, EMBEDDING_DIM) of clips, in units of their deviation, about 0."""
    rows = []
    for example in examples:
        emotion = EMOTIONS[emotion_of(example)]
        rows.append(
            [example.label, arousal_of(example.id, example.corpus), *np.eye(len(set(EMOTIONS.values())))[emotion]]
        )
    found = np.array(rows)
    scaled: np.ndarray = (found - found.mean(0)) / found.std(0)
    return scaled


def emotion_of(example: corpora.Example) -> str:
    """Return the emotion that a clip's name says."""
    if example.corpus == "emodb":
        return corpora.EMODB[example.id[5]]
    return corpora.RAVDESS[int(example.id.split("-")[2])]


def own_mean(rows: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Return the mean (N, D) of the rows of each row's speaker."""
    found = np.empty_like(rows)
    for name in np.unique(speaker):
        found[speaker == name] = rows[speaker == name].mean(0)
    return found


def fitted(rows: np.ndarray, speaker: np.ndarray, corpus: np.ndarray, wanted: np.ndarray) -> VoiceEmbedder:
    """Fit what rows (N, 3 D) are off the mean of their speaker (N,) to targets (N, K); unit variance comes out.

    Each corpus (N,) counts the same: the largest alone would say what an emotion sounds like.
    """
    _, kind, count = np.unique(corpus, return_inverse=True, return_counts=True)
    root = np.sqrt(len(rows) / len(count) / count[kind])[:, None]
    usual = own_mean(rows, speaker)
    scale = rows.std(0) + LEAST_SCALE
    apart = (rows - usual) / scale
    counted = root * apart
    inner = counted.T @ counted + PENALTY * np.eye(apart.shape[1])
    weight = np.linalg.solve(inner, counted.T @ (root * (wanted - wanted.mean(0)))).T
    weight = weight / (apart @ weight.T).std(0)[:, None] / scale
    middle = np.mean([rows[speaker == name].mean(0) for name in np.unique(speaker)], axis=0)
    return VoiceEmbedder(weight.astype(np.float32), (-weight @ middle).astype(np.float32))


def voices(data: Path) -> list[corpora.Example]:
    """Return the clips of acted voices."""
    emotions = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))["emotions"]
    return [*corpora.ravdess(data, emotions), *corpora.emodb(data, emotions)]


def main(options: Sequence[str] | None = None) -> None:
    """Read, fit, write, print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    examples = voices(args.data)
    wanted = targets(examples)
    rows, speaker, corpus, number = [], [], [], []
    for index, example in enumerate(tqdm(examples, mininterval=10)):
        tape = pooled_tape_of(args.cache, example, "clean")
        for states in [] if tape is None else pooled_states(tape[0]):
            rows.append(states)
            speaker.append(example.speaker)
            corpus.append(example.corpus)
            number.append(index)
    if not rows:
        raise SystemExit(f"error: no tapes in {args.cache}; make them with python -m scripts.features")
    name, about = AsrConfig().hears_with, {"command": "python -m scripts.train_embedding", "decodes": len(rows)}
    found = fitted(np.stack(rows), np.array(speaker), np.array(corpus), wanted[number])
    save(args.out, {name: found}, about)
    print(json.dumps(about))


def pooled_states(items: Iterable[tuple[int, Any]]) -> list[np.ndarray]:
    """Return the pooled states (3 D,) of each decode of a tape."""
    return [item.embedding for _, item in items if isinstance(item, Transcript) and item.embedding is not None]


if __name__ == "__main__":
    main()
