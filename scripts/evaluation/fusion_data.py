"""The data sets of the fusion benchmark: one vector per modality and row, with the splits that keep speakers apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scripts.evaluation.fusion_damage import signal_curves, vector_curves

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from scripts.evaluation.fusion_damage import Curves

    Scaling = Callable[[NDArray[np.float32]], NDArray[np.float32]]

VALENCE = {1: 0.0, 2: 0.5, 3: 2.0, 4: -2.0, 5: -2.5, 6: -2.5, 7: -2.0, 8: 0.5}
"""RAVDESS emotions as sentiment in [-3, 3]."""


@dataclass(frozen=True)
class Fold:
    """Row numbers; no speaker is in two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class Signal:
    """What came of a modality when its signal was damaged: `values` (L, N, D), `reliability` (L, N) as measured live.

    `kind` is noise or blur, `levels` mild to severe those after the first, which is undamaged. `blocks` are widths of
    columns that belong together, each with the number of principal components that stands for them.
    """

    kind: str
    levels: tuple[float, ...]
    values: NDArray[np.float32]
    reliability: NDArray[np.float32]
    blocks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class FusionData:
    """`values` (N, D_m) per modality, `target` (N,) in [-3, 3], `group` (N,) the speaker.

    `signals`: every modality again, where the signals were damaged and not the vectors. `version`: of what the values
    were computed by, for those that are not read from a file.
    """

    name: str
    values: dict[str, NDArray[np.float32]]
    target: NDArray[np.float32]
    group: NDArray[np.str_]
    folds: tuple[Fold, ...]
    signals: Mapping[str, Signal] = field(default_factory=dict)
    version: str = ""

    @property
    def curves(self) -> Curves:
        """What is done to them."""
        if self.signals:
            return signal_curves({name: (signal.kind, signal.levels) for name, signal in self.signals.items()})
        return vector_curves(list(self.values))

    def standardised(self, fold: Fold) -> dict[str, NDArray[np.float32]]:
        """Values by mean and deviation of the training rows, clamped to [-8, 8]."""
        return {name: scaling(self.values[name]) for name, scaling in self._scalings(fold).items()}

    @cached_property
    def standardised_signals(self) -> list[dict[str, NDArray[np.float32]]]:
        """Of each fold, `signals` (L, N, d) scaled by what is known of the undamaged training rows."""
        return [
            {name: self._scalings(fold)[name](signal.values) for name, signal in self.signals.items()}
            for fold in self.folds
        ]

    def _scalings(self, fold: Fold) -> dict[str, Scaling]:
        blocks = {name: signal.blocks for name, signal in self.signals.items()}
        return {name: _scaling(value[fold.train], blocks.get(name, ())) for name, value in self.values.items()}


def _scaling(rows: NDArray[np.float32], blocks: tuple[tuple[int, int], ...]) -> Scaling:
    """Standardise as these rows (N, D) ask for; then, of each block of columns, its principal components likewise."""
    mean, std = rows.mean(0), rows.std(0)

    def plain(values: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.clip((values - mean) / np.where(std > 1e-6, std, 1), -8, 8).astype(np.float32)
        return found

    if not blocks:
        return plain
    scaled = plain(rows)
    ends = np.cumsum([width for width, _ in blocks])
    axes = np.zeros((rows.shape[1], sum(kept for _, kept in blocks)), np.float32)
    column = 0
    for end, (width, kept) in zip(ends, blocks, strict=True):
        own = slice(end - width, end)
        axes[own, column : column + kept] = np.linalg.eigh(np.cov(scaled[:, own].T))[1][:, : -kept - 1 : -1]
        column += kept
    then = _scaling(scaled @ axes, ())
    return lambda values: then(plain(values) @ axes)


def _validated(rows: NDArray[np.int64], group: NDArray[np.str_], test: NDArray[np.int64], seed: int) -> Fold:
    """Set about 15 % of the training speakers aside for early stopping."""
    names = np.random.default_rng(seed).permutation(np.unique(group[rows]))
    held = np.isin(group[rows], names[: max(1, round(0.15 * len(names)))])
    return Fold(rows[~held], rows[held], test)


def by_group(group: NDArray[np.str_], folds: int) -> tuple[Fold, ...]:
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
    return FusionData("mosi_b", kept, target[test], group[test], by_group(group[test], 5))


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
    return FusionData("ravdess_av", values, target, group, by_group(group, 6))


DATA: dict[str, Callable[[Path], FusionData]] = {
    "mosi_a": mosi_a,
    "mosi_b": mosi_b,
    "ravdess_av": ravdess_av,
}
