"""Acted voices and faces, without words: what is trained on, and how well unseen actors are read from one stream alone.

With every fold of the clips' speakers some actors are held out; every third picture of FER2013 always is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from models.metrics import all_metrics, auc
from scripts.training.fusion import predict
from scripts.training.paths import faces_path
from scripts.training.trainer import clip_samples
from scripts.training.windows import face_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.agfn import AGFN
    from scripts.training.fusion import Sample
    from scripts.training.trainer import Clip, Trainer


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said of those it had not seen: (corpus, label, score) of each voice, and the AUC of faces."""

    said: list[tuple[str, float, float]]
    auc: float


@dataclass
class Acted:
    """Voices and faces of those who act."""

    trainer: Trainer
    voices: list[Clip] = field(init=False)
    faces: list[Sample] = field(init=False)

    def __post_init__(self) -> None:
        self.voices = self.trainer.voice_clips()
        self.faces = self.trainer.face_samples()

    def samples(self, fold: int = -1, folds: int = 1) -> list[Sample]:
        """What is trained on while the actors of a fold are held out (-1: nobody is)."""
        weight = self.trainer.settings["weights"]["voice"]
        return [*clip_samples([clip for clip in self.voices if self._fold(clip, folds) != fold], weight), *self.faces]

    def judge(self, model: AGFN, fold: int, folds: int) -> Judged:
        """Note what a model says of the actors of a fold and of the held-out faces."""
        said = []
        for clip in self.voices:
            if clip.damage == "clean" and self._fold(clip, folds) == fold:
                out = predict(model, clip.views)
                if out["present"].any():
                    score = float(out["score"][out["present"]].mean())
                    said.append((clip.example.corpus, clip.example.label, score))
        return Judged(said, _happy_auc(model, self.trainer))

    def _fold(self, clip: Clip, folds: int) -> int:
        speakers = sorted({other.example.speaker for other in self.voices})
        return speakers.index(clip.example.speaker) % max(1, folds)


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Voice alone per corpus, unseen actors; face alone: AUC of happy against negative on held-out pictures."""
    everything = [row for part in judged for row in part.said]
    found: dict[str, Any] = {}
    for corpus in sorted({name for name, _, _ in everything}):
        label, said = np.array([(label, score) for name, label, score in everything if name == corpus]).T
        kept = all_metrics(label, said)
        found[corpus] = {key: round(float(kept[key]), 4) for key in ("mae", "r", "non0")}
    if judged:
        found["fer2013"] = {"auc": round(float(np.mean([part.auc for part in judged])), 4)}
    return found


def _happy_auc(model: AGFN, trainer: Trainer) -> float:
    path = faces_path(trainer.cache, "fer2013")
    if not path.exists():
        return float("nan")
    with np.load(path, allow_pickle=False) as arrays:
        rows, labels = arrays["rows"][::3], arrays["label"][::3]
    kept = np.isfinite(rows).all(1) & ((labels > 1) | (labels < -1))
    rng = np.random.default_rng(9)
    score = predict(model, [face_view(row, rng) for row in rows[kept]])["score"]
    return auc(labels[kept] > 1, score)
