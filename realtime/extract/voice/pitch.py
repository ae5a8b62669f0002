"""Pitch of short frames by the autocorrelation method (Boersma 1993), each frame by itself: streaming-safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from realtime.extract.voice.dft import Dft
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from torch import Tensor

LOWEST_HZ: Final = 75
HIGHEST_HZ: Final = 500
FINER: Final = 2
"""Lags per sample: at high pitch a peak lies between two samples, and its double would look better."""
OCTAVE_COST: Final = 0.05
"""Prefers the higher of two almost equally good candidates, against errors of an octave downward."""


class PitchTracker(nn.Module):
    """Pitch and periodicity of frames.

    Args:
        frame: samples of a frame at 16 kHz; three periods of the lowest pitch.
    """

    window: Tensor
    own: Tensor
    cost: Tensor

    def __init__(self, frame: int) -> None:
        super().__init__()
        self._shortest = FINER * SAMPLE_RATE_HZ // HIGHEST_HZ
        self._longest = FINER * SAMPLE_RATE_HZ // LOWEST_HZ
        self._fft = 1 << (frame + self._longest // FINER).bit_length()
        half = self._fft // 2 + 1
        self._spectrum = Dft(self._fft, frame, half)
        self._lags = Dft(FINER * self._fft, half, self._longest + 2)
        self.register_buffer("window", torch.hann_window(frame))
        own = self._correlate(self.window.unsqueeze(0))
        self.register_buffer("own", own / own[:, :1])
        lags = torch.arange(self._shortest, self._longest + 1)
        self.register_buffer("cost", OCTAVE_COST * torch.log2(lags / self._shortest))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pitch in octaves, log2 of Hz (N,), and the periodicity in [0, 1] (N,) of frames (N, frame)."""
        frames = (frames - frames.mean(1, keepdim=True)) * self.window
        correlation = self._correlate(frames)
        correlation = correlation / (correlation[:, :1] + 1e-5) / self.own
        middle = correlation[:, self._shortest : self._longest + 1]
        before = correlation[:, self._shortest - 1 : self._longest]
        after = correlation[:, self._shortest + 1 : self._longest + 2]
        peak = (middle >= before) & (middle > after)
        shift = 0.5 * (before - after) / (before - 2 * middle + after).clamp(max=-1e-6)  # of a parabola's top
        height = torch.where(peak, middle - 0.25 * (before - after) * shift, -1.0)
        best = (height - self.cost).argmax(1, keepdim=True)
        lag = (best + self._shortest + shift.gather(1, best).clamp(-0.5, 0.5))[:, 0] / FINER
        return torch.log2(SAMPLE_RATE_HZ / lag), height.gather(1, best)[:, 0].clamp(0.0, 1.0)

    def _correlate(self, frames: Tensor) -> Tensor:
        """Autocorrelation (N, lags), FINER lags per sample: the inverse transform of the power, which is even."""
        power = self._spectrum.power(frames)
        both = torch.cat((power[:, :1], 2 * power[:, 1:]), 1)
        return self._lags.real(both) / (FINER * self._fft)
