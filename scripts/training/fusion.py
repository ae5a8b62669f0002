"""Train one AGFN over windows of all corpora, each with the modalities that it has."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from models.agfn import AGFN
from models.losses import LossWeights, agfn_loss
from realtime.fuse.collate import collate
from realtime.fuse.torch_engine import tensors
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.agfn_config import AgfnConfig
    from models.encoders import SequenceEncoder
    from realtime.types import WindowView


@dataclass(frozen=True, slots=True)
class Sample:
    """The windows of one clip in the order of time (a sentence or a face has one), its label and its loss weight."""

    views: tuple[WindowView, ...]
    label: float
    weight: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How AGFN is trained; the values of configs/training.yaml.

    `windows` of a clip are shown at a time, and it is their mean that is to meet the label, as a clip is judged by the
    mean over its windows; each alone counts `alone` of that.

    `drop` is the chance of a modality to be masked. `unrelated` is the chance of words to meet the voice and face of
    another clip: a dozen speakers are soon known by face, and who knows the face knows the label; what face and voice
    mean is learned from those who act. `acted` is the chance of words that say nothing (|label| <= NEUTRAL) to meet
    an acted voice or face, whose label then counts.

    `first_epochs` of `first_per_epoch` acted voices and faces, as many of each, are shown before all else; 0: none.
    """

    epochs: int = 6
    per_epoch: int = 4000
    batch: int = 24
    windows: int = 5
    lr: float = 1e-3
    weight_decay: float = 0.02
    clip: float = 1.0
    vat: float = 0.1
    spread: float = 0.3
    own: float = 0.3
    alone: float = 0.5
    drop: float = 0.2
    unrelated: float = 1.0
    acted: float = 0.5
    first_epochs: int = 0
    first_per_epoch: int = 10000
    seed: int = 0


NEUTRAL = 0.35


class Mixer:
    """Makes new samples of old ones, see Recipe."""

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, rng: np.random.Generator) -> None:
        self._recipe, self._rng = recipe, rng
        self._clips = [sample for sample in samples if _is_clip(sample)]
        self._voices = [sample for sample in samples if _on(sample) == {"voice"} and abs(sample.label) > NEUTRAL]
        self._faces = [sample for sample in samples if _on(sample) == {"face"} and abs(sample.label) > NEUTRAL]

    def mix(self, sample: Sample) -> Sample:
        """Return some windows of the sample, or new ones made of its words and the voice and face of another."""
        sample = replace(sample, views=self._some(sample.views))
        if "text" not in _on(sample) and not _is_clip(sample):
            return sample
        chance = self._rng.random()
        if abs(sample.label) <= NEUTRAL and chance < self._recipe.acted:
            donors = self._voices if self._rng.random() < 0.5 else self._faces
            return self._with(sample, donors, takes_label=True) if donors else sample
        if self._clips and chance < self._recipe.unrelated:
            return self._with(sample, self._clips, takes_label=False)
        return sample

    def _some(self, views: tuple[WindowView, ...]) -> tuple[WindowView, ...]:
        """Choose windows evenly over the clip, from a random beginning."""
        step = len(views) / self._recipe.windows
        if step <= 1:
            return views
        begin = self._rng.uniform(0, step)
        return tuple(views[int(begin + step * number)] for number in range(self._recipe.windows))

    def _with(self, sample: Sample, donors: Sequence[Sample], *, takes_label: bool) -> Sample:
        donor = donors[int(self._rng.integers(len(donors)))]
        begin = int(self._rng.integers(len(donor.views)))
        views = tuple(
            replace(
                view,
                segments={
                    **donor.views[(begin + number) % len(donor.views)].segments,
                    "text": view.segments["text"],
                },
            )
            for number, view in enumerate(sample.views)
        )
        return Sample(views, donor.label if takes_label else sample.label, sample.weight)


def _on(sample: Sample) -> set[str]:
    return {name for view in sample.views for name, segment in view.segments.items() if segment.reliability > 0}


def _is_clip(sample: Sample) -> bool:
    return {"voice", "face"} <= _on(sample)


