"""Damage to feature vectors, and the reliability that goes with it: the same draws for every method.

What utterance-level vectors can show: a modality that is missing, one in noise at a set SNR (reliability from an SNR
measured within a few dB, by the ramp of the live voice), and one that is stale without anyone knowing (the vector of
another utterance, reliability still 1). Bursts, blocks and offsets need sequences: the live evaluation has them.

Where the signal itself was damaged and analysed again (`Damaged`), its vectors and the reliability that was measured
are taken instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    Curves = Mapping[tuple[str, str], tuple[float, ...]]
    """Levels by kind and place, mild to severe."""

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
    """`kind` missing | stale | noise | blur, at `level` (a rate, dB, pixels), on one modality or `all`."""

    kind: str
    where: str
    level: float

    @property
    def key(self) -> str:
        """Name in files, such as noise/voice/-5."""
        return f"{self.kind}/{self.where}/{self.level:g}"


@dataclass(frozen=True)
class Damaged:
    """A modality by the damage to its signal: `values` (..., L, D), `reliability` (..., L); the first is undamaged.

    `kind` is noise (in dB) or blur (in pixels), `levels` are those after the first.
    """

    kind: str
    levels: tuple[float, ...]
    values: Tensor
    reliability: Tensor

    def at(self, level: float) -> tuple[Tensor, Tensor]:
        """Return values (..., D) and reliability (...) at a level."""
        index = 1 + self.levels.index(level)
        return self.values[..., index, :], self.reliability[..., index]

    def take(self, rows: slice | Tensor) -> Damaged:
        """Return the same of some of the first axis, or of rows (K, B) of the second."""
        if isinstance(rows, slice):
            return replace(self, values=self.values[rows], reliability=self.reliability[rows])
        member = torch.arange(len(rows)).unsqueeze(-1)
        return replace(self, values=self.values[member, rows], reliability=self.reliability[member, rows])

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return values (..., D) and reliability (...), each row at a level of its own."""
        shape = self.reliability.shape[:-1]
        index = torch.randint(1, 1 + len(self.levels), (*shape, 1), generator=generator)
        values = self.values.gather(-2, index.unsqueeze(-1).expand(*shape, 1, self.values.shape[-1]))
        return values.squeeze(-2), self.reliability.gather(-1, index).squeeze(-1)


def vector_curves(names: Sequence[str]) -> Curves:
    """Everything that is done to the vectors of these modalities."""
    missing = {("missing", where): RATES for where in (*names, "all")}
    stale = {("stale", where): RATES for where in names}
    return missing | stale | {("noise", where): SNRS_DB for where in (*names, "all")}


def signal_curves(levels: Mapping[str, tuple[str, tuple[float, ...]]]) -> Curves:
    """Everything that is done to modalities whose signals were damaged in a way, at levels."""
    missing = {("missing", where): RATES for where in (*levels, "all")}
    return missing | {(kind, where): found for where, (kind, found) in levels.items()}


def alone(curves: Curves) -> list[tuple[str, str]]:
    """The curves of the bar: one modality damaged, and known to be."""
    return [(kind, where) for kind, where in curves if kind != "stale" and where != "all"]


def conditions(curves: Curves) -> list[Condition]:
    """Every condition on these curves, and each modality gone; clean is missing/all/0."""
    made = [Condition(kind, where, level) for (kind, where), levels in curves.items() for level in levels]
    gone = [where for kind, where in curves if kind == "missing" and where != "all"]
    return made + [Condition("missing", where, 1.0) for where in gone]


def snr_reliability(snr_db: Tensor, generator: torch.Generator) -> Tensor:
    """What the live program would say of this SNR: measured with an error, then the ramp."""
    measured = snr_db + SNR_ERROR_DB * torch.randn(snr_db.shape, generator=generator)
    low, high = SNR_RAMP_DB
    return ((measured - low) / (high - low)).clamp(0, 1)


def add_noise(x: Tensor, snr_db: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise on standardised features (..., D) at an SNR (...,) in dB."""
    scale = (10.0 ** (-snr_db / 20.0)).unsqueeze(-1)
    return (x + scale * torch.randn(x.shape, generator=generator)).clamp(-8, 8)


def apply(
    condition: Condition,
    values: Mapping[str, Tensor],
    mask_seed: int,
    signals: Mapping[str, Damaged] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Damage standardised values (..., N, D_m) alike along the leading axes.

    Args:
        condition: what is done, and where.
        values: of each modality.
        mask_seed: of the draws.
        signals: the modalities whose signals were damaged, (..., N) rows.

    Returns:
        values, zeroed where the reliability is 0, and reliability (..., N, M).
    """
    generator = torch.Generator().manual_seed(mask_seed)
    result, trust = {}, []
    for index, (name, value) in enumerate(values.items()):
        x, count = value, value.shape[-2]
        signal = (signals or {}).get(name)
        r = torch.ones(count) if signal is None else signal.reliability[..., 0]
        # Drawn for every modality and nested in the level: worse damage hits the same rows and more.
        hit = torch.rand(count, generator=generator) < condition.level
        source = torch.from_numpy(np.random.default_rng(mask_seed + index).permutation(count))
        noise = torch.Generator().manual_seed(mask_seed * 31 + index)
        if condition.where in (name, "all"):
            if condition.kind == "missing":
                r = torch.where(hit, 0.0, r)
            elif signal is not None:
                x, r = signal.at(condition.level)
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


def augment(
    regime: str,
    values: Mapping[str, Tensor],
    generator: torch.Generator,
    signals: Mapping[str, Damaged] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Damage a training batch (K, B, D_m): `plain` not at all, `dropout` drops modalities, `damage` adds noise too.

    Noise is any of the damage that was done to the signal, for a modality in `signals`.

    Returns:
        values, zeroed where the reliability is 0, and reliability (K, B, M).
    """
    result, trust = {}, []
    for name, value in values.items():
        shape = value.shape[:-1]
        signal = (signals or {}).get(name)
        r, x = torch.ones(shape) if signal is None else signal.reliability[..., 0], value
        draw = torch.rand(shape, generator=generator)
        if regime == "damage":
            noisy = (draw > DROP) & (draw < 2 * DROP)
            if signal is None:
                snr = torch.rand(shape, generator=generator) * 35.0 - 10.0
                known = snr_reliability(snr, generator)
                worse = add_noise(x, snr, generator)
            else:
                worse, known = signal.drawn(generator)
            r = torch.where(noisy, known, r)
            x = torch.where(noisy.unsqueeze(-1), worse, x)
        if regime != "plain":
            r = torch.where(draw < DROP, 0.0, r)
        result[name] = x * (r > 0).unsqueeze(-1)
        trust.append(r)
    return result, torch.stack(trust, -1)
