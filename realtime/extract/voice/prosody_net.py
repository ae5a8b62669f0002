"""The arithmetic of the voice in PyTorch and torchaudio: the reference, and what its graph is exported from.

The live program runs the graph (prosody.py), which computes the same to 1e-4 without either; a test compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torchaudio.functional import create_dct, melscale_fbanks

from realtime.extract.schema import CEPSTRA, MELS
from realtime.extract.voice.dft import Dft
from realtime.extract.voice.pitch import PitchTracker
from realtime.extract.voice.prosody import ADAPT_S, BLOCK, FRAME, HOP, PAST, PITCH_FRAME, PITCH_PRIOR_OCT
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from torch import Tensor

FFT = 512
FRAMES = BLOCK // HOP
_BINS = FFT // 2 + 1
_FLOOR = 1e-7
_VOICED = 0.5
"""Periodicity from which a frame counts as voiced."""


class Pitch(NamedTuple):
    """Of B blocks of F frames: octaves, periodicity in [0, 1], and 1 where voiced, else 0, each (B, F); then (B, 1)."""

    octaves: Tensor
    periodicity: Tensor
    voiced: Tensor
    frames: Tensor
    """How many are voiced."""

    def mean(self, what: Tensor) -> Tensor:
        """Mean of something (B, F) over the voiced frames, (B, 1); 0 without any."""
        return (what * self.voiced).sum(1, keepdim=True) / self.frames.clamp(min=1.0)


class ProsodyNet(nn.Module):
    """Blocks of sound to vectors; blocks of one call are of different voices. Nothing in it is learned."""

    window: Tensor
    mel: Tensor
    dct: Tensor
    khz: Tensor
    ramp: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._spectrum = Dft(FFT, FRAME, _BINS)
        self._pitch = PitchTracker(PITCH_FRAME)
        ramp = torch.linspace(-1.0, 1.0, FRAMES)
        self.register_buffer("window", torch.hann_window(FRAME))
        self.register_buffer("mel", melscale_fbanks(_BINS, 40.0, SAMPLE_RATE_HZ / 2, MELS, SAMPLE_RATE_HZ))
        self.register_buffer("dct", create_dct(CEPSTRA, MELS, "ortho"))
        self.register_buffer("khz", torch.linspace(0.0, SAMPLE_RATE_HZ / 2000, _BINS))
        self.register_buffer("ramp", ramp / (ramp @ ramp))

    def forward(self, samples: Tensor, usual: Tensor) -> tuple[Tensor, Tensor]:
        """Return a vector for each block, (B, VOICE_DIM), and what is usual for each voice after it, (B, 4).

        Args:
            samples: (B, PAST + BLOCK).
            usual: (B, 4) as `prosody.OwnVoice.usual`.
        """
        frames = samples[:, PAST + HOP - FRAME :].unfold(1, FRAME, HOP)  # (B, F, FRAME)
        level_db = 10 * torch.log10(frames.square().mean(-1) + _FLOOR * 0.01)  # (B, F)
        power = self._spectrum.power((frames * self.window).reshape(-1, FRAME)).reshape(-1, FRAMES, _BINS) / FRAME
        octaves, periodicity = self._pitch(samples.unfold(1, PITCH_FRAME, HOP).reshape(-1, PITCH_FRAME))
        octaves, periodicity = octaves.reshape(-1, FRAMES), periodicity.reshape(-1, FRAMES)
        voiced = (periodicity > _VOICED).float()
        pitch = Pitch(octaves, periodicity, voiced, voiced.sum(1, keepdim=True))
        heard_oct = pitch.mean(octaves)
        usual = _heard(usual, pitch.mean(level_db), heard_oct, pitch.frames)
        usual_db, usual_oct = usual[:, :1], usual[:, 1:2]
        # In units of 10 dB relative to the level of this voice, so that the gain of the microphone hardly matters.
        gain = torch.pow(10.0, -usual_db / 10)
        mel = torch.log10(power * gain.unsqueeze(-1) @ self.mel + _FLOOR * 100)
        mfcc = mel @ self.dct  # (B, F, CEPSTRA)
        values = (
            mel.mean(1),
            mfcc.std(1),
            (self.ramp @ mfcc)[:, 1:],
            self._level(level_db, usual_db),
            self._intonation(pitch, heard_oct, usual_oct),
            self._shape(frames, power),
        )
        return torch.cat(values, -1), usual

    def _level(self, level_db: Tensor, usual_db: Tensor) -> Tensor:
        relative = (level_db - usual_db).clamp(min=-60.0) / 10
        return torch.stack((relative.mean(1), relative.amax(1), relative.std(1), relative @ self.ramp), -1)

    def _intonation(self, pitch: Pitch, heard_oct: Tensor, usual_oct: Tensor) -> Tensor:
        """Octaves; without voiced frames the pitch is the usual one, so that silence says nothing."""
        mean = torch.where(pitch.frames > 0, heard_oct, usual_oct)
        away = (pitch.octaves - mean) * pitch.voiced
        slope = torch.where(pitch.frames > 2, (away @ self.ramp).unsqueeze(-1), 0.0)
        return torch.cat(
            (
                mean - PITCH_PRIOR_OCT,
                mean - usual_oct,
                pitch.mean(away.square()).sqrt(),
                slope,
                pitch.periodicity.mean(1, keepdim=True),
                pitch.periodicity.amax(1, keepdim=True),
                pitch.frames / FRAMES,
            ),
            -1,
        )

    def _shape(self, frames: Tensor, power: Tensor) -> Tensor:
        share = power + 1e-9
        share = share / share.sum(-1, keepdim=True)
        centroid = share @ self.khz
        spread = ((self.khz - centroid.unsqueeze(-1)).square() * share).sum(-1).sqrt()
        flatness = share.log().mean(-1) - share.mean(-1).log()
        rolloff = (share.cumsum(-1) < 0.85).sum(-1) * (SAMPLE_RATE_HZ / FFT / 1000)
        root = share.sqrt()
        flux = (root[:, 1:] - root[:, :-1]).square().sum(-1)
        crossings = (frames[..., 1:] * frames[..., :-1] < 0).float().mean(-1)
        mean = share.mean(1)
        low, mid, high = mean[:, 2:32], mean[:, 32:64], mean[:, 64:160]  # 60-1000, 1000-2000, 2000-5000 Hz
        tilt = torch.log10(low.sum(1) / (mid.sum(1) + high.sum(1)))
        hammarberg = torch.log10(mean[:, 2:64].amax(1) / high.amax(1))
        return torch.stack(
            (
                centroid.mean(1),
                centroid.std(1),
                spread.mean(1),
                flatness.mean(1),
                rolloff.mean(1),
                flux.mean(1),
                crossings.mean(1),
                tilt,
                hammarberg,
            ),
            -1,
        )


def _heard(usual: Tensor, level_db: Tensor, pitch_oct: Tensor, frames: Tensor) -> Tensor:
    """Let each voice hear the means over the voiced frames of its block; without any nothing changes. All (B, 1)."""
    lasted_s = frames * (HOP / SAMPLE_RATE_HZ)
    seen_s = (usual[:, 2:] + lasted_s).clamp(max=ADAPT_S)
    known = usual[:, :2]
    return torch.cat((known + (torch.cat((level_db, pitch_oct), 1) - known) * (lasted_s / seen_s), seen_s), 1)
