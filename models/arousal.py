"""How excited a voice sounds: a linear map of what its voiced sound is like over some seconds, fitted to acted voices.

The weights file is safetensors of some hundred numbers; loading trusts nothing.
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
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    Floats = NDArray[np.float32]

FORMAT: Final = "agfn.arousal/1"
WEIGHTS: Final = manifest.SHIPPED / "arousal.safetensors"
MAX_BYTES: Final = 100_000
VOICED: Final = 0.3
"""Blocks of which so much is voiced count."""
LEAST_BLOCKS: Final = 4


def statistics(values: Floats, voiced: Floats) -> Floats | None:
    """Mean and deviation (2 D,) of blocks (T, D) over those that are voiced (T,); None where there are too few."""
    kept = values[voiced >= VOICED]
    if len(kept) < LEAST_BLOCKS:
        return None
    found: Floats = np.concatenate((kept.mean(0), kept.std(0))).astype(np.float32)
    return found


@dataclass(frozen=True)
class ArousalReader:
    """The linear map: `mean`, `scale` and `weight` (2 D,), `bias` (1,). `metadata` is what fitting wrote."""

    mean: Floats
    scale: Floats
    weight: Floats
    bias: Floats
    metadata: dict[str, Any]

    def read(self, values: Floats, voiced: Floats) -> float | None:
        """Return the arousal, -1 to 1, of blocks (T, D) of which so much is voiced (T,); None for too few."""
        found = statistics(values, voiced)
        return None if found is None else self.of(found)

    def of(self, found: Floats) -> float:
        """Return the arousal of statistics (2 D,)."""
        standard = np.clip((found - self.mean) / self.scale, -4, 4)
        return float(np.clip(standard @ self.weight + self.bias[0], -1, 1))

    def save(self, path: Path) -> None:
        """Write atomically."""
        arrays = {name: getattr(self, name) for name in ("mean", "scale", "weight", "bias")}
        header = {"format": FORMAT, "training": json.dumps(self.metadata, sort_keys=True)}
        content = save_arrays({name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}, header)
        put(path, content, MAX_BYTES)

    @classmethod
    def load(cls, columns: int, path: Path = WEIGHTS) -> Self:
        """Read and check a weights file for blocks of so many columns.

        Raises:
            CheckpointError: it is missing, damaged, too large, of another format, or not what is listed beside it.
        """
        content, header = checked(path, FORMAT, "arousal weights", MAX_BYTES)
        try:
            metadata, arrays = json.loads(header["training"]), load_arrays(content)
            made = cls(arrays["mean"], arrays["scale"], arrays["weight"], arrays["bias"], metadata)
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from None
        shapes = [value.shape for value in (made.mean, made.scale, made.weight, made.bias)]
        if shapes != [(2 * columns,)] * 3 + [(1,)] or not all(np.isfinite(value).all() for value in arrays.values()):
            raise CheckpointError(f"{path}: damaged: shapes {shapes}, or a weight that is not a finite number")
        return made
