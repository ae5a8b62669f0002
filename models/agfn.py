"""AGFN: adaptive gated fusion of any set of modalities (arXiv 2510.01677), for live use.

- One causal sequence encoder per modality, then every pair exchanges information by attention.
- Two gates (Eq. 4 and 5), mixed by a learnable alpha (Eq. 6), one head for the score and its spread.
- `literal` is Eq. 4-6 as printed; `robust` (ours) lets the measured reliability r into every gate as log r, and r = 0
  is a hard mask: the weight is exactly 0 and nothing of that stream changes the output by one bit.
- Every modality also has a head of its own: for late fusion as a control, deep supervision, and the predictive entropy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoders import EncoderKind, SequenceEncoder
from models.gates import CrossModal, EntropyGate, ImportanceGate, contribution

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 3.0
"""Sentiment lies in [-LIMIT, LIMIT]."""
SPREAD_RANGE = (0.05, 5.0)


@dataclass(frozen=True)
class Ablation:
    """The switches of the studies: what is part of the network and what is left out; the defaults are what ships."""

    variant: Literal["literal", "robust"] = "robust"
    entropy: Literal["feature", "predictive"] = "predictive"
    """What H in Eq. 4 is taken of: softmax(h_m), or (ours) the distribution that the modality's own head predicts."""
    tau: float = 0.5
    """Temperature of Eq. 4."""
    anchor: bool = False
    """Ours: the head corrects the entropy-weighted mean of the modalities' own scores instead of starting from 0."""
    skill: bool = False
    """Ours: a modality counts by r times what its own head knows beyond somebody who sees nothing, 1 - (b / b0)^2."""
    judgement: Mapping[str, int] = field(default_factory=dict)
    """Column of a modality that is a sentiment already, as an adapted text encoder gives: its newest value, times a
    learned gain, is where the modality's own score starts from, and the head corrects it."""
    columns: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Columns of a modality that are looked at; all of those that are not named here. Few clips, few columns."""
    compress: bool = False
    """Ours: standardised features enter as asinh(2 z) instead of clamped: blendshapes lie near 0, with a long tail."""
    given: str = "text"
    """Ours: the modality that brings a distribution along, as the text line gives it; then models/live.py fuses."""
    ieg: bool = True
    """Without it alpha is 0."""
    mig: bool = False
    """Without it alpha is 1; without both, the concatenation is fused by a plain linear layer."""
    cross_modal: bool = False
    """Without it h'_m = h_m."""


FULL = Ablation(entropy="feature", tau=1.0, given="", mig=True, cross_modal=True)
"""All parts of the paper and nothing of ours but the mask and the measured reliability: where ablations start from."""
ON_DISK = {"skill": "worth"}
"""Switches that have another name in files."""


@dataclass(frozen=True)
class AgfnConfig:
    """Everything that shapes the network; travels with the weights as JSON."""

    inputs: Mapping[str, int]
    """Feature width of each modality; its order is the order of all (B, M) tensors."""
    width: int = 64
    """d, the width of every representation."""
    encoder: EncoderKind = "tcn"
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    ablation: Ablation = field(default_factory=Ablation)

    def to_json(self) -> str:
        """Return the configuration as one line of JSON, without a level of its own for the switches."""
        sizes = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "ablation"}
        switches = {ON_DISK.get(name, name): value for name, value in vars(self.ablation).items()}
        given = sizes | switches
        return json.dumps({name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()})

    @classmethod
    def from_json(cls, text: str) -> AgfnConfig:
        """Read what `to_json` wrote, now or in an older version.

        Raises:
            ValueError: no JSON object, an unknown or a missing key.
        """
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"not an AGFN configuration: {type(data)}")  # noqa: TRY004 - as documented
        return cls.from_keys(data)

    @classmethod
    def from_keys(cls, data: Mapping[str, Any]) -> AgfnConfig:
        """Read the keys of a file; a switch that isn't named stands as in FULL, whatever ships now.

        Raises:
            ValueError: an unknown or a missing key.
        """
        names = {ON_DISK.get(part.name, part.name): part.name for part in fields(Ablation)}
        sizes = {key: value for key, value in data.items() if key not in names}
        if unknown := set(sizes) - {part.name for part in fields(cls) if part.name != "ablation"}:
            raise ValueError(f"not an AGFN configuration: {sorted(unknown)}")
        if not isinstance(data.get("columns", {}), Mapping):
            raise ValueError("not an AGFN configuration: columns are no object")  # noqa: TRY004 - as documented
        switches = replace(FULL, **{name: data[key] for key, name in names.items() if key in data})
        try:
            return cls(**sizes, ablation=switches)
        except TypeError as error:
            raise ValueError(f"not an AGFN configuration: {error}") from None


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
