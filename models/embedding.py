"""Utterance embedding of a voice: statistics pooling over Whisper's encoder states, then a linear projection.

The states exist at every decode. Mean, standard deviation and 90th percentile of each over the spoken part are
projected to a few columns that follow valence, arousal and the emotions of acted voices best
(`python -m scripts.train_embedding`). Who speaks is left out: live, the speaker's mean so far is subtracted. Needs no
PyTorch; loading trusts nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from models import manifest
from models.weightsfile import CheckpointError, checked, put

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    Floats = NDArray[np.float32]

FORMAT: Final = "agfn.embedding/1"
WEIGHTS: Final = manifest.SHIPPED / "embedding.safetensors"
MAX_BYTES: Final = 2_000_000
STATE_SAMPLES: Final = 320
"""Of sound at 16 kHz that one state stands for."""
SPOKEN_DB: Final = 30.0
"""A state whose sound is so much softer than the loudest is a pause."""
LEAST_STATES: Final = 10
QUANTILE: Final = 0.9
LIMIT: Final = 8.0
"""The largest value of a column, in standard deviations."""


def spoken(sound: Floats) -> NDArray[np.bool_]:
    """Say of each state's sound (STATE_SAMPLES at 16 kHz) whether it is no pause: (N,) samples to (N // 320,)."""
    blocks = sound[: len(sound) // STATE_SAMPLES * STATE_SAMPLES].reshape(-1, STATE_SAMPLES)
    power = np.square(blocks, dtype=np.float64).mean(-1)
    if not len(power):
        return np.zeros(0, np.bool_)
    return np.asarray(power > np.quantile(power, 0.95) * 10 ** (-SPOKEN_DB / 10), np.bool_)


def pooled(states: Floats, sound: Floats) -> Floats | None:
    """Pool states (T, D) over the spoken part of their sound to (3 D,); None where too little is spoken."""
    loud = spoken(sound)[: len(states)]
    kept = states[: len(loud)][loud]
    if len(kept) < LEAST_STATES:
        return None
    highest = np.partition(kept, (at := int(QUANTILE * (len(kept) - 1))), axis=0)[at]
    return np.concatenate((kept.mean(0), kept.std(0), highest)).astype(np.float32)


@dataclass(frozen=True)
class VoiceEmbedder:
    """The projection of one Whisper model: `weight` (K, 3 D), `bias` (K,); columns have about unit variance."""

    weight: Floats
    bias: Floats

    def embed(self, states: Floats, sound: Floats) -> tuple[float, ...] | None:
        """Return the embedding (K,) of an utterance's states (T, D), 50 a second, and its sound at 16 kHz."""
        found = pooled(states, sound)
        return None if found is None else tuple(float(value) for value in self.project(found))

    def project(self, found: Floats) -> Floats:
        """Project pooled statistics (..., 3 D)."""
        values: Floats = np.clip(found @ self.weight.T + self.bias, -LIMIT, LIMIT)
        return values

    @classmethod
    def load(cls, model: str, path: Path = WEIGHTS) -> Self | None:
        """Read the projection for a Whisper model; None where none was fitted to that one.

        Raises:
            CheckpointError: the file is missing, damaged, too large, or not what is listed beside it.
        """
        content, header = checked(path, FORMAT, "embedding weights", MAX_BYTES)
        try:
            arrays = load_arrays(content)
            if model not in json.loads(header["models"]):
                return None
            made = cls(*(arrays[f"{model}.{part}"].astype(np.float32) for part in ("weight", "bias")))
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from None
        sound = made.weight.ndim == 2 and made.bias.shape == made.weight.shape[:1]
        if not sound or not all(np.isfinite(value).all() for value in (made.weight, made.bias)):
            raise CheckpointError(f"{path}: damaged: shapes {made.weight.shape}, {made.bias.shape}")
        return made


def save(path: Path, models: Mapping[str, VoiceEmbedder], about: Mapping[str, Any]) -> None:
    """Write the projections of some Whisper models atomically, the weights in half precision."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, made in models.items():
        arrays |= {f"{name}.weight": made.weight.astype(np.float16), f"{name}.bias": made.bias.astype(np.float32)}
    header = {"format": FORMAT, "models": json.dumps(sorted(models)), "training": json.dumps(about, sort_keys=True)}
    put(path, save_arrays(arrays, header), MAX_BYTES)
