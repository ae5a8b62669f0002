"""Fusion methods to compare AGFN with: compact re-implementations for one vector per modality.

Sequences of length 1 are what utterance-level features are: there attention over one key is its value, and a recurrent
layer is one step. Every method sees `values` (B, D_m), standardised and 0 where missing, and `reliability` (B, M); only
the ones that say so look at the reliability. Faithful to the cited papers in structure and losses, not in size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.agfn import squash

if TYPE_CHECKING:
    from collections.abc import Mapping


class PeerOutput(NamedTuple):
    """What a peer says of B rows."""

    score: Tensor
    """(B,) in [-3, 3]."""
    hidden: Tensor
    """(B, h) the fused representation before the last layers."""
    weights: Tensor
    """(B, M) share of each modality; NaN for a method that has none."""
    own: Tensor
    """(B, M) score of each modality alone; NaN for a method without."""
    penalty: Tensor
    """() further loss of the method, already weighted."""


class Peer(nn.Module):
    """Base: a head on the fused vector. Subclasses implement `fuse`."""

    def __init__(self, inputs: Mapping[str, int], width: int, fused: int, dropout: float) -> None:
        super().__init__()
        self.inputs = dict(inputs)
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(fused, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused vector (B, fused) and the penalty ()."""
        raise NotImplementedError

    def forward(self, values: Mapping[str, Tensor], reliability: Tensor) -> PeerOutput:
        """Score B rows."""
        hidden, penalty = self.fuse(values, reliability)
        score = squash(self.head(hidden).squeeze(-1))
        unknown = torch.full_like(reliability, math.nan)
        return PeerOutput(score, hidden, unknown, unknown, penalty)

    def encoders(self, width: int, *, extra: int = 0) -> nn.ModuleDict:
        """A layer per modality: D_m + extra to width."""
        return nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(size + extra, width), nn.GELU(), self.dropout, nn.LayerNorm(width))
                for name, size in self.inputs.items()
            }
        )


def _nothing(reliability: Tensor) -> Tensor:
    return reliability.new_zeros(())


class Concat(Peer):
    """Concatenation of encoded modalities and an MLP.

    `informed`: every encoder and the MLP see the reliabilities and mask bits, and what is missing is 0 after encoding.
    """

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float, *, informed: bool) -> None:
        super().__init__(inputs, width, len(inputs) * (width + 2 * int(informed)), dropout)
        self.informed = informed
        self.encode = self.encoders(width, extra=int(informed))

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        there = (reliability > 0).to(reliability.dtype)
        parts = []
        for index, (name, value) in enumerate(values.items()):
            here = slice(index, index + 1)
            if self.informed:
                parts.append(self.encode[name](torch.cat([value, reliability[:, here]], -1)) * there[:, here])
            else:
                parts.append(self.encode[name](value))
        if self.informed:
            parts += [reliability, there]
        return torch.cat(parts, -1), _nothing(reliability)


class LateFusion(Peer):
    """Mean of unimodal scores over what is present; `informed`: every head sees its r, and r weighs the mean.

    The heads are to be trained on their own errors too (`own`), else the mean hides a bad one.
    """

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float, *, informed: bool) -> None:
        super().__init__(inputs, width, width, dropout)
        self.informed = informed
        self.encode = self.encoders(width, extra=int(informed))
        self.own = nn.ModuleDict({name: nn.Linear(width, 1) for name in inputs})
        self.prior = nn.Parameter(torch.zeros(()))

    def forward(self, values: Mapping[str, Tensor], reliability: Tensor) -> PeerOutput:
        """Score B rows."""
        weights = reliability if self.informed else (reliability > 0).to(reliability.dtype)
        scores, hidden = [], []
        for index, (name, value) in enumerate(values.items()):
            x = torch.cat([value, reliability[:, index : index + 1]], -1) if self.informed else value
            hidden.append(self.encode[name](x))
            scores.append(squash(self.own[name](hidden[-1]).squeeze(-1)))
        total = weights.sum(-1, keepdim=True)
        share = weights / total.clamp_min(1e-6)
        own = torch.stack(scores, -1)
        score = torch.where(total.squeeze(-1) > 0, (share * own).sum(-1), self.prior)
        return PeerOutput(score, torch.cat(hidden, -1), share, own, _nothing(reliability))


class Single(Peer):
    """One modality alone."""

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float, *, name: str) -> None:
        super().__init__(inputs, width, width, dropout)
        self.name = name
        self.entry = nn.Linear(inputs[name], width)

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        return self.dropout(functional.gelu(self.entry(values[self.name]))), _nothing(reliability)


class Tfn(Peer):
    """Tensor Fusion Network (Zadeh et al. 2017, arXiv 1707.07250): the outer product of [h_m, 1] of all modalities."""

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float) -> None:
        self.side = 24 if len(inputs) < 3 else 11
        super().__init__(inputs, width, (self.side + 1) ** len(inputs), dropout)
        self.encode = self.encoders(self.side)

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        one = torch.ones_like(reliability[:, :1])
        product = one
        for name, value in values.items():
            h = torch.cat([self.encode[name](value), one], -1)
            product = (product.unsqueeze(-1) * h.unsqueeze(-2)).flatten(1)
        return self.dropout(product), _nothing(reliability)


