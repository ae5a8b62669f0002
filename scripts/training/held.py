"""What a model said of clips whose speakers it had not seen: figures, and the rows that a calibration is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models import calibrate
from models.metrics import all_metrics
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scripts.training import corpora


ARRAYS = ("score", "spread", "weights", "own", "present", "reliability")


@dataclass(frozen=True, slots=True)
class HeldOutPredictions:
    """Held-out predictions of one clip: a value per window."""

    example: corpora.Example
    damage: str
    score: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    own: np.ndarray
    present: np.ndarray
    reliability: np.ndarray

    def mean(self, part: slice = slice(None)) -> float:
        """Time-weighted mean over the windows of a part of the clip that have a score; 0 without any."""
        on = self.present[part]
        return float(self.score[part][on].mean()) if on.any() else 0.0

    def alone(self, modality: int) -> float:
        """The same of a modality's own head; a window without it says nothing, that is 0."""
        return float(self.own[self.present, modality].mean()) if self.present.any() else 0.0


def save(held: Sequence[HeldOutPredictions], path: Path) -> None:
    """Write predictions to an .npz: a clip's arrays under its number, damage and name."""
    arrays = {
        f"{number}/{item.damage}/{item.example.id}/{name}": getattr(item, name)
        for number, item in enumerate(held)
        for name in ARRAYS
    }
    np.savez_compressed(path, **arrays)


def load(path: Path, examples: Sequence[corpora.Example]) -> list[HeldOutPredictions]:
    """Read what `save` wrote; `examples` are the clips it was about."""
    known = {example.id: example for example in examples}
    parts: dict[tuple[str, str, str], dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            number, damage, name, field = key.split("/")
            parts.setdefault((number, damage, name), {})[field] = arrays[key]
    return [HeldOutPredictions(known[name], damage, **fields) for (_, damage, name), fields in parts.items()]


def summary(held: Sequence[HeldOutPredictions]) -> dict[str, Any]:
    """Figures over clips per damage: the mean over a clip's windows against its label."""
    table = {}
    for damage in sorted({item.damage for item in held}):
        rows = [item for item in held if item.damage == damage]
        label = np.array([item.example.label for item in rows])
        weights = np.array([item.weights[item.present].mean(0) if item.present.any() else np.zeros(3) for item in rows])
        found = all_metrics(label, np.array([item.mean() for item in rows]))
        alone = [np.mean(np.abs(label - [item.alone(index) for item in rows])) for index in range(len(MODALITIES))]
        table[damage] = {
            **{key: round(float(value), 4) for key, value in found.items()},
            "alone_mae": {name: round(float(mae), 4) for name, mae in zip(MODALITIES, alone, strict=True)},
            "weights": dict(zip(MODALITIES, weights.mean(0).round(3).tolist(), strict=True)),
        }
    return table


def calibration_rows(held: Sequence[HeldOutPredictions], damages: Sequence[str]) -> calibrate.HeldOutPredictions:
    """Every fourth window of the held-out clips under these damages, as the calibration wants them."""
    kept = [item for item in held if item.damage in damages]
    rows = [(item, index) for item in kept for index in range(0, len(item.score), 4) if item.present[index]]
    return calibrate.HeldOutPredictions(
        score=np.array([item.score[index] for item, index in rows]),
        spread=np.array([item.spread[index] for item, index in rows]),
        reliability=np.array([item.reliability[index] for item, index in rows]),
        target=np.array([item.example.label for item, _ in rows]),
        group=np.array([item.example.speaker for item, _ in rows]),
    )
