"""`evaluate.py voice`: what Whisper's encoder hears of valence and arousal in acted voices, beside today's columns.

Mean, deviation and .9 quantile of the encoder's states over the spoken part of a clip, minus the running mean of what
the same speaker said before, in a shuffled order; ridge, judged over speakers that were held out. An experiment: the
program does not carry these states yet. Prints one line of JSON with r and MAE by corpus, features and target.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile
import torch
import yaml
from tqdm import tqdm

from models.arousal import VOICED
from models.metrics import mae, pearson
from realtime.config.schema import AsrConfig
from realtime.extract.asr.whisper import AsrModel
from realtime.extract.schema import VOICE_COLUMNS
from realtime.types import SAMPLE_RATE_HZ
from scripts.train_arousal import arousal_of, heard
from scripts.training import corpora

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDS: Final = 6
PRIOR: Final = 2.0
"""The mean of everyone counts like so many clips in the running mean of a speaker."""
LOUD_DB: Final = 30.0
"""What is so much below the loudest is no speech."""
PENALTIES: Final = {"states": 1000.0, "columns": 30.0, "both": 1000.0}


def clips(data: Path, corpus: str, model: AsrModel, emotions: dict[str, float]) -> dict[str, np.ndarray]:
    """Features and labels of a corpus, a row a clip, in the shuffled order."""
    examples = list(getattr(corpora, corpus)(data, emotions))
    chosen = [examples[index] for index in np.random.default_rng(0).permutation(len(examples))]
    rows: dict[str, list[Any]] = {name: [] for name in ("states", "columns", "valence", "arousal", "speaker")}
    for example, blocks in zip(tqdm(chosen, desc=corpus, mininterval=10), heard(chosen), strict=True):
        samples = soundfile.read(str(example.path), dtype="float32")[0]
        rows["states"].append(summary(model.states(samples[: 28 * SAMPLE_RATE_HZ]), samples))
        rows["columns"].append(spread(blocks))
        rows["valence"].append(example.label)
        rows["arousal"].append(arousal_of(example.id, corpus))
        rows["speaker"].append(example.speaker)
    return {name: np.array(values) for name, values in rows.items()}


def summary(states: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Mean, deviation and .9 quantile (3 D,) of states (T, D) over the spoken part."""
    step = len(samples) // max(1, len(states))
    level = [float(np.square(samples[i * step : (i + 1) * step]).mean()) for i in range(len(states))]
    loud = 10 * np.log10(np.array(level) + 1e-10)
    spoken = states[loud > loud.max() - LOUD_DB]
    return np.concatenate((spoken.mean(0), spoken.std(0), np.quantile(spoken, 0.9, axis=0)))


def spread(blocks: np.ndarray) -> np.ndarray:
    """Mean and deviation (2 D,) of voice vectors (T, D) over the voiced ones, or over all where there are none."""
    kept = blocks[blocks[:, VOICE_COLUMNS.index("voiced_share")] > VOICED]
    kept = kept if len(kept) else blocks
    return np.concatenate((kept.mean(0), kept.std(0)))


def minus_before(rows: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Subtract the running mean of what each speaker said before."""
    out, everyone = np.empty_like(rows), rows.mean(0)
    for name in np.unique(speaker):
        own = np.flatnonzero(speaker == name)
        before = np.cumsum(rows[own], axis=0) - rows[own]
        count = np.arange(len(own))[:, None]
        out[own] = rows[own] - (before + PRIOR * everyone) / (count + PRIOR)
    return out


def cross_validated(rows: np.ndarray, label: np.ndarray, speaker: np.ndarray, penalty: float) -> dict[str, float]:
    """Ridge over speakers that are held out in turn."""
    names = sorted(set(speaker))
    fold = np.array([names.index(name) % FOLDS for name in speaker])
    said = np.zeros(len(label))
    for number in range(FOLDS):
        seen, unseen = fold != number, fold == number
        mean, scale = rows[seen].mean(0), rows[seen].std(0) + 1e-3
        one, other = (np.clip((rows[part] - mean) / scale, -4, 4) for part in (seen, unseen))
        centre = label[seen].mean()
        weight = np.linalg.solve(one.T @ one + penalty * np.eye(one.shape[1]), one.T @ (label[seen] - centre))
        said[unseen] = centre + other @ weight
    return {"r": round(pearson(label, said), 3), "mae": round(mae(label, said), 3)}


def main(options: Sequence[str]) -> None:
    """Listen, fit, judge, print."""
    cli = argparse.ArgumentParser(prog="evaluate.py voice", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--model", default="tiny.en", help="tiny.en or base")
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    emotions = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))["emotions"]
    model = AsrModel(AsrConfig(model=args.model, reading_model="none"))
    found: dict[str, Any] = {"model": args.model}
    for corpus in ("ravdess", "emodb"):
        given = clips(args.data, corpus, model, emotions)
        states = minus_before(given["states"], given["speaker"])
        kinds = {"states": states, "columns": given["columns"], "both": np.hstack((states, given["columns"]))}
        found[corpus] = {
            target: {
                kind: cross_validated(rows, given[target], given["speaker"], PENALTIES[kind])
                for kind, rows in kinds.items()
            }
            for target in ("valence", "arousal")
        }
    print(json.dumps(found))
