"""Across domains: what is learned from CMU-MOSI alone, tried on television and on people who act.

Words: MiniLM adapted to CMU-MOSI's transcripts only, and to rated snippets and MELD only, on the test sentences of
MELD. Voice and face: AGFN trained on the CMU-MOSI clips only, and the shipped one, on the acted voices of RAVDESS (the
shipped one has heard those actors: see "acted" in the model card for actors it had not) and on six clips of CREMA-D,
whose actor nobody was trained on. No words are looked at there: they are the same in every emotion.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from models import zoo
from models.checkpoint import load
from models.metrics import all_metrics, auc
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS
from scripts.training import corpora
from scripts.training.adapt import Adapted, Stage, fit, sentence
from scripts.training.fusion import predict, train
from scripts.training.trainer import Trainer, clip_samples, sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.agfn import AGFN
    from scripts.training.adapt import Sentence
    from scripts.training.trainer import Clip

SENTIMENTS = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}


def meld_test(data: Path) -> list[Sentence]:
    """Sentences of MELD's test part, labelled -1, 0 or 1."""
    with (data / "meld" / "test_sent_emo.csv").open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    return [item for row in rows if (item := sentence(row["Utterance"], SENTIMENTS[row["Sentiment"]]))]


def of_words(model: Adapted, test: Sequence[Sentence]) -> dict[str, float]:
    """Correlation with the sentiment, and how well positive and negative sentences are told apart."""
    label, said = np.array([item.label for item in test]), model.score(test)
    sides = label != 0
    found = {
        "r": np.corrcoef(said, label)[0, 1],
        "auc": auc(label[sides] > 0, said[sides]),
        "sign": np.mean((said[sides] > 0) == (label[sides] > 0)),
    }
    return {key: round(float(value), 4) for key, value in found.items()}


def said_of(model: AGFN, clips: Sequence[Clip]) -> list[tuple[corpora.Example, float]]:
    """Mean over the windows of each clip that has any."""
    heard = [(clip.example, predict(model, sample.views)) for clip in clips for sample in clip_samples([clip], 1.0)]
    return [(example, float(out["score"][out["present"]].mean())) for example, out in heard]


def of_voices(model: AGFN, clips: Sequence[Clip]) -> dict[str, float]:
    """Figures over clips."""
    found = said_of(model, clips)
    kept = all_metrics(np.array([example.label for example, _ in found]), np.array([score for _, score in found]))
    return {key: round(float(kept[key]), 4) for key in ("mae", "r", "non0")}


def of_emotions(model: AGFN, clips: Sequence[Clip]) -> dict[str, float]:
    """The score of each emotion of CREMA-D."""
    return {example.id.split("_")[2]: round(score, 3) for example, score in said_of(model, clips)}


def main(options: Sequence[str]) -> None:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="evaluate.py cross", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    trainer = Trainer(args.data, args.cache, settings)
    rank, second = settings["text"]["rank"], Stage(**settings["text"]["second"])
    adapted = {name: Adapted(zoo.path("text"), rank) for name in ("mosi", "rated_and_meld")}
    fit(adapted["mosi"], sentences(trainer.mosi), second)
    adapted["rated_and_meld"].load_state_dict(trainer.first_stage(), strict=False)
    test = meld_test(args.data)
    result: dict[str, Any] = {"meld_test_words": {name: of_words(model, test) for name, model in adapted.items()}}
    # Every voice and face under its own label: there is nothing else to learn from.
    alone = replace(trainer.recipe, unrelated=0.0, acted=0.0)
    inside = clip_samples(trainer.windows(trainer.clips, ["clean"], None, 2), 1.0)
    models = {"mosi": train(inside, trainer.network, alone), "shipped": load(WEIGHTS, schema_hash()).model}
    voices = [clip for clip in trainer.voice_clips() if clip.example.corpus == "ravdess" and clip.damage == "clean"]
    acted = trainer.windows(list(corpora.cremad(args.data, settings["emotions"])), ["clean"], None, 1)
    result["ravdess_voice"] = {name: of_voices(model, voices) for name, model in models.items()}
    result["cremad_face_and_voice"] = {name: of_emotions(model, acted) for name, model in models.items()}
    print(json.dumps(result))
