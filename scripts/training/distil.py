"""Learning to read as another text line does, and tuning a head alone on kept vectors.

The other line's readings after every word are the target, beside the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from scripts.training.textline import loss_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.text_net import TextHead
    from scripts.training.adapt import Sentence
    from scripts.training.textline import Course, Words

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


def tune_head(
    head: TextHead,
    epochs: Sequence[Sequence[Sentence]],
    vectors: Mapping[Words, NDArray[np.float16]],
    course: Course,
) -> None:
    """Train a head in place on the sentences of each of `course.epochs` epochs, the encoder as it is.

    Args:
        head: goes on from where it is.
        epochs: the sentences as they are heard in one epoch after the other, and then over again.
        vectors: mean states (n, D) after each of the n words of a text.
        course: how; `head_lr` is the rate.
    """
    rng = np.random.default_rng(course.seed)
    torch.manual_seed(course.seed)
    optimiser = torch.optim.AdamW(head.parameters(), course.head_lr, weight_decay=course.weight_decay)
    sizes = [len(epochs[number % len(epochs)]) for number in range(course.epochs)]
    steps = sum(-(-size // course.batch) for size in sizes)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.head_lr, steps, pct_start=0.1)
    head.train()
    for number in range(course.epochs):
        sentences = epochs[number % len(epochs)]
        order = rng.permutation(len(sentences))
        for begin in range(0, len(order), course.batch):
            part = [sentences[index] for index in order[begin : begin + course.batch]]
            rows = [
                (len(item.words), int(rng.integers((len(item.words) + 1) // 2, len(item.words) + 1))) for item in part
            ]
            shown = np.stack(
                [[vectors[item.words][at - 1] for at in both] for item, both in zip(part, rows, strict=True)]
            )
            made = head(torch.from_numpy(shown.astype(np.float32)), torch.tensor(rows, dtype=torch.float32))
            loss = loss_of(made, torch.tensor([item.label for item in part], dtype=torch.float32))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    head.eval()


@torch.inference_mode()
def read(head: TextHead, vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    """Read a text after each of its words: (n, D) to (n, 2)."""
    count = torch.arange(1, len(vectors) + 1, dtype=torch.float32)
    made: NDArray[np.float32] = head(torch.from_numpy(vectors.astype(np.float32)), count).numpy()
    return made
