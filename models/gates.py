"""What decides how much each modality counts: attention between modalities, the entropy gate, the importance gate.

Shapes: B windows, M modalities, d width, S the steps of all modalities together. `on` (B, M) bool is False for a masked
modality, `trust` (B, M) its reliability in [0, 1], 0 where masked.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoders import masked_softmax

LEAST_TRUST = 1e-4
"""log r is taken of at least this, so that it stays finite for the faintest trust that is not 0."""


def log_trust(trust: Tensor) -> Tensor:
    """Log of the reliability; finite, and 0 where masked (the mask does the rest)."""
    return torch.where(trust > 0, trust, torch.ones_like(trust)).clamp_min(LEAST_TRUST).log()


class CrossModal(nn.Module):
    """Every pair exchanges information: h'_m = LayerNorm(h_m + attention of h_m over the steps of the others).

    A masked modality is no key; log r lowers the attention to the steps of an unreliable one, r what is heard of it.
    """

    def __init__(self, count: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kind = nn.Parameter(torch.randn(count, width) * 0.02)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, h: Tensor, steps: list[Tensor], seen: list[Tensor], on: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Exchange.

        Args:
            h: (B, M, d), 0 where masked.
            steps: per modality (B, T_m, d).
            seen: per modality (B, T_m) bool.
            on: (B, M).
            trust: (B, M).

        Returns:
            h' (B, M, d), and the route (B, M, M): which share of h'_m (row) came from which modality (column).
        """
        batch, count, width = h.shape
        # Three queries a window listen to a hundred steps: so the maps of keys and values are applied to the queries
        # and to what was heard. What a query adds to all logits alike (the bias of the keys) no softmax shows.
        rows = self._ask(h + self.kind).reshape(batch, count * self.heads, width)
        itself = torch.eye(count, dtype=h.dtype, device=h.device)
        offset = rows @ self.kind.T + log_trust(trust).unsqueeze(1)  # (B, M heads, M)
        hears = (on.unsqueeze(-1) & (itself < 0.5)).repeat_interleave(self.heads, 1)
        logits, allowed = [], []
        for index, (sequence, real) in enumerate(zip(steps, seen, strict=True)):
            logits.append(rows @ sequence.transpose(1, 2) + offset[..., index : index + 1])  # (B, M heads, T_m)
            allowed.append(real.unsqueeze(1) & hears[..., index : index + 1])
        attention = masked_softmax(torch.cat(logits, -1), torch.cat(allowed, -1))  # (B, M heads, S)
        parts = torch.split(attention, [sequence.shape[1] for sequence in steps], -1)
        mass = torch.stack([part.sum(-1) for part in parts], -1)  # (B, M heads, M): how much each source is listened to
        # The only one left to listen to gets all the attention, whatever the bias: so r also scales what is heard.
        trusted = mass * trust.unsqueeze(1)
        listened = trusted @ self.kind
        for index, (part, sequence) in enumerate(zip(parts, steps, strict=True)):
            listened = listened + part @ sequence * trust[:, index].view(-1, 1, 1)
        heard = self._hear(
            listened.reshape(batch, count, self.heads * width), trusted.sum(-1).view(batch, count, self.heads)
        )
        strength, loudness = torch.linalg.vector_norm(h, dim=-1), torch.linalg.vector_norm(heard, dim=-1)
        share = (loudness / (strength + loudness).clamp_min(1e-9)).unsqueeze(-1)  # (B, M, 1)
        route = (1 - share) * itself + share * mass.view(batch, count, self.heads, count).mean(2)
        return self.norm(h + heard) * on.unsqueeze(-1), route

    def _ask(self, x: Tensor) -> Tensor:
        """Scaled queries mapped back through the keys, (B, M, d) to (B, M, heads d)."""
        width, size = x.shape[-1], x.shape[-1] // self.heads
        keys = self.key.weight.view(self.heads, size, width) / math.sqrt(size)
        both = self.query.weight.view(self.heads, size, width).transpose(1, 2) @ keys  # (heads, d, d)
        bias = (self.query.bias.view(self.heads, 1, size) @ keys).flatten()
        return functional.linear(x, both.transpose(1, 2).reshape(-1, width), bias)

    def _hear(self, listened: Tensor, mass: Tensor) -> Tensor:
        """Values and output map of what was listened to, (B, M, heads d) with its mass (B, M, heads) to (B, M, d)."""
        width, size = self.out.weight.shape[0], self.out.weight.shape[0] // self.heads
        out = self.out.weight.view(width, self.heads, size).transpose(0, 1)  # (heads, d, size)
        both = out @ self.value.weight.view(self.heads, size, width)  # (heads, d, d)
        bias = (out @ self.value.bias.view(self.heads, size, 1)).squeeze(-1)  # (heads, d)
        return functional.linear(listened, both.transpose(0, 1).reshape(width, -1)) + mass @ bias


