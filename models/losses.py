"""What AGFN is trained to: Eq. 7, the spread of its error, and every modality's own head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.vat import vat_loss

if TYPE_CHECKING:
    from torch import Tensor

    from models.agfn import AGFN, AgfnOutput


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term beside the L1 of the score."""

    vat: float = 0.1
    """lambda of Eq. 7."""
    vat_epsilon: float = 1.0
    vat_steps: int = 1
    spread: float = 0.1
    own: float = 0.3


def laplace_nll(error: Tensor, spread: Tensor) -> Tensor:
    """Negative log likelihood of an absolute error under a Laplace distribution, without the constant."""
    return error / spread + spread.log()


def agfn_loss(
    model: AGFN, out: AgfnOutput, target: Tensor, weights: LossWeights, row_weight: Tensor | None = None
) -> Tensor:
    """Scalar loss of a batch; rows where nothing is present do not count.

    Args:
        model: gives f of Eq. 7.
        out: of the batch.
        target: (B,) in [-3, 3].
        weights: of the terms.
        row_weight: (B,) for corpora or labels that should count more or less.
    """
    rows = out.present.to(target.dtype)
    if row_weight is not None:
        rows = rows * row_weight
    total = rows.sum().clamp_min(1e-6)
    error = (out.score - target).abs()
    # The spread learns from the error; the error must not shrink by making the spread right.
    loss = ((error + weights.spread * laplace_nll(error.detach(), out.spread)) * rows).sum() / total
    if weights.own:
        alone = (out.own_score - target.unsqueeze(-1)).abs()
        judged = out.used * rows.unsqueeze(-1)
        own = alone + weights.spread * laplace_nll(alone.detach(), out.own_spread)
        loss = loss + weights.own * (own * judged).sum() / judged.sum().clamp_min(1e-6)
    if weights.vat:
        loss = loss + weights.vat * vat_loss(model.score, out.h_fused, weights.vat_epsilon, steps=weights.vat_steps)
    return loss
