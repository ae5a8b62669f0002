"""Damage to feature vectors, and the reliability that goes with it: the same draws for every method.

What utterance-level vectors can show: a modality that is missing, one in noise at a set SNR (reliability from an SNR
measured within a few dB, by the ramp of the live voice), and one that is stale without anyone knowing (the vector of
another utterance, reliability still 1). Bursts, blocks and offsets need sequences: the live evaluation has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

RATES = tuple(round(0.1 * step, 1) for step in range(10))
SNRS_DB = (20.0, 15.0, 10.0, 5.0, 0.0, -5.0, -10.0)
SNR_RAMP_DB = (0.0, 15.0)
"""Reliability 0 and 1: the ramp of `realtime.fuse.reliability.voice_quality`."""
SNR_ERROR_DB = 2.0
"""Standard deviation of the measured SNR: the live estimate is within 4 dB."""
DROP = 0.3
"""Chance of each modality to be dropped in training with modality dropout."""


@dataclass(frozen=True)
class Condition:
    """`kind` missing | noise | stale, at `level` (a rate, or an SNR in dB), on one modality or `all`."""

    kind: str
    where: str
    level: float

    @property
    def key(self) -> str:
        """Name in files, such as noise/voice/-5."""
        return f"{self.kind}/{self.where}/{self.level:g}"


def conditions(names: Sequence[str]) -> list[Condition]:
    """Every condition for these modalities; clean is missing/all/0."""
    places = [*names, "all"]
    made = [Condition("missing", where, rate) for where in places for rate in RATES]
    made += [Condition("missing", where, 1.0) for where in names]
    made += [Condition("noise", where, snr) for where in places for snr in SNRS_DB]
    made += [Condition("stale", where, rate) for where in names for rate in RATES]
    return made


def snr_reliability(snr_db: Tensor, generator: torch.Generator) -> Tensor:
    """What the live program would say of this SNR: measured with an error, then the ramp."""
    measured = snr_db + SNR_ERROR_DB * torch.randn(snr_db.shape, generator=generator)
    low, high = SNR_RAMP_DB
    return ((measured - low) / (high - low)).clamp(0, 1)


def add_noise(x: Tensor, snr_db: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise on standardised features (..., D) at an SNR (...,) in dB."""
    scale = (10.0 ** (-snr_db / 20.0)).unsqueeze(-1)
    return (x + scale * torch.randn(x.shape, generator=generator)).clamp(-8, 8)


def apply(condition: Condition, values: dict[str, Tensor], mask_seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Damage standardised values (..., N, D_m) alike along the leading axes.

    Returns:
        values, zeroed where the reliability is 0, and reliability (..., N, M).
    """
    generator = torch.Generator().manual_seed(mask_seed)
    result, trust = {}, []
    for index, (name, value) in enumerate(values.items()):
        x, count = value, value.shape[-2]
        r = torch.ones(count)
        # Drawn for every modality and nested in the level: worse damage hits the same rows and more.
        hit = torch.rand(count, generator=generator) < condition.level
        source = torch.from_numpy(np.random.default_rng(mask_seed + index).permutation(count))
        noise = torch.Generator().manual_seed(mask_seed * 31 + index)
        if condition.where in (name, "all"):
            if condition.kind == "missing":
                r = torch.where(hit, 0.0, r)
            elif condition.kind == "noise":
                snr = torch.full((count,), condition.level)
                r = snr_reliability(snr, noise)
                draw = torch.randn(value.shape[-2:], generator=noise)
                x = (x + 10.0 ** (-condition.level / 20.0) * draw).clamp(-8, 8)
            else:
                x = torch.where(hit.unsqueeze(-1), x[..., source, :], x)
        result[name] = x * (r > 0).unsqueeze(-1)
        trust.append(r.expand(value.shape[:-1]))
    return result, torch.stack(trust, -1)


def augment(regime: str, values: dict[str, Tensor], generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Damage a training batch (K, B, D_m): `plain` not at all, `dropout` drops modalities, `damage` adds noise too.

    Returns:
        values, zeroed where the reliability is 0, and reliability (K, B, M).
    """
    result, trust = {}, []
    for name, value in values.items():
        shape = value.shape[:-1]
        r, x = torch.ones(shape), value
        draw = torch.rand(shape, generator=generator)
        if regime == "damage":
            snr = torch.rand(shape, generator=generator) * 35.0 - 10.0
            noisy = (draw > DROP) & (draw < 2 * DROP)
            r = torch.where(noisy, snr_reliability(snr, generator), r)
            x = torch.where(noisy.unsqueeze(-1), add_noise(x, snr, generator), x)
        if regime != "plain":
            r = torch.where(draw < DROP, 0.0, r)
        result[name] = x * (r > 0).unsqueeze(-1)
        trust.append(r)
    return result, torch.stack(trust, -1)
