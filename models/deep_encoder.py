"""A text encoder that is read at several depths: what MPNet and MiniLM have in common.

The layers up to the first depth stay as they were published, so their hidden states can be kept while the others learn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class DeepEncoder(nn.Module, ABC):
    """A stack of layers over token embeddings.

    Attributes:
        depths: numbers of the layers after which it is read; those up to the first one are frozen.
        layers: each takes hidden states (B, T, D), the attention bias and the dropout rate.
        dropout: rate of the layers that are not frozen, while training.
    """

    depths: tuple[int, ...]
    layers: nn.ModuleList
    dropout: float

    @abstractmethod
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Map token ids (B, T) to the first layer's input (B, T, D)."""

    def lower(self, ids: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, D) after the frozen layers of token ids (B, T)."""
        x = self.embed(ids)
        for layer in self.layers[: self.depths[0]]:
            x = layer(x, bias, 0.0)
        return x

    def upper(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Map hidden states after the frozen layers to those of all depths side by side, (B, T, len(depths) D)."""
        read = [x]
        for number, layer in enumerate(self.layers[self.depths[0] :], self.depths[0] + 1):
            x = layer(x, bias, self.dropout)
            if number in self.depths:
                read.append(x)
        return torch.cat(read, -1)
