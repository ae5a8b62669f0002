"""The methods of the fusion benchmark: how each is built and what it is trained to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from models.agfn import AGFN, squash
from models.agfn_config import FULL, AgfnConfig
from models.encoders import SequenceEncoder
from models.gates import log_trust
from models.live import fuse
from models.losses import LossWeights, laplace_nll
from models.vat import vat_loss
from scripts.evaluation.baselines import Concat, EfLstm, LateFusion, Lmf, Misa, MulT, Single, Tfn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scripts.evaluation.ensemble import Ensemble

WIDTH = 32
DROPOUT = 0.3


class VectorOutput(NamedTuple):
    """AGFN's output under the names of the peers', with what its loss needs."""

    score: Tensor
    hidden: Tensor
    weights: Tensor
    own: Tensor
    penalty: Tensor
    own_spread: Tensor
    spread: Tensor
    used: Tensor
    ieg: Tensor


class AgfnVectors(nn.Module):
    """AGFN on one vector per modality: a sequence of length 1."""

    def __init__(self, config: AgfnConfig) -> None:
        super().__init__()
        self.agfn = AGFN(config)

    def forward(self, values: Mapping[str, Tensor], reliability: Tensor) -> VectorOutput:
        """Score B rows; the benchmark wants a number even where nothing is present: what the head says of no input."""
        there = {name: reliability[:, index : index + 1] > 0 for index, name in enumerate(values)}
        steps = {name: value.unsqueeze(1) for name, value in values.items()}
        now = {name: torch.zeros_like(reliability[:, :1]) for name in values}
        out = self.agfn(steps, now, there, reliability)
        score = torch.where(out.present, out.score, self.agfn.score(out.h_fused))
        nothing = reliability.new_zeros(())
        return VectorOutput(
            score, out.h_fused, out.weights, out.own_score, nothing, out.own_spread, out.spread, out.used, out.ieg
        )

    def head(self, h_fused: Tensor) -> Tensor:
        """F of Eq. 7."""
        return self.agfn.score(h_fused)


class Distributions(nn.Module):
    """The live fusion (models/live.py) on one vector per modality: distributions, weighed by what is known of each.

    No text line brings a distribution along here: text has an encoder and a head like the others, and where it is among
    the inputs it enters at gain 1, as in the live program. Where nothing is present a learned constant is said.

    Args:
        inputs: width of each modality.
        gated: whether the entropies weigh; without them only the reliabilities do.
        led: whether text enters at gain 1; without it everything is averaged.
    """

    def __init__(self, inputs: Mapping[str, int], *, gated: bool = True, led: bool = True) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: SequenceEncoder(size, WIDTH, "mean", 1, DROPOUT) for name, size in inputs.items()}
        )
        count = len(inputs)
        self.own_head = nn.Parameter(torch.randn(count, WIDTH, 2) / math.sqrt(WIDTH))
        self.own_bias = nn.Parameter(torch.zeros(count, 2))
        self.gate_bias, self.blank = nn.Parameter(torch.zeros(count)), nn.Parameter(torch.zeros(()))
        self.exponent, self.gain = nn.Parameter(torch.ones(count)), nn.Parameter(torch.ones(count))
        self.gated = gated
        self.register_buffer("leads", torch.tensor([led and name == "text" for name in inputs]), persistent=False)

    leads: Tensor

    def forward(self, values: Mapping[str, Tensor], reliability: Tensor) -> VectorOutput:
        """Score B rows."""
        used = reliability > 0
        vectors = []
        for index, (name, encoder) in enumerate(self.encoders.items()):
            there = used[:, index : index + 1]
            vectors.append(encoder(values[name].unsqueeze(1), torch.zeros_like(reliability[:, :1]), there)[1])
        h = torch.stack(vectors, 1)
        out = torch.einsum("bmd,mdk->bmk", h, self.own_head) + self.own_bias
        gain = torch.where(self.leads, torch.ones_like(self.gain), self.gain)
        own, own_spread = squash(out[..., 0]) * gain * used, out[..., 1].clamp(-3.0, 1.6).exp()
        logits = self.gate_bias + self.exponent.abs() * log_trust(reliability)
        known = own_spread if self.gated else torch.ones_like(own_spread)
        fused = fuse(own, known, used, logits, self.leads, 0.5)
        score = torch.where(used.any(-1), fused.score, squash(self.blank))
        hidden = (fused.weights.unsqueeze(-1) * h).sum(1)
        nothing = reliability.new_zeros(())
        return VectorOutput(score, hidden, fused.weights, own, nothing, own_spread, fused.spread, used, fused.weights)


def plain_loss(ensemble: Ensemble, out: Any, target: Tensor) -> Tensor:  # noqa: ANN401 - the tuple of any method
    """L1 and the method's own penalty, (K,)."""
    del ensemble
    loss: Tensor = (out.score - target).abs().mean(1) + out.penalty
    return loss


