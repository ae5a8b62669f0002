"""Fit how excited a voice sounds to acted voices, judge it on actors that were held out, and write the weights.

python -m scripts.train_arousal [--data ../shared/data]

Each actor's clips go through the live voice extractor one after another, in a shuffled order, as a live voice does.
The arousal of an emotion is what people rate its word as (Russell and Mehrabian 1977); of normal intensity two thirds
of it.
Judged on RAVDESS over actors (six folds), and on EMO-DB, in German, by what was fitted to all of RAVDESS.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from models.arousal import WEIGHTS, ArousalReader, statistics
from models.metrics import pearson
from realtime.extract.schema import VOICE_COLUMNS, VOICE_DIM
from realtime.extract.voice.prosody import BLOCK, PAST, Block, OwnVoice, prosody
from realtime.types import SAMPLE_RATE_HZ
from scripts.training import corpora

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.types import Floats

AROUSAL: Final = {
    "neutral": 0.0,
    "calm": -0.3,
    "happy": 0.51,
    "joy": 0.51,
    "sad": -0.27,
    "sadness": -0.27,
    "angry": 0.59,
    "anger": 0.59,
    "fearful": 0.60,
    "fear": 0.60,
    "disgust": 0.35,
    "surprised": 0.67,
    "boredom": -0.62,
}
NORMAL: Final = 2 / 3
"""Share of an emotion's arousal that RAVDESS's normal intensity counts as; strong counts as all of it."""
FOLDS: Final = 6
PENALTY: Final = 30.0


def rows(data: Path, corpus: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistics (N, 2 D), arousal (N,) and speaker (N,) of a corpus, a row a clip."""
    examples = list(getattr(corpora, corpus)(data, dict.fromkeys(AROUSAL, 0.0)))
    chosen = [examples[index] for index in np.random.default_rng(0).permutation(len(examples))]
    found, label, speaker = [], [], []
    for example, values in zip(chosen, heard(chosen), strict=True):
        stats = statistics(values, values[:, VOICE_COLUMNS.index("voiced_share")])
        if stats is not None:
            found.append(stats)
            label.append(arousal_of(example.id, corpus))
            speaker.append(example.speaker)
    return np.stack(found), np.array(label), np.array(speaker)


def sound_of(example: corpora.Example) -> Floats:
    """Samples (N,) of a clip.

    Raises:
        ValueError: it is not mono at 16 kHz.
    """
    samples, rate_hz = soundfile.read(str(example.path), dtype="float32")
    if rate_hz != SAMPLE_RATE_HZ or samples.ndim > 1:
        raise ValueError(f"{example.path}: {rate_hz} Hz, {samples.ndim} channels")
    found: Floats = samples
    return found


def heard(
    examples: Sequence[corpora.Example], sound: Callable[[corpora.Example], Floats] = sound_of
) -> list[np.ndarray]:
    """Voice vectors (T, D) of each clip, as the live extractor gives them while each speaker's clips follow each other.

    The blocks of all speakers go through the analysis together, a fifth of the work. `sound` gives a clip's samples.
    """
    voices: dict[str, deque[tuple[int, Block]]] = {}
    for number, example in enumerate(examples):
        samples = sound(example)
        waiting = voices.setdefault(example.speaker, deque())
        own = waiting[-1][1].own if waiting else OwnVoice()
        starts = range(0, len(samples) - PAST - BLOCK + 1, BLOCK)
        waiting += [(number, Block(samples[start : start + PAST + BLOCK], own)) for start in starts]
    found: list[list[np.ndarray]] = [[] for _ in examples]
    with tqdm(total=sum(map(len, voices.values())), mininterval=10) as bar:
        while waiting_all := [waiting for waiting in voices.values() if waiting]:
            step = [waiting.popleft() for waiting in waiting_all]
            for (number, _), values in zip(step, prosody()([block for _, block in step]), strict=True):
                found[number].append(values)
            bar.update(len(step))
    return [np.stack(blocks) if blocks else np.zeros((0, VOICE_DIM), np.float32) for blocks in found]


def arousal_of(name: str, corpus: str) -> float:
    """Return the arousal that a clip's name says."""
    if corpus == "emodb":
        return AROUSAL[corpora.EMODB[name[5]]]
    parts = [int(part) for part in name.split("-")]
    return AROUSAL[corpora.RAVDESS[parts[2]]] * (1.0 if parts[3] == 2 else NORMAL)


def fitted(found: np.ndarray, label: np.ndarray, about: dict[str, Any]) -> ArousalReader:
    """Fit the linear map (ridge)."""
    mean, scale = found.mean(0), found.std(0) + 1e-3
    standard = np.clip((found - mean) / scale, -4, 4)
    centre = standard.mean(0)
    inner = standard - centre
    weight = np.linalg.solve(inner.T @ inner + PENALTY * np.eye(inner.shape[1]), inner.T @ (label - label.mean()))
    bias = np.array([label.mean() - centre @ weight])
    mean, scale, weight, bias = (value.astype(np.float32) for value in (mean, scale, weight, bias))
    return ArousalReader(mean, scale, weight, bias, about)


def main(options: Sequence[str] | None = None) -> None:
    """Fit, judge, write, print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    found, label, speaker = rows(args.data, "ravdess")
    fold = np.array([sorted(set(speaker)).index(name) % FOLDS for name in speaker])
    said = np.zeros(len(label))
    for number in range(FOLDS):
        model = fitted(found[fold != number], label[fold != number], {})
        said[fold == number] = [model.of(row) for row in found[fold == number]]
    model = fitted(found, label, {})
    german, german_label, _ = rows(args.data, "emodb")
    german_said = np.array([model.of(row) for row in german])
    apart = german_label > 0.3
    about = {
        "command": "python -m scripts.train_arousal",
        "data": "RAVDESS: CC BY-NC-SA 4.0",
        "ravdess": {
            "clips": len(label),
            "r": round(pearson(label, said), 3),
            "mae": round(float(np.abs(label - said).mean()), 3),
        },
        "emodb": {
            "clips": len(german_label),
            "r": round(pearson(german_label, german_said), 3),
            "mean_excited": round(float(german_said[apart].mean()), 3),
            "mean_others": round(float(german_said[~apart].mean()), 3),
        },
    }
    fitted(found, label, about).save(args.out)
    print(json.dumps(about))


if __name__ == "__main__":
    main()
