"""Sound to one vector per 100 ms: spectrum, energy, pitch and voicing, relative to this voice's own running level.

A block is analysed with a little of the sound before it, and never across a gap, so any chunking of the same sound
gives the same vectors and no sample is made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torchaudio.functional import create_dct, melscale_fbanks

from realtime.extract.pitch import PitchTracker
from realtime.extract.schema import CEPSTRA, MELS
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, VoiceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime.types import Chunk, Floats

BLOCK: Final = 1600
"""Samples of a block (100 ms): one vector each."""
HOP: Final = 160
"""Samples from frame to frame (10 ms)."""
FRAME: Final = 400
"""Samples of a frame (25 ms)."""
FFT: Final = 512
PITCH_FRAME: Final = 640
"""Samples of a pitch frame (40 ms): three periods at 75 Hz."""
PAST: Final = PITCH_FRAME - HOP
"""Samples before a block that its first frame reaches back to."""
_NS_PER_SAMPLE: Final = NS_PER_S // SAMPLE_RATE_HZ
_JUMP_NS: Final = NS_PER_S // 10
_FLOOR: Final = 1e-7

LEVEL_PRIOR_DB: Final = -26.0
PITCH_PRIOR_OCT: Final = float(np.log2(170.0))
"""Level and pitch of a voice nobody has heard yet, worth PRIOR_S seconds of voiced sound."""
PRIOR_S: Final = 4.0
ADAPT_S: Final = 30.0
"""Voiced seconds over which the level and pitch of this voice are averaged."""
VOICED: Final = 0.5
"""Periodicity from which a frame counts as voiced."""


class RunningMean:
    """An average that starts from a prior and forgets with a time constant."""

    def __init__(self, prior: float, prior_s: float, limit_s: float) -> None:
        self.value = prior
        self._seen_s = prior_s
        self._limit_s = limit_s

    def add(self, value: float, duration_s: float) -> None:
        """Take a value that held for so long."""
        self._seen_s = min(self._limit_s, self._seen_s + duration_s)
        self.value += (value - self.value) * duration_s / self._seen_s


class VoiceExtractor:
    """Sound in, one vector (VOICE_DIM,) per 100 ms out; see VOICE_COLUMNS."""

    def __init__(self) -> None:
        self._window = torch.hann_window(FRAME)
        self._mel = melscale_fbanks(FFT // 2 + 1, 40.0, SAMPLE_RATE_HZ / 2, MELS, SAMPLE_RATE_HZ)
        self._dct = create_dct(CEPSTRA, MELS, "ortho")
        self._hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT // 2 + 1)
        ramp = torch.linspace(-1.0, 1.0, BLOCK // HOP)
        self._ramp = ramp / (ramp @ ramp)
        self._pitch = PitchTracker(PITCH_FRAME)
        self._level_db = RunningMean(LEVEL_PRIOR_DB, PRIOR_S, ADAPT_S)
        self._pitch_oct = RunningMean(PITCH_PRIOR_OCT, PRIOR_S, ADAPT_S)
        self._held: Floats = np.zeros(0, np.float32)
        self._end_ns = 0

    def feed(self, item: Chunk, /) -> Iterable[VoiceFeatures]:
        """Take a chunk and return the vectors of the blocks it completes."""
        if item.lost_samples or abs(item.t_ns - self._end_ns) > _JUMP_NS:
            self._held = self._held[:0]
        samples = np.nan_to_num(item.samples.astype(np.float32), posinf=0.0, neginf=0.0)
        self._held = np.concatenate((self._held, samples))
        self._end_ns = item.t_ns + len(samples) * _NS_PER_SAMPLE
        out = []
        while len(self._held) >= PAST + BLOCK:
            left = len(self._held) - PAST - BLOCK
            values = self._analyse(torch.from_numpy(self._held[: PAST + BLOCK].copy()))
            out.append(VoiceFeatures(self._end_ns - left * _NS_PER_SAMPLE, values))
            self._held = self._held[BLOCK:]
        return out

    def flush(self) -> Iterable[VoiceFeatures]:
        """Drop the incomplete block: a shorter one would not be comparable."""
        self._held = self._held[:0]
        return ()

    def close(self) -> None:
        """Let go of the sound."""
        self._held = self._held[:0]

    @torch.inference_mode()
    def _analyse(self, samples: torch.Tensor) -> Floats:
        """Features of a block (PAST + BLOCK,), its past first."""
        frames = samples[PAST + HOP - FRAME :].unfold(0, FRAME, HOP)
        level_db = 10 * torch.log10(frames.square().mean(1) + _FLOOR * 0.01)
        power = torch.fft.rfft(frames * self._window, FFT).abs().square() / FRAME
        f0_oct, periodicity = self._pitch(samples.unfold(0, PITCH_FRAME, HOP))
        voiced = periodicity > VOICED
        if voiced.any():
            seconds = int(voiced.sum()) * HOP / SAMPLE_RATE_HZ
            self._level_db.add(float(level_db[voiced].mean()), seconds)
            self._pitch_oct.add(float(f0_oct[voiced].mean()), seconds)
        # In units of 10 dB relative to the level of this voice, so that the gain of the microphone hardly matters.
        gain = 10 ** (-self._level_db.value / 10)
        mel = torch.log10(power * gain @ self._mel + _FLOOR * 100)
        mfcc = mel @ self._dct
        values = torch.cat(
            (
                mel.mean(0),
                mfcc.std(0),
                (self._ramp @ mfcc)[1:],
                self._level(level_db),
                self._intonation(f0_oct, periodicity, voiced),
                self._shape(frames, power),
            )
        )
        return values.numpy().astype(np.float32)

    def _level(self, level_db: torch.Tensor) -> torch.Tensor:
        relative = (level_db - self._level_db.value).clamp(min=-60.0) / 10
        return torch.stack((relative.mean(), relative.max(), relative.std(), self._ramp @ relative))

    def _intonation(self, f0_oct: torch.Tensor, periodicity: torch.Tensor, voiced: torch.Tensor) -> torch.Tensor:
        """Octaves; without voiced frames the pitch is the usual one, so that silence says nothing."""
        f0 = f0_oct[voiced] if voiced.any() else torch.tensor([self._pitch_oct.value])
        weight = self._ramp * voiced
        slope = weight @ (f0_oct - f0.mean()) if voiced.sum() > 2 else torch.tensor(0.0)
        return torch.stack(
            (
                f0.mean() - PITCH_PRIOR_OCT,
                f0.mean() - self._pitch_oct.value,
                f0.std(correction=0),
                slope,
                periodicity.mean(),
                periodicity.max(),
                voiced.float().mean(),
            )
        )

    def _shape(self, frames: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
        share = (power + 1e-9) / (power + 1e-9).sum(1, keepdim=True)
        khz = self._hz / 1000
        centroid = share @ khz
        spread = ((khz - centroid[:, None]).square() * share).sum(1).sqrt()
        flatness = share.log().mean(1) - share.mean(1).log()
        rolloff = (share.cumsum(1) < 0.85).sum(1) * (SAMPLE_RATE_HZ / FFT / 1000)
        flux = share.sqrt().diff(dim=0).square().sum(1)
        crossings = (frames[:, 1:] * frames[:, :-1] < 0).float().mean(1)
        mean = share.mean(0)
        low, mid, high = mean[2:32], mean[32:64], mean[64:160]  # 60-1000, 1000-2000, 2000-5000 Hz
        tilt = torch.log10(low.sum() / (mid.sum() + high.sum()))
        hammarberg = torch.log10(mean[2:64].max() / high.max())
        return torch.stack(
            (
                centroid.mean(),
                centroid.std(),
                spread.mean(),
                flatness.mean(),
                rolloff.mean(),
                flux.mean(),
                crossings.mean(),
                tilt,
                hammarberg,
            )
        )
