"""Train one AGFN over windows of all corpora, each with the modalities that it has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.agfn import AGFN, AgfnConfig
from models.losses import LossWeights, agfn_loss
from realtime.fuse.collate import Batch, collate
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.types import WindowView


@dataclass(frozen=True, slots=True)
class Sample:
    """A window with its label in [-3, 3] and its weight in the loss."""

    view: WindowView
    label: float
    weight: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How AGFN is trained; the values of configs/training.yaml.

    `drop` is the chance of a modality to be masked. `unrelated` is the chance of words to meet the voice and face of
    another clip, and of a clip without words to take the label of another: a dozen speakers are soon known by face, and
    who knows the face knows the label; what face and voice mean is learned from those who act. `acted` is
    the chance of words that say nothing (|label| <= NEUTRAL) to meet an acted voice or face, whose label then counts.
    """

    epochs: int = 12
    per_epoch: int = 12000
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.02
    clip: float = 1.0
    vat: float = 0.1
    spread: float = 0.3
    own: float = 0.3
    drop: float = 0.2
    unrelated: float = 0.7
    acted: float = 0.5
    seed: int = 0


NEUTRAL = 0.35


class Mixer:
    """Makes new windows of old ones, see Recipe."""

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, rng: np.random.Generator) -> None:
        def on(sample: Sample) -> set[str]:
            return {name for name, segment in sample.view.segments.items() if segment.reliability > 0}

        self._recipe, self._rng = recipe, rng
        self._clips = [sample for sample in samples if _is_clip(sample)]
        self._voices = [sample for sample in samples if on(sample) == {"voice"} and abs(sample.label) > NEUTRAL]
        self._faces = [sample for sample in samples if on(sample) == {"face"} and abs(sample.label) > NEUTRAL]

    def mix(self, sample: Sample) -> Sample:
        """Return the sample, or a new one made of its words."""
        chance = self._rng.random()
        if sample.view.segments["text"].reliability == 0:
            if chance < self._recipe.unrelated and _is_clip(sample):
                return replace(sample, label=self._clips[int(self._rng.integers(len(self._clips)))].label)
            return sample
        if abs(sample.label) <= NEUTRAL and chance < self._recipe.acted:
            donors = self._voices if self._rng.random() < 0.5 else self._faces
            return self._with(sample, donors, takes_label=True) if donors else sample
        if chance < self._recipe.unrelated and self._clips:
            return self._with(sample, self._clips, takes_label=False)
        return sample

    def _with(self, sample: Sample, donors: Sequence[Sample], *, takes_label: bool) -> Sample:
        donor = donors[int(self._rng.integers(len(donors)))]
        segments = {**donor.view.segments, "text": sample.view.segments["text"]}
        label = donor.label if takes_label else sample.label
        return Sample(replace(sample.view, segments=segments), label, sample.weight)


def _is_clip(sample: Sample) -> bool:
    return all(sample.view.segments[name].reliability > 0 for name in ("voice", "face"))


def standardise(model: AGFN, samples: Sequence[Sample]) -> None:
    """Set the mean and standard deviation of every feature column from (a sample of) the training windows."""
    rng = np.random.default_rng(0)
    for name in MODALITIES:
        segments = [sample.view.segments[name] for sample in samples]
        present = [segment.values for segment in segments if segment.reliability > 0]
        if not present:
            continue
        chosen = rng.permutation(len(present))[:4000]
        rows = np.concatenate([present[index] for index in chosen])
        # Robust against the heavy tails of pitch and head pose.
        mean, std = rows.mean(0), rows.std(0)
        model.encoders[name].standardise_by(torch.from_numpy(mean), torch.from_numpy(std))


def train(
    samples: Sequence[Sample], config: AgfnConfig, recipe: Recipe, report: Callable[[int, AGFN], None] | None = None
) -> AGFN:
    """Return a trained AGFN. `report` is called after each epoch with its number and the model in eval mode."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = AGFN(config)
    standardise(model, samples)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * math.ceil(recipe.per_epoch / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, steps, pct_start=0.1)
    mixer = Mixer(samples, recipe, rng)
    chance = np.array([sample.weight for sample in samples])
    for epoch in range(recipe.epochs):
        model.train()
        order = rng.choice(len(samples), recipe.per_epoch, p=chance / chance.sum())
        for begin in range(0, len(order), recipe.batch):
            part = [mixer.mix(samples[index]) for index in order[begin : begin + recipe.batch]]
            loss = _loss(model, part, recipe, rng)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimiser.step()
            schedule.step()
        model.eval()
        if report is not None:
            report(epoch, model)
    return model


def _loss(model: AGFN, part: Sequence[Sample], recipe: Recipe, rng: np.random.Generator) -> torch.Tensor:
    batch = collate([sample.view for sample in part])
    label = torch.tensor([sample.label for sample in part])
    reliability = _drop(batch.reliability, recipe.drop, rng)
    out = model(batch.values, batch.times, batch.mask, reliability)
    return agfn_loss(model, out, label, LossWeights(vat=recipe.vat, spread=recipe.spread, own=recipe.own))


def _drop(reliability: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Modality dropout: mask each with the chance `share`, but never the last one of a window."""
    keep = torch.from_numpy(rng.random(tuple(reliability.shape)) >= share)
    dropped = reliability * keep
    alone = dropped.sum(-1, keepdim=True) == 0
    return torch.where(alone, reliability, dropped)


@torch.inference_mode()
def predict(model: AGFN, views: Sequence[WindowView], batch: int = 256) -> dict[str, np.ndarray]:
    """Raw scores (N,), spreads (N,), weights (N, 3) and reliabilities (N, 3) of windows."""
    parts: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(views), batch):
        inputs: Batch = collate(views[begin : begin + batch])
        out = model(inputs.values, inputs.times, inputs.mask, inputs.reliability)
        parts.append(
            {
                "score": out.score.numpy(),
                "spread": out.spread.numpy(),
                "weights": out.weights.numpy(),
                "own": out.own_score.numpy(),
                "present": out.present.numpy(),
                "reliability": inputs.reliability.numpy(),
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