def late_loss(ensemble: Ensemble, out: Any, target: Tensor) -> Tensor:  # noqa: ANN401 - as above
    """L1 of the mean and of every head that had something to see, (K,)."""
    used = out.weights > 0
    own: Tensor = ((out.own - target.unsqueeze(-1)).abs() * used).sum((1, 2)) / used.sum((1, 2)).clamp_min(1)
    return plain_loss(ensemble, out, target) + 0.5 * own


@dataclass(frozen=True)
class AgfnLoss:
    """`models.losses.agfn_loss` for K stacked members, with gate supervision as a further idea (weight `gate`).

    Gate supervision: the entropy gate should look like the softmax of minus each modality's own error, so that it
    learns from the damage that was really done.
    """

    weights: LossWeights
    gate: float = 0.0

    def __call__(self, ensemble: Ensemble, out: VectorOutput, target: Tensor) -> Tensor:
        """Return the loss per member (K,)."""
        weights = self.weights
        error = (out.score - target).abs()
        loss = (error + weights.spread * laplace_nll(error.detach(), out.spread)).mean(1)
        alone = (out.own - target.unsqueeze(-1)).abs()
        own = alone + weights.spread * laplace_nll(alone.detach(), out.own_spread)
        loss = loss + weights.own * (own * out.used).sum((1, 2)) / out.used.sum((1, 2)).clamp_min(1)
        if weights.vat:
            head = partial(ensemble.method, "head")
            change = vat_loss(head, out.hidden, weights.vat_epsilon, steps=weights.vat_steps)
            loss = loss + weights.vat * change
        if self.gate:
            wanted = torch.softmax((-alone.detach()).masked_fill(~out.used, -1e9), -1)
            both = out.used.sum(-1) > 1
            cross = -(wanted * out.ieg.clamp_min(1e-6).log() * out.used).sum(-1)
            loss = loss + self.gate * (cross * both).sum(1) / both.sum(1).clamp_min(1)
        return loss


@dataclass(frozen=True)
class Method:
    """A row of the benchmark. `make` builds a member from the input widths; None is ridge regression."""

    name: str
    make: Callable[[Mapping[str, int]], nn.Module] | None
    loss: Callable[[Ensemble, Any, Tensor], Tensor] = plain_loss
    is_agfn: bool = False


def _agfn(name: str, *, vat: float = 0.1, gate: float = 0.0, **switches: Any) -> Method:  # noqa: ANN401 - of Ablation
    parts = replace(FULL, **switches)
    settings = AgfnConfig(inputs={"": 1}, width=WIDTH, encoder="mean", dropout=DROPOUT, ablation=parts)

    def make(inputs: Mapping[str, int]) -> nn.Module:
        return AgfnVectors(replace(settings, inputs=dict(inputs)))

    return Method(name, make, AgfnLoss(LossWeights(vat=vat), gate), is_agfn=True)


def _live(name: str, **switches: bool) -> Method:
    return Method(name, lambda inputs: Distributions(inputs, **switches), AgfnLoss(LossWeights(vat=0.0)), is_agfn=True)


def _peer(name: str, kind: Callable[..., nn.Module], loss: Any = plain_loss, /, **options: Any) -> Method:  # noqa: ANN401
    return Method(name, lambda inputs: kind(inputs, WIDTH, DROPOUT, **options), loss)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ridge", None),
        _peer("text only", Single, name="text"),
        _peer("voice only", Single, name="voice"),
        _peer("face only", Single, name="face"),
        _peer("concat", Concat, informed=False),
        _peer("concat + r", Concat, informed=True),
        _peer("late", LateFusion, late_loss, informed=False),
        _peer("late + r", LateFusion, late_loss, informed=True),
        _peer("TFN", Tfn),
        _peer("LMF", Lmf),
        _peer("EF-LSTM", EfLstm),
        _peer("MulT", MulT),
        _peer("MISA", Misa),
        _agfn("AGFN literal", variant="literal"),
        _agfn("AGFN robust"),
        _agfn("robust, IEG only", mig=False),
        _agfn("robust, MIG only", ieg=False),
        _agfn("robust, no gate", ieg=False, mig=False),
        _agfn("robust, no cross-modal", cross_modal=False),
        _agfn("robust, no VAT", vat=0.0),
        _agfn("robust, predictive entropy", entropy="predictive", tau=0.5),
        _agfn("robust, anchored", entropy="predictive", tau=0.5, anchor=True),
        _agfn("robust, gate supervised", gate=0.3),
        _live("AGFN distributions"),
        _live("distributions, no entropy", gated=False),
        _live("distributions, text not led", led=False),
    )
}
