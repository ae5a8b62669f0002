"""A text encoder that is read at several depths: what MPNet and MiniLM have in common.

The layers up to the first depth stay as they were published, so their hidden states can be kept while the others learn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import nn

from models import lora

if TYPE_CHECKING:
    from collections.abc import Mapping


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

    def add_adapter(self, rank: int, begin: int) -> list[nn.Parameter]:
        """Add a trainable low-rank update to every linear map of the layers from `begin` on; the rest stays frozen."""
        for layer in self.layers[begin:]:
            for linear in lora.linears(layer).values():
                linear.add_adapter(rank)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def renamed(
    tensors: Mapping[str, torch.Tensor], top: Mapping[str, str], inner: Mapping[str, str], layers: int
) -> dict[str, torch.Tensor]:
    """Map the names of a published file to ours; the pooler and the layers from number `layers` on are left out.

    Args:
        tensors: by their published names.
        top: our names of the modules outside the layers.
        inner: our names of the modules of a layer.
        layers: how many are kept.

    Raises:
        KeyError: a layer has a module that `inner` does not know.
    """
    kept = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        if module in top:
            kept[f"{top[module]}.{kind}"] = tensor
        elif module.startswith("encoder.layer."):
            number, _, part = module.removeprefix("encoder.layer.").partition(".")
            if int(number) < layers:
                kept[f"layers.{number}.{inner[part]}.{kind}"] = tensor
    return kept
