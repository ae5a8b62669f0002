"""`evaluate.py damage`: what damage does to clips of speakers that the model has not seen.

Reads the held-out predictions that `train.py --held FILE` wrote. Beside each error stands that of the best single
modality under the same damage: what fusion must not fall behind. The gate of a damaged modality is followed over the
levels of its damage by rank correlation, over clips and levels. Intervals are fitted without the speakers that they
are judged on.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from scipy.stats import spearmanr

from models import calibrate
from realtime.types import MODALITIES
from scripts.training import corpora
from scripts.training.held import calibration_rows, load, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.training.held import HeldOutPredictions

SERIES = {
    "noise": ("voice", ["clean", "noise:20", "noise:10", "noise:0"]),
    "blur": ("face", ["clean", "blur:4", "blur:8", "black:1"]),
    "drop": ("face", ["clean", "drop:0.5"]),
}
FOLDS = 5


def followed(held: Sequence[HeldOutPredictions], name: str, damages: Sequence[str]) -> dict[str, Any]:
    """Mean weight and reliability of a modality by level, and rank correlation of its gate with the level."""
    index = MODALITIES.index(name)
    levels, gates = [], []
    table: dict[str, Any] = {"modality": name, "weight": {}, "reliability": {}}
    for level, damage in enumerate(damages):
        rows = [item for item in held if item.damage == damage and item.present.any()]
        weight = [float(item.weights[item.present, index].mean()) for item in rows]
        table["weight"][damage] = round(float(np.mean(weight)), 4)
        table["reliability"][damage] = round(float(np.mean([item.reliability[:, index].mean() for item in rows])), 4)
        levels += [level] * len(rows)
        gates += weight
    table["spearman"] = round(float(spearmanr(levels, gates).statistic), 3)
    means = list(table["weight"].values())
    table["spearman_of_means"] = round(float(spearmanr(range(len(means)), means).statistic), 3)
    return table


def intervals(held: Sequence[HeldOutPredictions], damages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Coverage, mean width and mean confidence by damage, each speaker with a calibration of the others."""
    speakers = sorted({item.example.speaker for item in held})
    found: dict[str, list[np.ndarray]] = {}
    for number in range(FOLDS):
        out = set(speakers[number::FOLDS])
        fitted, _ = calibrate.fit(calibration_rows([item for item in held if item.example.speaker not in out], damages))
        for item in held:
            if item.example.speaker in out and item.present.any():
                low, high, sure = fitted.judge(item.score, item.spread, item.reliability)
                label = item.example.label
                rows = np.stack([(low <= label) & (label <= high), high - low, sure])[:, item.present]
                found.setdefault(item.damage, []).append(rows)
    means = {damage: np.concatenate(rows, 1).mean(1) for damage, rows in found.items()}
    return {
        damage: dict(zip(("coverage", "width", "confidence"), values.round(4).tolist(), strict=True))
        for damage, values in means.items()
    }


def main(options: Sequence[str]) -> None:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="evaluate.py damage", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--held", type=Path, required=True, help="held-out predictions of train.py --held")
    args = cli.parse_args(options)
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    held = load(args.held, list(corpora.mosi_clips(args.data)))
    sure = intervals(held, settings["calibrated"])
    result: dict[str, Any] = {"damage": {}, "gates": {}}
    for damage, row in summary(held).items():
        best = min(row["alone_mae"], key=row["alone_mae"].get)
        behind = row["mae"] - row["alone_mae"][best]
        result["damage"][damage] = {**row, **sure[damage], "best_alone": best, "behind_best": round(behind, 4)}
    for kind, (name, damages) in SERIES.items():
        judged = [damage for damage in damages if any(item.damage == damage for item in held)]
        if len(judged) > 1:
            result["gates"][kind] = followed(held, name, judged)
    print(json.dumps(result))