def standardise(model: AGFN, samples: Sequence[Sample]) -> None:
    """Set the mean and standard deviation of every feature column from (a sample of) the training windows."""
    rng = np.random.default_rng(0)
    for name in MODALITIES:
        segments = [view.segments[name] for sample in samples for view in sample.views]
        present = [segment.values for segment in segments if segment.reliability > 0]
        if not present:
            continue
        chosen = rng.permutation(len(present))[:4000]
        rows = np.concatenate([present[index] for index in chosen])
        encoder = cast("SequenceEncoder", model.encoders[name])
        encoder.standardise_by(torch.from_numpy(rows.mean(0)), torch.from_numpy(rows.std(0)))


def train(
    samples: Sequence[Sample],
    config: AgfnConfig,
    recipe: Recipe,
    first: Sequence[Sample] = (),
    report: Callable[[int, AGFN], None] | None = None,
) -> AGFN:
    """Return a trained AGFN.

    Args:
        samples: what it learns from.
        config: of the network.
        recipe: how.
        first: of one modality each, shown before all else, every modality as often: among the words and the few clips
            of films alone, a weak modality is found too late. They may stay in `samples`, lest they be forgotten.
        report: called after each epoch with its number and the model in eval mode.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = AGFN(config)
    standardise(model, samples)
    weight = np.array([sample.weight for sample in samples])
    model.set_prior_spread(_deviation(np.array([sample.label for sample in samples]), weight))
    if first and recipe.first_epochs:
        alone = [next(iter(_on(sample))) for sample in first]
        total = {name: sum(s.weight for s, of in zip(first, alone, strict=True) if of == name) for name in set(alone)}
        even = np.array([sample.weight / total[name] for sample, name in zip(first, alone, strict=True)])
        _learn(model, first, even, replace(recipe, epochs=recipe.first_epochs, per_epoch=recipe.first_per_epoch), rng)
    _learn(model, samples, weight, recipe, rng, report)
    return model


def _learn(
    model: AGFN,
    samples: Sequence[Sample],
    chance: np.ndarray,
    recipe: Recipe,
    rng: np.random.Generator,
    report: Callable[[int, AGFN], None] | None = None,
) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * math.ceil(recipe.per_epoch / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, steps, pct_start=0.1)
    mixer = Mixer(samples, recipe, rng)
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


def _deviation(label: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean absolute deviation from the weighted median."""
    order = np.argsort(label)
    middle = label[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)]
    return float(np.average(np.abs(label - middle), weights=weight))


def _loss(model: AGFN, part: Sequence[Sample], recipe: Recipe, rng: np.random.Generator) -> torch.Tensor:
    values, times, mask, reliability = tensors(collate([view for sample in part for view in sample.views]))
    owner = torch.tensor([number for number, sample in enumerate(part) for _ in sample.views])
    label = torch.tensor([sample.label for sample in part])
    count = torch.bincount(owner, minlength=len(part)).float()
    keep = torch.from_numpy(rng.random((len(part), len(MODALITIES))) >= recipe.drop)[owner]
    out = model(values, times, mask, dropped(reliability, keep))
    terms = LossWeights(vat=recipe.vat, spread=recipe.spread, own=recipe.own)
    # A clip counts the same however many windows of it are shown.
    single = agfn_loss(model, out, label[owner], terms, 1.0 / count[owner])
    mean = torch.zeros(len(part)).index_add(0, owner, out.score) / count
    return recipe.alone * single + (mean - label).abs().mean()


def dropped(reliability: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Mask what is not kept, (B, M) each, but never the last modality of a window."""
    left = reliability * keep
    return torch.where(left.sum(-1, keepdim=True) == 0, reliability, left)


@torch.inference_mode()
def predict(model: AGFN, views: Sequence[WindowView], batch: int = 256) -> dict[str, np.ndarray]:
    """Raw scores (N,), spreads (N,), weights, own scores and reliabilities (N, 3), and presence (N,) of windows."""
    parts: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(views), batch):
        inputs = collate(views[begin : begin + batch])
        out = model(*tensors(inputs))
        parts.append(
            {
                "score": out.score.numpy(),
                "spread": out.spread.numpy(),
                "weights": out.weights.numpy(),
                "own": out.own_score.numpy(),
                "present": out.present.numpy(),
                "reliability": inputs.reliability,
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
