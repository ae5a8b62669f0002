"""The text line's network: an adapted encoder, and a head that gives a location and a scale.

The encoder is MPNet or, for small machines, MiniLM; the weights file (`models.text_weights`) says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import wordpieces
from models.agfn import squash
from models.minilm import MiniLM
from models.mpnet import MPNet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from models.text_weights import TextWeights
    from models.tokens import Tokens

WIDTH = 96
LOG_SCALE_MIN, LOG_SCALE_MAX = -2.5, 1.0
"""Bounds of the logarithm of the Laplace scale: a mean |error| of .08 to 2.7."""
Encoder = MPNet | MiniLM
ENCODERS: dict[str, type[MPNet | MiniLM]] = {"text-mpnet": MPNet, "text": MiniLM}
"""Encoders that weights can be of, by their name in `models.catalogue`."""


class TextHead(nn.Module):
    """Mean word vectors (..., D) and the number of words behind each (...,) to (..., 2): location, log scale.

    Args:
        states: D, channels of the encoder at all its depths.
    """

    def __init__(self, states: int = MPNet.states) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(states)
        self.wide = nn.Linear(states, WIDTH)
        self.count = nn.Parameter(torch.zeros(WIDTH))
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(WIDTH, 2)

    def forward(self, mean: Tensor, count: Tensor) -> Tensor:
        """Read mean word vectors."""
        how_many = count.log1p().unsqueeze(-1) * self.count
        hidden = self.dropout(nn.functional.gelu(self.wide(self.norm(mean)) + how_many))
        location, scale = self.out(hidden).unbind(-1)
        span = LOG_SCALE_MAX - LOG_SCALE_MIN
        return torch.stack([squash(location), LOG_SCALE_MIN + span * torch.sigmoid(scale)], -1)


class TextNet(nn.Module):
    """The encoder and the head."""

    def __init__(self, encoder: Encoder, head: TextHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, ids: Tensor, mask: Tensor, pool: Tensor, count: Tensor) -> Tensor:
        """Readings (B, N, 2) of token ids (B, T).

        Args:
            ids: token ids.
            mask: (B, T) True for a real token.
            pool: (B, N, T) weights by which each reading averages the tokens.
            count: (B, N) how many words each reading has heard.
        """
        bias = self.encoder.bias(mask)
        readings: Tensor = self.head(pool @ self.encoder.upper(self.encoder.lower(ids, bias), bias), count)
        return readings


def so_far(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Weights (B, N, T) of the mean of the words up to and including each, and their number (B, N)."""
    pool, count = wordpieces.so_far(tokens.words.numpy())
    return torch.from_numpy(pool), torch.from_numpy(count)


def arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Return tensors that were learned as the arrays that TextWeights keeps."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}


def tensors(state: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return what TextWeights keeps as tensors in single precision."""
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in state.items()}


def network(learned: TextWeights, folder: Path) -> TextNet:
    """Load the encoder of a folder with the adapter merged, and the head; in eval mode, frozen.

    Raises:
        OSError: a file of the encoder is missing.
        ValueError: the files or the tensors are of another model.
    """
    kind = ENCODERS[learned.encoder]
    head = TextHead(kind.states)
    try:
        head.load_state_dict(tensors(learned.head))
    except RuntimeError as error:
        raise ValueError(f"text head is of another model: {' '.join(str(error).split())[:200]}") from error
    net = TextNet(kind.load(folder, tensors(learned.adapter)), head)
    return net.requires_grad_(requires_grad=False).eval()
