"""Blocks of sound to vectors, those of several voices in one pass: what a pass costs, it costs once.

Each operation here takes microseconds of arithmetic and as long to be called; so a block of eight voices costs little
more than one. A vector depends on its own block and voice only (to rounding).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torchaudio.functional import create_dct, melscale_fbanks

from realtime.config.section import Section
from realtime.extract.schema import CEPSTRA, MELS
from realtime.extract.voice.pitch import PitchTracker
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from realtime.types import Floats

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
_FLOOR: Final = 1e-7

LEVEL_PRIOR_DB: Final = -26.0
PITCH_PRIOR_OCT: Final = float(np.log2(170.0))
"""Level and pitch of a voice nobody has heard yet, worth PRIOR_S seconds of voiced sound."""
PRIOR_S: Final = 4.0
ADAPT_S: Final = 30.0
"""Voiced seconds over which the level and pitch of this voice are averaged."""
VOICED: Final = 0.5
"""Periodicity from which a frame counts as voiced."""


class VoiceState(Section):
    """What is usual for one voice: means, and over how many seconds each was taken."""

    level_db: float = Field(ge=-200, le=20)
    level_s: float = Field(gt=0, le=ADAPT_S)
    pitch_oct: float = Field(ge=0, le=20)
    pitch_s: float = Field(gt=0, le=ADAPT_S)


class RunningMean:
    """An average that starts from a prior and forgets with a time constant."""

    def __init__(self, prior: float, prior_s: float, limit_s: float) -> None:
        self.value = prior
        self.seen_s = prior_s
        self._limit_s = limit_s

    def add(self, value: float, duration_s: float) -> None:
        """Take a value that held for so long."""
        self.seen_s = min(self._limit_s, self.seen_s + duration_s)
        self.value += (value - self.value) * duration_s / self.seen_s


class OwnVoice:
    """What is usual for one voice: its level and its pitch while voiced."""

    def __init__(self) -> None:
        self.level_db = RunningMean(LEVEL_PRIOR_DB, PRIOR_S, ADAPT_S)
        self.pitch_oct = RunningMean(PITCH_PRIOR_OCT, PRIOR_S, ADAPT_S)

    def snapshot(self, _t0_ns: int = 0) -> VoiceState:
        """Return what it remembers, from any thread: both means move slowly."""
        return VoiceState(
            level_db=round(self.level_db.value, 3),
            level_s=round(self.level_db.seen_s, 2),
            pitch_oct=round(self.pitch_oct.value, 4),
            pitch_s=round(self.pitch_oct.seen_s, 2),
        )

    def restore(self, state: VoiceState, _t0_ns: int = 0) -> None:
        """Go on from what another one remembered."""
        self.level_db.value, self.level_db.seen_s = state.level_db, state.level_s
        self.pitch_oct.value, self.pitch_oct.seen_s = state.pitch_oct, state.pitch_s

    def hear(self, level_db: float, pitch_oct: float, frames: int) -> None:
        """Take the means over the voiced frames of a block."""
        seconds = frames * HOP / SAMPLE_RATE_HZ
        self.level_db.add(level_db, seconds)
        self.pitch_oct.add(pitch_oct, seconds)


class Block(NamedTuple):
    """Sound (PAST + BLOCK,), its past first, and whose it is."""

    samples: Floats
    own: OwnVoice


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


class Prosody:
    """The analysis; blocks of one call are of different voices."""

    def __init__(self) -> None:
        self._window = torch.hann_window(FRAME)
        self._mel = melscale_fbanks(FFT // 2 + 1, 40.0, SAMPLE_RATE_HZ / 2, MELS, SAMPLE_RATE_HZ)
        self._dct = create_dct(CEPSTRA, MELS, "ortho")
        self._khz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2000, FFT // 2 + 1)
        ramp = torch.linspace(-1.0, 1.0, BLOCK // HOP)
        self._ramp = ramp / (ramp @ ramp)
        self._pitch = PitchTracker(PITCH_FRAME)

    @torch.inference_mode()
    def __call__(self, blocks: Sequence[Block]) -> list[Floats]:
        """Return a vector (VOICE_DIM,) for each block, and let each voice hear its own."""
        samples = torch.from_numpy(np.stack([block.samples for block in blocks]))
        frames = samples[:, PAST + HOP - FRAME :].unfold(1, FRAME, HOP)  # (B, F, FRAME)
        level_db = 10 * torch.log10(frames.square().mean(-1) + _FLOOR * 0.01)  # (B, F)
        power = torch.fft.rfft(frames * self._window, FFT).abs().square() / FRAME  # (B, F, FFT / 2 + 1)
        octaves, periodicity = self._pitch(samples.unfold(1, PITCH_FRAME, HOP).flatten(0, 1))
        octaves, periodicity = octaves.view_as(level_db), periodicity.view_as(level_db)
        voiced = (periodicity > VOICED).to(level_db.dtype)
        pitch = Pitch(octaves, periodicity, voiced, voiced.sum(1, keepdim=True))
        heard_oct = pitch.mean(octaves)
        usual_db, usual_oct = self._hear([block.own for block in blocks], pitch.mean(level_db), heard_oct, pitch.frames)
        # In units of 10 dB relative to the level of this voice, so that the gain of the microphone hardly matters.
        gain = 10 ** (-usual_db / 10)
        mel = torch.log10(power * gain.unsqueeze(-1) @ self._mel + _FLOOR * 100)
        mfcc = mel @ self._dct  # (B, F, CEPSTRA)
        values = torch.cat(
            (
                mel.mean(1),
                mfcc.std(1),
                (self._ramp @ mfcc)[:, 1:],
                self._level(level_db, usual_db),
                self._intonation(pitch, heard_oct, usual_oct),
                self._shape(frames, power),
            ),
            -1,
        )
        return list(values.numpy())

    @staticmethod
    def _hear(voices: Sequence[OwnVoice], level_db: Tensor, pitch_oct: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Let each voice hear the means of its block; return what is usual for each then, level and pitch, (B, 1)."""
        heard = torch.cat((level_db, pitch_oct, frames), -1).tolist()
        for own, (level, octave, voiced) in zip(voices, heard, strict=True):
            if voiced:
                own.hear(level, octave, int(voiced))
        usual = torch.tensor([[own.level_db.value, own.pitch_oct.value] for own in voices])
        return usual[:, :1], usual[:, 1:]

    def _level(self, level_db: Tensor, usual_db: Tensor) -> Tensor:
        relative = (level_db - usual_db).clamp(min=-60.0) / 10
        return torch.stack((relative.mean(1), relative.amax(1), relative.std(1), relative @ self._ramp), -1)

    def _intonation(self, pitch: Pitch, heard_oct: Tensor, usual_oct: Tensor) -> Tensor:
        """Octaves; without voiced frames the pitch is the usual one, so that silence says nothing."""
        mean = torch.where(pitch.frames > 0, heard_oct, usual_oct)
        away = (pitch.octaves - mean) * pitch.voiced
        slope = torch.where(pitch.frames > 2, (away @ self._ramp).unsqueeze(-1), 0.0)
        return torch.cat(
            (
                mean - PITCH_PRIOR_OCT,
                mean - usual_oct,
                pitch.mean(away.square()).sqrt(),
                slope,
                pitch.periodicity.mean(1, keepdim=True),
                pitch.periodicity.amax(1, keepdim=True),
                pitch.frames / pitch.voiced.shape[1],
            ),
            -1,
        )

    def _shape(self, frames: Tensor, power: Tensor) -> Tensor:
        share = power + 1e-9
        share = share / share.sum(-1, keepdim=True)
        centroid = share @ self._khz
        spread = ((self._khz - centroid.unsqueeze(-1)).square() * share).sum(-1).sqrt()
        flatness = share.log().mean(-1) - share.mean(-1).log()
        rolloff = (share.cumsum(-1) < 0.85).sum(-1) * (SAMPLE_RATE_HZ / FFT / 1000)
        flux = share.sqrt().diff(dim=1).square().sum(-1)
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


@cache
def prosody() -> Prosody:
    """Return the analysis of the process; its tables are the same for all."""
    return Prosody()


def alone(block: Block) -> Floats:
    """Analyse one block by itself."""
    return prosody()([block])[0]
