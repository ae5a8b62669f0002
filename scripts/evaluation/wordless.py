"""`evaluate.py wordless`: what the shipped weights say of acted clips by the face alone and by the voice alone.

Clips of CREMA-D (any actors; the emotion is in the file's name, nobody was trained on them) go through the live
extractors, their words are never looked at, and one modality is left. Of a voice the mean of the actor's other clips is
subtracted, as in a stream in which they came before. Prints one line of JSON: the mean score by emotion, and r with the
sentiment that the emotion stands for.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import yaml
from tqdm import tqdm

from models.metrics import pearson
from realtime.clock import MonotonicClock
from realtime.config.schema import Config
from realtime.extract.asr.voice_mean import VoiceMean
from realtime.extract.schema import EMBEDDING_DIM, VOICE_DIM
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.types import MODALITIES
from scripts.features import tape_clip
from scripts.training import corpora
from scripts.training.live import tape_of
from scripts.training.windows import absent, replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Modality, WindowView

EMBEDDING: Final = slice(VOICE_DIM, VOICE_DIM + EMBEDDING_DIM)
NEGATIVE: Final = ("anger", "disgust", "fear", "sad")


def alone(views: Sequence[WindowView], kept: Modality, before: Sequence[np.ndarray] = ()) -> list[WindowView]:
    """Leave one modality in windows, and only those in which it is there.

    Args:
        views: of a clip.
        kept: the modality.
        before: of a voice the embeddings of earlier utterances.
    """
    gone: dict[Modality, Any] = {name: absent(name) for name in MODALITIES if name != kept}
    found = []
    for view in views:
        segment = view.segments[kept]
        if segment.reliability > 0:
            values = segment.values.copy()
            if kept == "voice" and len(before):
                values[:, EMBEDDING] -= values[:, -2:-1] * mean_of(before)
            found.append(replace(view, segments=view.segments | gone | {kept: replace(segment, values=values)}))
    return found


def mean_of(before: Sequence[np.ndarray]) -> np.ndarray:
    """What the live stream subtracts after some utterances."""
    usual = VoiceMean()
    for each in before:
        usual.learn(each.tolist())
    return -usual.subtract([0.0] * EMBEDDING_DIM)


def embedding(views: Sequence[WindowView]) -> np.ndarray | None:
    """The newest embedding of the voice in a clip; None for none."""
    voices = [view.segments["voice"].values for view in views]
    known = [values[-1] for values in voices if len(values) and values[-1, -2]]
    return known[-1][EMBEDDING] if known else None


def by_emotion(said: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """Figures of clips: of each the emotion, the label and the score."""
    names = [name for name, _, _ in said]
    mean = {name: float(np.mean([score for other, _, score in said if other == name])) for name in dict.fromkeys(names)}
    label, score = (np.array(column) for column in zip(*((label, score) for _, label, score in said), strict=True))
    negative = [mean[name] for name in NEGATIVE if name in mean]
    found: dict[str, Any] = {"clips": len(said), "mean": mean, "r": pearson(label, score) if len(said) > 2 else None}
    if negative and {"happy", "neutral"} <= mean.keys():
        found["in_order"] = bool(mean["happy"] > mean["neutral"] > np.mean(negative))
    return found


def main(options: Sequence[str]) -> None:
    """Watch, listen, print."""
    cli = argparse.ArgumentParser(prog="evaluate.py wordless", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--weights", type=Path, default=WEIGHTS)
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    emotions = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))["emotions"]
    examples = list(corpora.cremad(args.data, emotions))
    if not examples:
        raise SystemExit(f"error: no cremad/*.flv in {args.data}")
    fuser, config = Fuser(args.weights, "cpu", MonotonicClock()), Config()
    said: dict[Modality, list[tuple[str, float, float]]] = {"face": [], "voice": []}
    seen: list[tuple[corpora.Example, list[WindowView]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for example in tqdm(examples, mininterval=10):
            tape_clip(example, "clean", Path(folder), False)
            tape = tape_of(Path(folder), example, "clean")
            seen.append((example, [view for view, _ in replay(tape, None, config)]))
    heard = [(example.id, example.speaker, embedding(views)) for example, views in seen]
    for example, views in seen:
        others = [own for name, actor, own in heard if actor == example.speaker and name != example.id]
        before = [own for own in others if own is not None]
        emotion = corpora.CREMAD[example.id.split("_")[2]]
        for name, clips in said.items():
            raws = [each.raw for each in fuser.fuse(alone(views, name, before)) if each.raw is not None]
            if raws:
                clips.append((emotion, example.label, float(np.mean(raws))))
    print(json.dumps({name: by_emotion(clips) for name, clips in said.items()}, default=float))
