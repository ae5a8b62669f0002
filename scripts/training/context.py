"""Fit the memory of what was said before (models/context.py) on clips in their order, by speakers held out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.context import Context, ContextState
from models.metrics import all_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.training.held import HeldOutPredictions

HOP_S = 0.25
GAP_S = 4.25
"""Between two clips, as `evaluate.py live --context` plays them."""
GRID = {
    "gain": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    "give": (0.0, 0.1, 0.2, 0.3, 0.4),
    "prior_s": (1.0, 4.0, 10.0),
    "memory_s": (30.0, 60.0, 120.0, 300.0),
}


@dataclass(frozen=True, slots=True)
class Fitted:
    """The coefficients chosen on all clips, and the honest figures: each speaker with those chosen on the others."""

    context: Context
    figures: dict[str, float]


def fit_context(held: Sequence[HeldOutPredictions]) -> Fitted:
    """Choose the coefficients with the smallest error of the clips' means; `held` of any damage, clean ones count."""
    videos = in_order([item for item in held if item.damage == "clean"])
    speakers = sorted(videos)
    grid = [Context(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())]
    if not speakers:
        return Fitted(Context(), {})
    found = {name: np.array([play(videos[name], context) for context in grid]) for name in speakers}  # (grid, clips)
    label = {name: np.array([item.example.label for item in videos[name]]) for name in speakers}
    errors = {name: np.abs(found[name] - label[name]).sum(1) for name in speakers}  # (grid,)
    chosen = []
    for name in speakers:
        others = sum((errors[other] for other in speakers if other != name), np.zeros(len(grid)))
        chosen.append(found[name][int(np.argmin(others))])
    target = np.concatenate([label[name] for name in speakers])
    figures = all_metrics(target, np.concatenate(chosen))
    best = grid[int(np.argmin(sum(errors.values(), np.zeros(len(grid)))))]
    return Fitted(best, {key: round(float(value), 4) for key, value in figures.items()})


def play(clips: Sequence[HeldOutPredictions], context: Context) -> list[float]:
    """Means over the windows of the clips of one video, played as one stream."""
    memory, now_s, means = ContextState(context), 0.0, []
    for clip in clips:
        scores = []
        for score, present, trust in zip(clip.score, clip.present, clip.reliability[:, 0], strict=True):
            now_s += HOP_S
            if present:
                scores.append(memory.feed(now_s, float(score), float(trust)))
        means.append(float(np.mean(scores)) if scores else 0.0)
        now_s += GAP_S
    return means


def in_order(held: Sequence[HeldOutPredictions]) -> dict[str, list[HeldOutPredictions]]:
    """Clips of each speaker in the order they were said."""
    videos: dict[str, list[HeldOutPredictions]] = {}
    for item in held:
        videos.setdefault(item.example.speaker, []).append(item)
    return {
        name: sorted(items, key=lambda item: int(item.example.id.rsplit("_", 1)[-1])) for name, items in videos.items()
    }
