"""The data sets of the fusion benchmark: one vector per modality and row, with the splits that keep speakers apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

VALENCE = {1: 0.0, 2: 0.5, 3: 2.0, 4: -2.0, 5: -2.5, 6: -2.5, 7: -2.0, 8: 0.5}
"""RAVDESS emotions as sentiment in [-3, 3]."""


@dataclass(frozen=True)
class Fold:
    """Row numbers; no speaker is in two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class FusionData:
    """`values` (N, D_m) per modality, `target` (N,) in [-3, 3], `group` (N,) the speaker."""

    name: str
    values: dict[str, NDArray[np.float32]]
    target: NDArray[np.float32]
    group: NDArray[np.str_]
    folds: tuple[Fold, ...]

    def standardised(self, fold: Fold) -> dict[str, NDArray[np.float32]]:
        """Values by mean and deviation of the training rows, clamped to [-8, 8]."""
        result = {}
        for name, value in self.values.items():
            mean, std = value[fold.train].mean(0), value[fold.train].std(0)
            result[name] = np.clip((value - mean) / np.where(std > 1e-6, std, 1), -8, 8).astype(np.float32)
        return result


def _validated(rows: NDArray[np.int64], group: NDArray[np.str_], test: NDArray[np.int64], seed: int) -> Fold:
    """Set about 15 % of the training speakers aside for early stopping."""
    names = np.random.default_rng(seed).permutation(np.unique(group[rows]))
    held = np.isin(group[rows], names[: max(1, round(0.15 * len(names)))])
    return Fold(rows[~held], rows[held], test)


def _by_group(group: NDArray[np.str_], folds: int) -> tuple[Fold, ...]:
    """Folds over speakers, balanced by rows: the largest speaker goes to the emptiest fold."""
    names, counts = np.unique(group, return_counts=True)
    load, place = np.zeros(folds), {}
    for index in np.argsort(-counts, kind="stable"):
        fold = int(np.argmin(load))
        place[names[index]] = fold
        load[fold] += counts[index]
    home = np.array([place[name] for name in group])
    rows = np.arange(len(group))
    return tuple(_validated(rows[home != fold], group, rows[home == fold], fold) for fold in range(folds))


def mosi_a(data: Path) -> FusionData:
    """Protocol A: the features' own training fold to its test fold."""
    values, target, group, fold = _poria(data)
    rows = np.arange(len(target))
    split = _validated(rows[fold == "train"], group, rows[fold == "test"], 0)
    return FusionData("mosi_a", values, target, group, (split,))


def mosi_b(data: Path) -> FusionData:
    """Protocol B: the test rows only (their features never saw a label), 5 folds by video."""
    values, target, group, fold = _poria(data)
    test = fold == "test"
    kept = {name: value[test] for name, value in values.items()}
    return FusionData("mosi_b", kept, target[test], group[test], _by_group(group[test], 5))


def _poria(
    data: Path,
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.str_], NDArray[np.str_]]:
    with np.load(data / "mosi" / "poria_features.npz") as file:
        raw = {"text": file["text"], "voice": file["audio"], "face": file["video"]}
        group = np.array([name.rsplit("_", 1)[0] for name in file["ids"]])
        label, fold = file["label"], file["fold"]
    return {name: value[:, value.std(0) > 1e-6] for name, value in raw.items()}, label, group, fold


def ravdess_av(data: Path) -> FusionData:
    """RAVDESS voice and face, valence of the acted emotion, 6 folds by actor."""
    with np.load(data / "ravdess_av" / "features.npz") as file:
        values = {"voice": file["audio"], "face": file["visual"]}
        target = np.array([VALENCE[int(emotion)] for emotion in file["emotion"]], np.float32)
        group = np.array([f"{actor:02d}" for actor in file["actor"]])
    return FusionData("ravdess_av", values, target, group, _by_group(group, 6))


DATA: dict[str, Callable[[Path], FusionData]] = {"mosi_a": mosi_a, "mosi_b": mosi_b, "ravdess_av": ravdess_av}
