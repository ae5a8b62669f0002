"""Windows to padded arrays: the one place where what AGFN sees is laid out, live and in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from realtime.types import Floats, Modality, Segment, WindowView

MAX_STEPS: dict[Modality, int] = {"text": 64, "voice": 48, "face": 64}
"""Longest sequence per modality; of a longer one the newest steps are kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What `models.agfn.AGFN.forward` takes; T is the longest sequence of the batch, at least 1.

    Per modality: `values` (B, T, D) float32, `times` (B, T) seconds <= 0, `mask` (B, T) bool, True for a real step.
    `reliability` (B, 3) in the order of MODALITIES.
    """

    values: dict[str, Floats]
    times: dict[str, Floats]
    mask: dict[str, NDArray[np.bool_]]
    reliability: Floats


def collate(views: Sequence[WindowView], inputs: Mapping[str, int] | None = None) -> Batch:
    """Pad the segments of B windows at the end. A segment with reliability 0 is left out altogether.

    Args:
        views: of the windows.
        inputs: how many of the first columns of each modality a network takes; all by default.
    """
    values: dict[str, Floats] = {}
    times: dict[str, Floats] = {}
    mask: dict[str, NDArray[np.bool_]] = {}
    for name in MODALITIES:
        segments = [view.segments[name] for view in views]
        padded, times[name], mask[name] = _pad(segments, MAX_STEPS[name])
        values[name] = padded if inputs is None else np.ascontiguousarray(padded[..., : inputs[name]])
    reliability = [[view.segments[name].reliability for name in MODALITIES] for view in views]
    return Batch(values, times, mask, np.array(reliability, np.float32))


def _pad(segments: Sequence[Segment], limit: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
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
    return values, times, mask