def feature_entropy(h: Tensor) -> Tensor:
    """H(h_m) of Eq. 4: the entropy in nats of softmax(h_m), (..., d) to (...), at most ln d."""
    log_p = torch.log_softmax(h, -1)
    return -(log_p.exp() * log_p).sum(-1)


def laplace_entropy(spread: Tensor) -> Tensor:
    """Entropy in nats of a Laplace distribution with this scale."""
    return 1.0 + math.log(2.0) + spread.log()


class EntropyGate(nn.Module):
    """Information Entropy Gate, Eq. 4: w = softmax_m(z_m * exp(-H_m / tau)), z projected from the concatenation.

    literal: as printed; a dead modality (h = 0) keeps a share.
    robust: w = softmax_m(softplus(z_m) * exp(-H_m / (tau ln d)) + k_m log r_m) over what is on, k_m >= 0 learned.
    robust, predictive: H_m is the entropy of the distribution that the modality's own head predicts, and its weight is
    softplus(z_m) * exp(-H_m / tau) * r_m^k_m over their sum: with tau = 0.5 inverse-variance weighting.
    """

    def __init__(self, count: int, width: int, tau: float, *, robust: bool, predictive: bool) -> None:
        super().__init__()
        self.tau, self.robust, self.predictive = tau, robust, predictive
        self.project = nn.Linear(count * width, count)
        self.exponent = nn.Parameter(torch.full((count,), math.log(math.e - 1)))  # softplus of it is 1

    def forward(self, h: Tensor, on: Tensor, trust: Tensor, own_spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (B, M), sum 1 (robust: over what is on), and the entropies (B, M).

        Args:
            h: (B, M, d).
            on: (B, M).
            trust: (B, M).
            own_spread: (B, M) Laplace scales of the modalities' own predictions.
        """
        z = self.project(h.flatten(-2))
        entropy = laplace_entropy(own_spread.detach()) if self.predictive else feature_entropy(h)
        if not self.robust:
            return torch.softmax(z * torch.exp(-entropy / self.tau), -1), entropy
        positive = functional.softplus(z)
        if self.predictive:
            logits = positive.clamp_min(1e-6).log() - entropy / self.tau
        else:
            logits = positive * torch.exp(-entropy / (self.tau * math.log(h.shape[-1])))
        logits = logits + functional.softplus(self.exponent) * log_trust(trust)
        weights = masked_softmax(logits, on)
        return weights, entropy * on


class ImportanceGate(nn.Module):
    """Modality Importance Gate, Eq. 5: h = W_f [sigma(z) * h_T, sigma(z) * h_A, ...], a gate per modality and feature.

    W_f of the concatenation is kept as one block per modality, so that each modality's part of the sum can be told.
    robust: the gate is sigma(z + k_m log r_m), k_m >= 0 learned, and 0 where masked.
    """

    def __init__(self, count: int, width: int, *, robust: bool, gated: bool) -> None:
        super().__init__()
        self.robust, self.gated = robust, gated
        self.project = nn.Linear(count * width, count * width)
        self.fuse = nn.Parameter(torch.randn(count, width, width) / math.sqrt(count * width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.exponent = nn.Parameter(torch.full((count,), math.log(math.e - 1)))

    def forward(self, h: Tensor, on: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts W_m (g_m * h_m) (B, M, d), to be summed, and the gates g (B, M, d)."""
        if self.gated:
            z = self.project(h.flatten(-2)).reshape(h.shape)
            if self.robust:
                z = z + (functional.softplus(self.exponent) * log_trust(trust)).unsqueeze(-1)
            gates = torch.sigmoid(z)
        else:
            gates = torch.ones_like(h)
        if self.robust:
            gates = gates * on.unsqueeze(-1)
        return torch.einsum("bmd,mde->bme", gates * h, self.fuse), gates


def contribution(parts: Tensor) -> Tensor:
    """Share of each modality in a sum: its norm over the sum of norms, (B, M, d) to (B, M); all 0 for nothing."""
    norms: Tensor = torch.linalg.vector_norm(parts, dim=-1)
    return norms / norms.sum(-1, keepdim=True).clamp_min(1e-9)
