"""The live fusion: AGFN whose modalities are distributions, weighed by what is known of each. Ours.

Text brings a distribution along: location and log scale of what the present utterance says. Voice and face have an
encoder and a head each, which give one. The entropy gate (Eq. 4) goes by these: the weight of a modality is

    w_m = softmax_m( bias_m - H_m / tau + k_m log r_m )      H_m the entropy of its distribution, r_m its reliability

over what is there; with tau = 1/2 that is weighing by the inverse square of the scale. Text enters at gain 1, and the
others correct it by their weighted locations, times a gain: by no more than their weight, which grows as the words are
late, doubtful or open. Where there are no words the others are averaged. r_m = 0 is a hard mask: the weight is exactly
0, and no bit changes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from models.agfn import AGFN, LIMIT, SPREAD_RANGE, AgfnOutput, squash
from models.encoders import SequenceEncoder, masked_softmax
from models.gates import laplace_entropy, log_trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.agfn_config import AgfnConfig

LOG_SCALES = (-3.0, 1.6)
"""The scale of a distribution is kept between the exponentials of these."""
LEAST_LOG_SCALE = math.log(0.8)
"""Of what has an encoder: it learned from emotions, which stand for a sentiment by a table, and nobody's sentiment is
known better than so by a face or a voice, however sure the emotion is."""
LEAK = 0.1
"""Slope of the scale below its floor while it is learned: what fell below can rise again."""
LOCATION, LOG_SCALE = 0, 1
"""Columns of a modality that brings its distribution along."""


class LiveAGFN(AGFN):
    """See the head of the file. `config.ablation.given` names the modality that brings its distribution along."""

    def __init__(self, config: AgfnConfig) -> None:
        nn.Module.__init__(self)
        if config.ablation.given not in config.inputs or config.inputs[config.ablation.given] != 2:
            raise ValueError(f"{config.ablation.given!r} brings no location and scale along")
        self.config = config
        width, count = config.width, len(config.inputs)
        self.encoders = nn.ModuleDict(
            {
                name: SequenceEncoder(
                    inputs,
                    width,
                    config.encoder,
                    config.layers,
                    config.dropout,
                    config.ablation.columns.get(name),
                    compress=config.ablation.compress,
                )
                for name, inputs in config.inputs.items()
                if name != config.ablation.given
            }
        )
        self.own_head = nn.Parameter(torch.randn(count, width, 2) / math.sqrt(width))
        self.own_bias = nn.Parameter(torch.zeros(count, 2))
        self.gate_bias = nn.Parameter(torch.zeros(count))
        self.exponent = nn.Parameter(torch.ones(count))
        self.gain = nn.Parameter(torch.ones(count))

    def read(self, name: str, values: Tensor, times: Tensor, usable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return location and log scale (B,) of what a modality with an encoder says by itself, and its vector (B, d).

        Args:
            name: of the modality.
            values: (B, T, D).
            times: (B, T).
            usable: (B, T) True for the steps that count.
        """
        index = list(self.config.inputs).index(name)
        _, vector = self.encoders[name](values, times, usable)
        out = vector @ self.own_head[index] + self.own_bias[index]
        least = LEAST_LOG_SCALE if self.config.ablation.gain_beside else LOG_SCALES[0]
        log_spread = out[:, 1]
        if self.training:
            log_spread, least = torch.maximum(log_spread, least + LEAK * (log_spread - least)), LOG_SCALES[0]
        return squash(out[:, 0]), log_spread.clamp(least, LOG_SCALES[1]), vector

    def forward(
        self, values: Mapping[str, Tensor], times: Mapping[str, Tensor], mask: Mapping[str, Tensor], reliability: Tensor
    ) -> AgfnOutput:
        """Fuse B windows; arguments as those of AGFN."""
        trust = torch.nan_to_num(reliability, nan=0.0).clamp(0.0, 1.0)
        scores, spreads, on, pooled = [], [], [], []
        for index, name in enumerate(self.config.inputs):
            usable = mask[name] & torch.isfinite(values[name].sum(-1)) & (trust[:, index] > 0).unsqueeze(-1)
            if name == self.config.ablation.given:
                newest = _newest(values[name], usable)
                score, log_spread = newest[:, LOCATION].clamp(-LIMIT, LIMIT), newest[:, LOG_SCALE].clamp(*LOG_SCALES)
                vector = torch.zeros(len(trust), self.config.width, dtype=trust.dtype, device=trust.device)
            else:
                score, log_spread, vector = self.read(name, values[name], times[name], usable)
            scores.append(score)
            pooled.append(vector)
            spreads.append(log_spread.exp())
            on.append(usable.any(-1))
        used = torch.stack(on, 1)
        own_spread, h = torch.stack(spreads, 1), torch.stack(pooled, 1)
        said = torch.tensor([name == self.config.ablation.given for name in self.config.inputs], device=trust.device)
        beside = (used & said).any(-1, keepdim=True) if self.config.ablation.gain_beside else used.any(-1, keepdim=True)
        own_score = torch.stack(scores, 1) * used * torch.where(beside & ~said, self.gain, torch.ones_like(self.gain))
        logits = self.gate_bias + self.exponent.abs() * log_trust(trust * used)
        score, spread, weights, entropy = fuse(own_score, own_spread, used, logits, said, self.config.ablation.tau)
        present = used.any(-1)
        return AgfnOutput(
            score=score * present,
            spread=spread,
            weights=weights,
            used=used,
            present=present,
            ieg=weights,
            mig=torch.zeros_like(h),
            entropy=entropy * used,
            alpha=torch.ones_like(self.gate_bias[0]),
            h_fused=(weights.unsqueeze(-1) * h).sum(1),
            own_score=own_score,
            own_spread=own_spread,
        )


class Fused(NamedTuple):
    """What B windows say together: score and spread (B,), weights and entropy (B, M)."""

    score: Tensor
    spread: Tensor
    weights: Tensor
    entropy: Tensor


def fuse(own_score: Tensor, own_spread: Tensor, used: Tensor, logits: Tensor, leads: Tensor, tau: float) -> Fused:
    """Fuse the distributions of M modalities; see the head of the file.

    Args:
        own_score: (B, M) their locations, 0 where nothing is used.
        own_spread: (B, M) their Laplace scales.
        used: (B, M) False for what is masked.
        logits: (B, M) what is added to minus the entropy over tau: the biases and the reliabilities.
        leads: (M,) True for the modality that enters at gain 1 where it is used.
        tau: temperature of the entropy.
    """
    entropy = laplace_entropy(own_spread)
    weights = masked_softmax(logits - entropy / tau, used)
    led = (used & leads).any(-1)
    share = torch.where(led.unsqueeze(-1) & leads, torch.ones_like(weights), weights)
    score = ((share * own_score).sum(-1)).clamp(-LIMIT, LIMIT)
    apart = (weights * (own_score - score.unsqueeze(-1)).abs()).sum(-1)
    spread = ((weights * own_spread).sum(-1) + apart).clamp(*SPREAD_RANGE)
    return Fused(score, spread, weights, entropy)


def build(config: AgfnConfig) -> AGFN:
    """Return the network of a configuration."""
    return LiveAGFN(config) if config.ablation.given else AGFN(config)


def _newest(values: Tensor, usable: Tensor) -> Tensor:
    """Newest usable step (B, D); 0 where there is none."""
    at = usable.to(torch.uint8).flip(-1).argmax(-1, keepdim=True).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    kept = torch.where(usable.unsqueeze(-1), values, torch.zeros_like(values))
    return kept.flip(1).gather(1, at).squeeze(1)
