"""Words to vectors that know the sentence: MiniLM's contextual word vectors, and what the words so far say together.

Voice and face were trained beside it (scripts/train.py); the live program reads with `models.textline`.

The last column is the sentiment, in [-3, 3], that a small head reads from the mean of the word vectors up to and
including the word: the head with which the encoder was adapted, so that AGFN need not learn it again from few clips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from models.agfn import squash
from models.minilm import DIM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.minilm import MiniLM

WIDTH = 64
SENTENCE_DIM = DIM + 1


class SentenceHead(nn.Sequential):
    """Mean word vectors (..., 384) to a sentiment (...,) in [-3, 3]."""

    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(DIM), nn.Linear(DIM, WIDTH), nn.GELU(), nn.Dropout(0.1), nn.Linear(WIDTH, 1))

    def forward(self, mean: Tensor) -> Tensor:
        """Score mean word vectors."""
        out: Tensor = super().forward(mean)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return squash(out.squeeze(-1))


class SentenceEncoder:
    """An adapted MiniLM with its head, for use only. Safe to share between threads.

    Args:
        encoder: with the adapter merged, or (in training) with it beside.
        head: in eval mode.
    """

    def __init__(self, encoder: MiniLM, head: SentenceHead) -> None:
        self._encoder, self._head = encoder.eval(), head.eval()

    @torch.inference_mode()
    def encode(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return (n, 385): the vectors of the n words of one text, and the sentiment of the words up to each."""
        if not words:
            return np.zeros((0, SENTENCE_DIM), np.float32)
        vectors = torch.from_numpy(self._encoder.encode(words))
        mean = vectors.cumsum(0) / torch.arange(1, len(vectors) + 1).unsqueeze(-1)
        made: NDArray[np.float32] = torch.cat([vectors, self._head(mean).unsqueeze(-1)], 1).numpy()
        return made


class SentenceLine:
    """Reads words with an adapted MiniLM while voice and face are trained. See `TextLine.read`.

    Its head knows no scale: that is SCALE for all.

    Args:
        encoder: shared by all streams.
    """

    SCALE = 0.95
    """Scale of the error on recognised words of speakers that it was not adapted to."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder

    def read(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return location and log scale (n, 2) of the sentiment of the n words of one text up to each."""
        location = self._encoder.encode(words)[:, -1]
        return np.stack([location, np.full(len(location), np.log(self.SCALE))], 1).astype(np.float32)
