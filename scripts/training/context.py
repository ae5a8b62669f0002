"""Fit what was said before (models/context.py) on the utterances of held-out speakers, in the order they were said."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.context import Context
from models.metrics import all_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRID = {
    "keep": (0.85, 0.9, 0.95, 1.0),
    "lean": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "prior": (1.0, 2.0, 3.0, 4.0, 6.0),
}
MOST = 16
"""Ended utterances that a stream remembers."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a clip's words say in the end, after which utterances of the same clip, and its label."""

    said: float
    before: tuple[float, ...]
    label: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The coefficients chosen on all speakers, and honest figures: each speaker with those chosen on the others.

    `alone` are the figures where every clip is a stream of its own, `followed` where a speaker's clips are one.
    """

    context: Context
    alone: dict[str, float]
    followed: dict[str, float]


def play(turns: Sequence[Turn], context: Context, *, follow: bool) -> np.ndarray:
    """Return what the words say at the end of each clip, leaned on what came before."""
    earlier: list[float] = []
    found = []
    for turn in turns:
        if not follow:
            earlier = []
        earlier += turn.before
        found.append(context.leaned(turn.said, earlier[-MOST:]))
        earlier.append(turn.said)
    return np.array(found)


def fit_context(speakers: Mapping[str, Sequence[Turn]]) -> Fitted:
    """Choose the coefficients with the smallest error at the ends of clips, half as streams of their own."""
    grid = [Context(**dict(zip(GRID, values, strict=True))) for values in itertools.product(*GRID.values())]
    names = sorted(speakers)
    label = {name: np.array([turn.label for turn in speakers[name]]) for name in names}
    found = {
        (name, follow): np.array([play(speakers[name], context, follow=follow) for context in grid])
        for name in names
        for follow in (False, True)
    }
    errors = {name: sum(np.abs(found[name, follow] - label[name]).sum(1) for follow in (False, True)) for name in names}
    total = sum(errors.values())
    chosen = {name: int(np.argmin(total - errors[name])) for name in names}
    target = np.concatenate([label[name] for name in names])
    alone, followed = (
        all_metrics(target, np.concatenate([found[name, follow][chosen[name]] for name in names]))
        for follow in (False, True)
    )
    return Fitted(grid[int(np.argmin(total))], alone, followed)
