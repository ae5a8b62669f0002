"""Pitch of short frames by the autocorrelation method (Boersma 1993), each frame by itself: streaming-safe."""

from __future__ import annotations

from typing import Final

import torch

from realtime.types import SAMPLE_RATE_HZ

LOWEST_HZ: Final = 75
HIGHEST_HZ: Final = 500
_OCTAVE_COST: Final = 0.02
"""Prefers the higher of two equally good candidates, against errors of an octave downward."""


class PitchTracker:
    """Pitch and periodicity of frames.

    Args:
        frame: samples of a frame at 16 kHz; three periods of the lowest pitch.
    """

    def __init__(self, frame: int) -> None:
        self._shortest, self._longest = SAMPLE_RATE_HZ // HIGHEST_HZ, SAMPLE_RATE_HZ // LOWEST_HZ
        self._fft = 1 << (frame + self._longest).bit_length()
        self._window = torch.hann_window(frame)
        own = self._correlate(self._window)
        self._own = own / own[0]
        lags = torch.arange(self._shortest, self._longest + 1)
        self._cost = _OCTAVE_COST * torch.log2(lags / self._shortest)

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pitch in octaves, log2 of Hz (N,), and the periodicity in [0, 1] (N,) of frames (N, frame)."""
        frames = (frames - frames.mean(1, keepdim=True)) * self._window
        correlation = self._correlate(frames)
        correlation = correlation / (correlation[:, :1] + 1e-5) / self._own
        inside = correlation[:, self._shortest : self._longest + 1]
        left = correlation[:, self._shortest - 1 : self._longest]
        right = correlation[:, self._shortest + 1 : self._longest + 2]
        peak = (inside >= left) & (inside > right)
        best = torch.where(peak, inside - self._cost, -1.0).argmax(1, keepdim=True)
        middle, before, after = (part.gather(1, best)[:, 0] for part in (inside, left, right))
        shift = 0.5 * (before - after) / (before - 2 * middle + after).clamp(max=-1e-6)
        lag = best[:, 0] + self._shortest + shift.clamp(-0.5, 0.5)
        found = peak.gather(1, best)[:, 0]
        return torch.log2(SAMPLE_RATE_HZ / lag), torch.where(found, middle, 0.0).clamp(0.0, 1.0)

    def _correlate(self, frames: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(frames, self._fft)
        correlation: torch.Tensor = torch.fft.irfft(spectrum.abs().square(), self._fft)
        return correlation[..., : self._longest + 2]
