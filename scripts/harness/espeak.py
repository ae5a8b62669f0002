"""Sentences spoken by espeak-ng."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
from faster_whisper.audio import decode_audio

from realtime.types import SAMPLE_RATE_HZ
from scripts.harness.processes import absent

WORDS_PER_MIN = 150


def speak(*parts: str | float, voice: str = "en-us") -> np.ndarray:
    """Sound of sentences (str) and of pauses in seconds (float), (N,) float32 at 16 kHz; a pause ends it."""
    if shutil.which("espeak-ng") is None:
        absent("no espeak-ng: install the package of that name")
    return np.concatenate([_say(part, voice) if isinstance(part, str) else _silence(part) for part in (*parts, 1.5)])


def _say(sentence: str, voice: str) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "-s", str(WORDS_PER_MIN), "--stdout", sentence]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    return np.asarray(decode_audio(io.BytesIO(spoken)))


def _silence(length_s: float) -> np.ndarray:
    return np.zeros(int(length_s * SAMPLE_RATE_HZ), np.float32)
