"""Pitch of short frames by the autocorrelation method (Boersma 1993), each frame by itself: streaming-safe."""

from __future__ import annotations

from typing import Final

import torch

from realtime.types import SAMPLE_RATE_HZ

LOWEST_HZ: Final = 75
HIGHEST_HZ: Final = 500
FINER: Final = 2
"""Lags per sample: at high pitch a peak lies between two samples, and its double would look better."""
OCTAVE_COST: Final = 0.05
"""Prefers the higher of two almost equally good candidates, against errors of an octave downward."""


class PitchTracker:
    """Pitch and periodicity of frames.

    Args:
        frame: samples of a frame at 16 kHz; three periods of the lowest pitch.
    """

    def __init__(self, frame: int) -> None:
        self._shortest = FINER * SAMPLE_RATE_HZ // HIGHEST_HZ
        self._longest = FINER * SAMPLE_RATE_HZ // LOWEST_HZ
        self._fft = 1 << (frame + self._longest // FINER).bit_length()
        self._window = torch.hann_window(frame)
        own = self._correlate(self._window)
        self._own = own / own[0]
        lags = torch.arange(self._shortest, self._longest + 1)
        self._cost = OCTAVE_COST * torch.log2(lags / self._shortest)

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pitch in octaves, log2 of Hz (N,), and the periodicity in [0, 1] (N,) of frames (N, frame)."""
        frames = (frames - frames.mean(1, keepdim=True)) * self._window
        correlation = self._correlate(frames)
        correlation = correlation / (correlation[:, :1] + 1e-5) / self._own
        middle = correlation[:, self._shortest : self._longest + 1]
        before = correlation[:, self._shortest - 1 : self._longest]
        after = correlation[:, self._shortest + 1 : self._longest + 2]
        peak = (middle >= before) & (middle > after)
        shift = 0.5 * (before - after) / (before - 2 * middle + after).clamp(max=-1e-6)  # of a parabola's top
        height = torch.where(peak, middle - 0.25 * (before - after) * shift, -1.0)
        best = (height - self._cost).argmax(1, keepdim=True)
        lag = (best + self._shortest + shift.gather(1, best).clamp(-0.5, 0.5))[:, 0] / FINER
        return torch.log2(SAMPLE_RATE_HZ / lag), height.gather(1, best)[:, 0].clamp(0.0, 1.0)

    def _correlate(self, frames: torch.Tensor) -> torch.Tensor:
        """Autocorrelation (..., lags), FINER lags per sample."""
        spectrum = torch.fft.rfft(frames, self._fft)
        correlation: torch.Tensor = torch.fft.irfft(spectrum.abs().square(), FINER * self._fft)
        return correlation[..., : self._longest + 2]