class Lmf(Peer):
    """Low-rank Multimodal Fusion (Liu et al. 2018, arXiv 1806.00064): the tensor of TFN through rank-R factors."""

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float, *, rank: int = 4) -> None:
        super().__init__(inputs, width, width, dropout)
        self.encode = self.encoders(width)
        self.factor = nn.Parameter(torch.randn(len(inputs), rank, width + 1, width) / math.sqrt(width))
        self.mix = nn.Parameter(torch.full((rank,), 1 / math.sqrt(rank)))
        self.bias = nn.Parameter(torch.zeros(width))

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        one = torch.ones_like(reliability[:, :1])
        product: Tensor | float = 1.0
        for index, (name, value) in enumerate(values.items()):
            h = torch.cat([self.encode[name](value), one], -1)
            product = product * torch.einsum("bi,rij->brj", h, self.factor[index])
        return torch.einsum("brj,r->bj", product, self.mix) + self.bias, _nothing(reliability)


class EfLstm(Peer):
    """Early fusion LSTM (the MMSA baseline): an LSTM over the concatenation, here one step from a zero state."""

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__(inputs, width, width, dropout)
        self.norm = nn.LayerNorm(sum(inputs.values()))
        self.gates = nn.Linear(sum(inputs.values()), 3 * width)  # with a zero state the forget gate does nothing

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        enter, cell, leave = self.gates(self.norm(torch.cat(list(values.values()), -1))).chunk(3, -1)
        state = torch.sigmoid(enter) * torch.tanh(cell)
        return self.dropout(torch.sigmoid(leave) * torch.tanh(state)), _nothing(reliability)


class _CrossBlock(nn.Module):
    """A transformer layer whose target attends to one other step: attention over one key is its value."""

    def __init__(self, width: int, dropout: nn.Dropout) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), dropout, nn.Linear(2 * width, width)
        )
        self.dropout = dropout

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        h = target + self.dropout(self.out(self.value(self.before(source))))
        result: Tensor = h + self.dropout(self.feed(h))
        return result


class MulT(Peer):
    """Multimodal Transformer (Tsai et al. 2019, arXiv 1906.00295): each target attends to each source, then itself."""

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float) -> None:
        others = len(inputs) - 1
        super().__init__(inputs, width, len(inputs) * others * width, dropout)
        self.project = nn.ModuleDict({name: nn.Linear(size, width) for name, size in inputs.items()})
        self.cross = nn.ModuleDict(
            {f"{a}-{b}": _CrossBlock(width, self.dropout) for a in inputs for b in inputs if a != b}
        )
        self.memory = nn.ModuleDict({name: _CrossBlock(others * width, self.dropout) for name in inputs})

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        h = {name: self.project[name](value) for name, value in values.items()}
        last = []
        for target, query in h.items():
            sources = [(name, value) for name, value in h.items() if name != target]
            heard = torch.cat([self.cross[f"{target}-{name}"](query, value) for name, value in sources], -1)
            last.append(self.memory[target](heard, heard))
        return torch.cat(last, -1), _nothing(reliability)


class Misa(Peer):
    """MISA (Hazarika et al. 2020, arXiv 2005.03545): shared and private subspaces, then attention over all of them.

    Its losses: central moment discrepancy between the shared vectors (weight 1), orthogonality of shared and private
    ones (0.3), and reconstruction (1), as in the authors' MOSI settings.
    """

    def __init__(self, inputs: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__(inputs, width, 2 * len(inputs) * width, dropout)
        self.encode = self.encoders(width)
        self.private = nn.ModuleDict({name: nn.Linear(width, width) for name in inputs})
        self.shared = nn.Linear(width, width)
        self.rebuild = nn.ModuleDict({name: nn.Linear(width, width) for name in inputs})
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def fuse(self, values: Mapping[str, Tensor], reliability: Tensor) -> tuple[Tensor, Tensor]:
        """See the base."""
        del reliability  # MISA knows no masks
        h = {name: self.encode[name](value) for name, value in values.items()}
        private = {name: torch.sigmoid(self.private[name](x)) for name, x in h.items()}
        shared = {name: torch.sigmoid(self.shared(x)) for name, x in h.items()}
        rebuilt = torch.stack(
            [(self.rebuild[name](private[name] + shared[name]) - x).square().mean() for name, x in h.items()]
        )
        commons, alone = list(shared.values()), list(private.values())
        pairs = [(i, j) for i in range(len(h)) for j in range(i)]
        similar = torch.stack([moment_discrepancy(commons[i], commons[j]) for i, j in pairs])
        apart = [orthogonality(a, b) for a, b in zip(commons, alone, strict=True)]
        apart += [orthogonality(alone[i], alone[j]) for i, j in pairs]
        penalty = similar.mean() + 0.3 * torch.stack(apart).sum() + rebuilt.mean()
        tokens = torch.stack(commons + alone, 1)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(self.width), -1)
        fused = self.norm(tokens + self.dropout(self.out(attention @ v)))
        return fused.flatten(1), penalty


def moment_discrepancy(a: Tensor, b: Tensor, moments: int = 5) -> Tensor:
    """Central moment discrepancy of two batches (B, d) with values in [0, 1] (Zellinger et al. 2017)."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    total = _length(mean_a - mean_b)
    for order in range(2, moments + 1):
        total = total + _length(((a - mean_a) ** order).mean(0) - ((b - mean_b) ** order).mean(0))
    return total


def _length(x: Tensor) -> Tensor:
    return (x.square().sum() + 1e-12).sqrt()


def orthogonality(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared correlation of the centred, normalised rows of two batches (B, d)."""
    a, b = (functional.normalize(x - x.mean(0), dim=-1) for x in (a, b))
    return (a.T @ b).square().mean()
