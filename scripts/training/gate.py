"""Fit the few numbers of the live fusion's gate on what the streams of held-out speakers say.

The gate starts as weighing by inverse squares of the scales times the reliabilities, and is held to that: words, voice
and face of a dozen people who talk about films cannot tell what a face is worth elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from models.live import LiveAGFN
    from scripts.training.live import Known

STEPS, LR = 300, 0.03
PULL = 0.02
"""Strength of the pull towards the beginning."""
LEAST_GAIN = 0.25
"""What voice and face say beside words counts at least so much: elsewhere they know more than here."""


def weights_of(rows: Known) -> np.ndarray:
    """Weight of every window: clips count the same, praise as much as complaint, and a window by the words it knows.

    Those who act count as much as those who talk of films, all together.
    """
    weight = 0.1 + 0.9 * rows.known
    for number in np.unique(rows.clip):
        at = rows.clip == number
        weight[at] /= weight[at].sum()
    acted = rows.damage == "acted"
    if acted.any() and not acted.all():
        weight[acted] *= weight[~acted].sum() / weight[acted].sum()
    for side in (-1, 1):
        at = np.sign(rows.target) == side
        if at.any():
            weight[at] *= len(np.unique(rows.clip)) / weight[at].sum() / 2
    return weight


def fit_gate(model: LiveAGFN, rows: Known) -> None:
    """Fit bias, exponent and gain in place; the words' bias stays 0 and their gain 1."""
    own, log_spread, trust, target, weight = (
        torch.from_numpy(np.asarray(part, np.float32))
        for part in (rows.own, rows.log_spread, rows.reliability, rows.target, weights_of(rows))
    )
    given = list(model.config.inputs).index(model.config.ablation.given)
    free = torch.ones(own.shape[1])
    free[given] = 0.0
    bias, exponent, gain = (torch.zeros(own.shape[1], requires_grad=True) for _ in range(3))
    optimiser = torch.optim.Adam([bias, exponent, gain], LR)
    for _ in range(STEPS):
        scale = LEAST_GAIN + (1 - LEAST_GAIN) * torch.sigmoid(2 + gain * free)
        scale = torch.where(free > 0, scale, torch.ones_like(scale))
        score, _ = mixed(beside(own, scale, trust, given), log_spread, trust, bias * free, 1 + exponent, given)
        pull = (bias * free).square().sum() + exponent.square().sum()
        loss = ((score - target).abs() * weight).sum() / weight.sum() + PULL * pull
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        model.gate_bias.copy_(bias * free)
        model.exponent.copy_((1 + exponent).abs())
        model.gain.copy_(scale)


def beside(own: torch.Tensor, gain: torch.Tensor, trust: torch.Tensor, given: int) -> torch.Tensor:
    """Scale what the streams say (N, M) by their gain where there are words."""
    return own * torch.where(trust[:, given : given + 1] > 0, gain, torch.ones_like(gain))


def mixed(
    own: torch.Tensor,
    log_spread: torch.Tensor,
    trust: torch.Tensor,
    bias: torch.Tensor,
    exponent: torch.Tensor,
    given: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and spread (N,) as `LiveAGFN.forward` makes them of what the streams say."""
    on = trust > 0
    logits = bias - 2 * log_spread + exponent.abs() * trust.clamp_min(1e-4).log()
    weights = torch.softmax(logits.masked_fill(~on, -1e9), -1) * on
    said = torch.zeros(own.shape[1], dtype=torch.bool)
    said[given] = True
    leads = on[:, given]
    share = torch.where(leads.unsqueeze(-1) & said, torch.ones_like(weights), weights)
    score = (share * own).sum(-1).clamp(-3.0, 3.0)
    apart = (weights * (own - score.unsqueeze(-1)).abs()).sum(-1)
    return score, (weights * log_spread.exp()).sum(-1) + apart


@torch.no_grad()
def as_shipped(model: LiveAGFN, rows: Known) -> tuple[np.ndarray, np.ndarray]:
    """Score and spread of every window of a model that is fitted already: its streams have their gains on."""
    own, log_spread, trust = (
        torch.from_numpy(np.asarray(part, np.float32)) for part in (rows.own, rows.log_spread, rows.reliability)
    )
    given = list(model.config.inputs).index(model.config.ablation.given)
    score, spread = mixed(own, log_spread, trust, model.gate_bias, model.exponent, given)
    return score.numpy(), spread.numpy()


@torch.no_grad()
def fused(model: LiveAGFN, rows: Known) -> tuple[np.ndarray, np.ndarray]:
    """Score and spread of every window with the fitted gate."""
    own, log_spread, trust = (
        torch.from_numpy(np.asarray(part, np.float32)) for part in (rows.own, rows.log_spread, rows.reliability)
    )
    given = list(model.config.inputs).index(model.config.ablation.given)
    own = beside(own, model.gain, trust, given)
    score, spread = mixed(own, log_spread, trust, model.gate_bias, model.exponent, given)
    return score.numpy(), spread.numpy()
