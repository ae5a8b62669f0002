"""What time is worth: the order of steps in a voice, and how soon a clip is understood.

The voice of RAVDESS is read by the same network with another sequence encoder (mean of the steps, dilated convolutions,
LSTM), actors held out; then with the steps of the test windows shuffled or reversed. `--held` takes the held-out
predictions that `train.py --held FILE` wrote, and prints the error after 25, 50, 75 and 100 % of each clip, and that of
its last window alone.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from models import zoo
from models.metrics import all_metrics
from scripts.training.fusion import predict, train
from scripts.training.held import load
from scripts.training.trainer import Trainer, clip_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.encoders import EncoderKind
    from realtime.types import WindowView
    from scripts.training.held import HeldOutPredictions
    from scripts.training.trainer import Clip

KINDS: tuple[EncoderKind, ...] = ("mean", "tcn", "gru", "lstm")
PREFIXES = (0.25, 0.5, 0.75, 1.0)


def moved(view: WindowView, order: Callable[[int], np.ndarray]) -> WindowView:
    """The window with the steps of its voice in another order, at the same times."""
    voice = view.segments["voice"]
    swapped = replace(voice, values=voice.values[order(len(voice.values))])
    return replace(view, segments={**view.segments, "voice": swapped})


def read(model: Any, clips: Sequence[Clip], order: Callable[[int], np.ndarray] | None) -> dict[str, float]:  # noqa: ANN401 - AGFN
    """Figures over clips of the mean over their windows."""
    label, said = [], []
    for clip in clips:
        out = predict(model, clip.views if order is None else [moved(view, order) for view in clip.views])
        if out["present"].any():
            label.append(clip.example.label)
            said.append(float(out["score"][out["present"]].mean()))
    found = all_metrics(np.array(label), np.array(said))
    return {key: round(float(found[key]), 4) for key in ("mae", "r", "non0")}


def voices(trainer: Trainer) -> dict[str, dict[str, dict[str, float]]]:
    """Each kind of encoder on the voices of actors that it did not hear, with three orders of the steps."""
    clips = [clip for clip in trainer.voice_clips() if clip.example.corpus == "ravdess" and clip.damage == "clean"]
    speakers = sorted({clip.example.speaker for clip in clips})
    held = set(speakers[::4])
    inside = [clip for clip in clips if clip.example.speaker not in held]
    outside = [clip for clip in clips if clip.example.speaker in held]
    rng = np.random.default_rng(0)
    orders: dict[str, Callable[[int], np.ndarray] | None] = {
        "as spoken": None,
        "shuffled": rng.permutation,
        "reversed": lambda count: np.arange(count)[::-1],
    }
    table: dict[str, dict[str, dict[str, float]]] = {}
    for kind in KINDS:
        model = train(clip_samples(inside, 1.0), replace(trainer.network, encoder=kind), trainer.recipe)
        table[kind] = {name: read(model, outside, order) for name, order in orders.items()}
    return table


def anytime(held: Sequence[HeldOutPredictions]) -> dict[str, dict[str, float]]:
    """Figures of the mean over the first part of each clip's windows, and of the last window alone (`final`)."""
    clean = [item for item in held if item.damage == "clean"]
    label = np.array([item.example.label for item in clean])
    parts = {f"{share:.0%}": [slice(0, max(1, round(share * len(item.score)))) for item in clean] for share in PREFIXES}
    parts["final"] = [slice(len(item.score) - 1, None) for item in clean]
    table = {}
    for name, slices in parts.items():
        found = all_metrics(label, np.array([item.mean(part) for item, part in zip(clean, slices, strict=True)]))
        table[name] = {key: round(float(found[key]), 4) for key in ("mae", "r", "has0", "acc7")}
    return table


def main(options: Sequence[str]) -> None:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="evaluate.py temporal", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--held", type=Path, help="held-out predictions of train.py --held")
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    trainer = Trainer(args.data, args.cache, yaml.safe_load(args.settings.read_text(encoding="utf-8")))
    result: dict[str, Any] = {"ravdess_voice": voices(trainer)}
    if args.held:
        result["anytime"] = anytime(load(args.held, trainer.clips))
    print(json.dumps(result))
