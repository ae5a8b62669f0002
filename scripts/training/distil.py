"""Learning to read as another text line does: its readings after every word are the target, beside the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scripts.training.textline import loss_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scripts.training.adapt import Sentence
    from scripts.training.textline import Words

_SCALE_SHARE = 0.4
"""Share of the log scale's distance beside the location's."""


@dataclass(frozen=True)
class Follow:
    """The loss of a batch: distance from what was taught, and from the labels.

    A scale that only followed the teacher's would be too small, for the pupil errs more: the labels widen it.
    """

    taught: Mapping[Words, NDArray[np.float32]]
    """Readings (n, 2) after each of the n words of a text."""
    labels: float
    """Share of the labels in the loss."""

    def __call__(self, part: Sequence[Sentence], made: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Loss of readings (B, 2, 2) after the first `rows` (B, 2) words of each text."""
        wanted = torch.from_numpy(
            np.stack([self.taught[item.words][at - 1] for item, at in zip(part, rows.numpy(), strict=True)])
        )
        location, scale = (made - wanted).abs().unbind(-1)
        label = torch.tensor([item.label for item in part], dtype=torch.float32)
        followed = (location + _SCALE_SHARE * scale).mean()
        return (1 - self.labels) * followed + self.labels * loss_of(made, label)
