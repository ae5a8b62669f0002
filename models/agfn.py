"""AGFN: adaptive gated fusion of any set of modalities (arXiv 2510.01677), for live use.

- One causal sequence encoder per modality, then every pair exchanges information by attention.
- Two gates (Eq. 4 and 5), mixed by a learnable alpha (Eq. 6), one head for the score and its spread.
- `literal` is Eq. 4-6 as printed; `robust` (ours) lets the measured reliability r into every gate as log r, and r = 0
  is a hard mask: the weight is exactly 0 and nothing of that stream changes the output by one bit.
- Every modality also has a head of its own: for late fusion as a control, deep supervision, and the predictive entropy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoders import SequenceEncoder
from models.gates import CrossModal, EntropyGate, ImportanceGate, contribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.agfn_config import AgfnConfig

LIMIT = 3.0
"""Sentiment lies in [-LIMIT, LIMIT]."""
SPREAD_RANGE = (0.05, 5.0)


class AgfnOutput(NamedTuple):
    """What one forward pass says of B windows with M modalities."""

    score: Tensor
    """(B,) sentiment in [-3, 3]; 0 where nothing is present."""
    spread: Tensor
    """(B,) positive scale of the error (Laplace b) before calibration."""
    weights: Tensor
    """(B, M) share of each modality in what is fused: alpha * IEG weight + (1 - alpha) * share of the MIG sum, carried
    back through the attention between modalities; sums to 1, exactly 0 (robust) for what is masked."""
    used: Tensor
    """(B, M) bool, False for a masked modality."""
    present: Tensor
    """(B,) bool, False where every modality is masked."""
    ieg: Tensor
    """(B, M) weights of the Information Entropy Gate, sum 1."""
    mig: Tensor
    """(B, M, d) gates of the Modality Importance Gate in [0, 1]."""
    entropy: Tensor
    """(B, M) entropy H that Eq. 4 used."""
    alpha: Tensor
    """() mix of the two gates."""
    h_fused: Tensor
    """(B, d)."""
    own_score: Tensor
    """(B, M) what each modality says alone; 0 where masked."""
    own_spread: Tensor
    """(B, M) and how far it may be off."""


class AGFN(nn.Module):
    """The network; see the head of the file."""

    prior_spread: Tensor

    def __init__(self, config: AgfnConfig) -> None:
        super().__init__()
        if not config.inputs:
            raise ValueError("AGFN needs at least one modality")
        self.config, switches = config, config.ablation
        width, count = config.width, len(config.inputs)
        self.encoders = nn.ModuleDict(
            {
                name: SequenceEncoder(
                    inputs,
                    width,
                    config.encoder,
                    config.layers,
                    config.dropout,
                    switches.columns.get(name),
                    compress=switches.compress,
                )
                for name, inputs in config.inputs.items()
            }
        )
        self.cross = CrossModal(count, width, config.heads) if switches.cross_modal else None
        robust = switches.variant == "robust"
        predictive = switches.entropy == "predictive"
        self.entropy_gate = EntropyGate(count, width, switches.tau, robust=robust, predictive=predictive)
        self.importance_gate = ImportanceGate(count, width, robust=robust, gated=switches.mig or switches.ieg)
        self.mix = nn.Parameter(torch.zeros(()))
        self.own_head = nn.Parameter(torch.randn(count, width, 2) / math.sqrt(width))
        with torch.no_grad():
            for index, name in enumerate(config.inputs):
                if name in switches.judgement:
                    self.own_head[index] *= 0.01
        self.gain = nn.Parameter(torch.ones(count))
        self.own_bias = nn.Parameter(torch.zeros(count, 2))
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, 2)
        if switches.anchor:  # the head corrects: it begins with nothing to say
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.doubt = nn.Parameter(torch.full((count,), -2.0))
        self.register_buffer("prior_spread", torch.tensor(1.3))

    def forward(
        self, values: Mapping[str, Tensor], times: Mapping[str, Tensor], mask: Mapping[str, Tensor], reliability: Tensor
    ) -> AgfnOutput:
        """Fuse B windows.

        Args:
            values: per modality (B, T_m, D_m); T_m may differ.
            times: per modality (B, T_m) seconds relative to the end of the window, <= 0.
            mask: per modality (B, T_m) bool, True for a real step. A step with a NaN or infinity is masked too.
            reliability: (B, M) in [0, 1] in the order of `config.inputs`; 0 masks the modality.
        """
        trust = torch.nan_to_num(reliability, nan=0.0).clamp(0.0, 1.0)
        steps, pooled, seen = [], [], []
        for index, (name, encoder) in enumerate(self.encoders.items()):
            # A NaN or infinity anywhere in a step shows in its sum, at a third of the price of looking at each value.
            usable = mask[name] & torch.isfinite(values[name].sum(-1)) & (trust[:, index] > 0).unsqueeze(-1)
            sequence, vector = encoder(values[name], times[name], usable)
            steps.append(sequence)
            pooled.append(vector)
            seen.append(usable)
        h = torch.stack(pooled, 1)  # (B, M, d)
        on = torch.stack([usable.any(-1) for usable in seen], 1)  # (B, M)
        return self._fuse(h, steps, seen, on, trust * on, self._judged(values, seen))

    def _judged(self, values: Mapping[str, Tensor], seen: list[Tensor]) -> Tensor:
        """Newest judgement that a modality brings along, times its gain: (B, M), 0 where there is none."""
        columns = []
        for index, name in enumerate(self.encoders):
            usable = seen[index]
            if name in self.config.ablation.judgement:
                said = values[name][..., self.config.ablation.judgement[name]]
                newest = usable.to(torch.uint8).flip(-1).argmax(-1, keepdim=True)
                last = torch.where(usable, said, torch.zeros_like(said)).flip(-1).gather(-1, newest)
                columns.append(last.squeeze(-1))
            else:
                columns.append(torch.zeros_like(usable[:, 0], dtype=self.gain.dtype))
        return torch.stack(columns, -1) * self.gain

    def _fuse(
        self, h: Tensor, steps: list[Tensor], seen: list[Tensor], on: Tensor, trust: Tensor, judged: Tensor
    ) -> AgfnOutput:
        own_score, own_spread = self._own(h, on, judged)
        reliability = trust
        if self.config.ablation.skill:
            trust = trust * skill(own_spread.detach(), self.prior_spread)
        route = torch.eye(h.shape[1], dtype=h.dtype, device=h.device).expand(h.shape[0], -1, -1)
        if self.cross is not None:
            h, route = self.cross(
                h, steps, seen, on, trust if self.config.ablation.variant == "robust" else on.to(h.dtype)
            )
        ieg, entropy = self.entropy_gate(h, on, trust, own_spread)
        parts, gates = self.importance_gate(h, on, trust)  # (B, M, d) each
        if self.config.ablation.skill:
            parts = parts * trust.unsqueeze(-1)
        alpha = self._alpha()
        h_fused = alpha * (ieg.unsqueeze(-1) * h).sum(1) + (1 - alpha) * (parts.sum(1) + self.importance_gate.bias)
        share = alpha * ieg + (1 - alpha) * contribution(parts)
        weights = (share.unsqueeze(1) @ route).squeeze(1)
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
        raw, log_spread = self._read(h_fused)
        if self.config.ablation.anchor:
            raw = raw + (ieg * own_score).sum(-1)
        log_spread = log_spread + (functional.softplus(self.doubt) * (1 - reliability)).sum(-1)
        present = on.any(-1)
        return AgfnOutput(
            score=squash(raw) * present,
            spread=log_spread.exp().clamp(*SPREAD_RANGE),
            weights=weights * present.unsqueeze(-1),
            used=on,
            present=present,
            ieg=ieg,
            mig=gates,
            entropy=entropy,
            alpha=alpha,
            h_fused=h_fused,
            own_score=own_score,
            own_spread=own_spread,
        )

    def set_prior_spread(self, spread: float) -> None:
        """Set b0, the error of somebody who sees nothing: the labels' mean absolute deviation from their median."""
        self.prior_spread.fill_(spread)

    def score(self, h_fused: Tensor) -> Tensor:
        """Return f(h_fused) of Eq. 7, (B, d) to (B,): the head without dropout, for virtual adversarial training."""
        return squash(self.head(functional.gelu(self.hidden(h_fused)))[..., 0])

    def _read(self, h_fused: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.dropout(functional.gelu(self.hidden(h_fused))))
        return out[..., 0], out[..., 1].clamp(-3.0, 1.6)

    def _own(self, h: Tensor, on: Tensor, judged: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.einsum("bmd,mdk->bmk", h, self.own_head) + self.own_bias
        return squash(out[..., 0] + judged) * on, out[..., 1].clamp(-3.0, 1.6).exp()

    def _alpha(self) -> Tensor:
        if self.config.ablation.ieg and self.config.ablation.mig:
            return torch.sigmoid(self.mix)
        return torch.full_like(self.mix, 1.0 if self.config.ablation.ieg else 0.0)


def skill(spread: Tensor, prior_spread: Tensor) -> Tensor:
    """Share of the squared error of somebody who sees nothing that is gone: (B, M) in [0.01, 1]."""
    return (1.0 - (spread / prior_spread).square()).clamp(0.01, 1.0)


def squash(raw: Tensor) -> Tensor:
    """Bring a score into [-3, 3]; the slope is 1 at 0."""
    return LIMIT * torch.tanh(raw / LIMIT)
