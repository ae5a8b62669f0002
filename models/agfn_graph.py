"""What the graph of AGFN takes and gives, and where it lies. Nothing here needs PyTorch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

T = TypeVar("T")

FORMAT = "agfn.onnx/1"
OUTPUTS = ("score", "spread", "weights")


class Inputs(NamedTuple):
    """What `AGFN.forward` takes, as arrays."""

    values: dict[str, Floats]
    times: dict[str, Floats]
    mask: dict[str, NDArray[np.bool_]]
    reliability: Floats


def example(sizes: Mapping[str, int], windows: int, steps: int, seed: int = 0) -> Inputs:
    """Made-up windows that look like real ones to the arithmetic: for tracing, warming up and comparing.

    Args:
        sizes: D_m by modality.
        windows: B.
        steps: longest T_m; each modality has its own, and windows end at different steps.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    values, times, mask = {}, {}, {}
    for index, (name, size) in enumerate(sizes.items()):
        length = max(1, steps - index)
        values[name] = random.standard_normal((windows, length, size), np.float32)
        times[name] = np.tile(np.linspace(-4.0, 0.0, length, dtype=np.float32), (windows, 1))
        mask[name] = np.arange(length) < random.integers(0, length + 1, (windows, 1))
    reliability = random.random((windows, len(sizes)), np.float32)
    return Inputs(values, times, mask, reliability * (reliability > 0.1))


def input_names(modalities: Iterable[str]) -> list[str]:
    """Names of the graph's inputs, in order."""
    return [f"{kind}_{name}" for name in modalities for kind in ("values", "times", "mask")] + ["reliability"]


def flat(values: Mapping[str, T], times: Mapping[str, T], mask: Mapping[str, T], reliability: T) -> list[T]:
    """Lay arrays or tensors out in the order of `input_names`."""
    return [*(part[name] for name in values for part in (values, times, mask)), reliability]


def beside(weights: Path) -> Path:
    """Where the graph of a weights file is looked for."""
    return weights.with_suffix(".onnx")


def digest(file: Path) -> str:
    """Return the sha256 of a file: what ties a graph to its weights."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
