"""Windows to padded tensors: the one place where what AGFN sees is laid out, live and in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.types import Modality, Segment, WindowView

MAX_STEPS: dict[Modality, int] = {"text": 64, "voice": 48, "face": 64}
"""Longest sequence per modality; of a longer one the newest steps are kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What `models.agfn.AGFN.forward` takes; T is the longest sequence of the batch, at least 1.

    Per modality: `values` (B, T, D) float32, `times` (B, T) seconds <= 0, `mask` (B, T) bool, True for a real step.
    `reliability` (B, 3) in the order of MODALITIES.
    """

    values: dict[str, torch.Tensor]
    times: dict[str, torch.Tensor]
    mask: dict[str, torch.Tensor]
    reliability: torch.Tensor

    def pinned(self) -> Batch:
        """Copy into page-locked memory, which torch keeps for reuse: only from there a copy to CUDA does not wait."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Copy to a device; returns itself when it is already there."""
        if self.reliability.device == device:
            return self
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        values, times, mask = (
            {name: change(tensor) for name, tensor in part.items()} for part in (self.values, self.times, self.mask)
        )
        return Batch(values, times, mask, change(self.reliability))


def collate(views: Sequence[WindowView]) -> Batch:
    """Pad the segments of B windows at the end. A segment with reliability 0 is left out altogether."""
    values: dict[str, torch.Tensor] = {}
    times: dict[str, torch.Tensor] = {}
    mask: dict[str, torch.Tensor] = {}
    for name in MODALITIES:
        segments = [view.segments[name] for view in views]
        values[name], times[name], mask[name] = _pad(segments, MAX_STEPS[name])
    reliability = [[view.segments[name].reliability for name in MODALITIES] for view in views]
    return Batch(values, times, mask, torch.tensor(reliability, dtype=torch.float32))


def _pad(segments: Sequence[Segment], limit: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    lengths = [min(limit, len(segment.values)) if segment.reliability > 0 else 0 for segment in segments]
    steps = max(1, *lengths)
    values = np.zeros((len(segments), steps, segments[0].values.shape[1]), np.float32)
    times = np.zeros((len(segments), steps), np.float32)
    mask = np.zeros((len(segments), steps), np.bool_)
    for row, (segment, length) in enumerate(zip(segments, lengths, strict=True)):
        if length:
            values[row, :length] = segment.values[-length:]
            times[row, :length] = segment.times_s[-length:]
            mask[row, :length] = True
    return torch.from_numpy(values), torch.from_numpy(times), torch.from_numpy(mask)
