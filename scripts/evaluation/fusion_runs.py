"""One run of the fusion benchmark: a method on a data set in a training regime, all seeds and folds, every condition.

Runs are cached by their settings, so that an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scripts.evaluation.ensemble import Ensemble, Recipe, Rows
from scripts.evaluation.fusion_damage import Condition, Damaged, apply, augment, conditions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from scripts.evaluation.fusion_data import Fold, FusionData
    from scripts.evaluation.fusion_methods import Method

VERSION = 2
"""Raise it when a change makes cached runs wrong."""
RIDGE_ALPHAS = (10.0, 100.0, 1000.0)
RIDGE_COPIES = 4


@dataclass(frozen=True)
class Run:
    """What a run predicted: per condition `score` (S, N) and mean `weights` (M,), NaN for a method without gates."""

    score: dict[str, NDArray[np.float32]]
    weights: dict[str, NDArray[np.float32]]
    present: dict[str, NDArray[np.bool_]]
    """(S, N) whether any modality was left."""
    dead: float
    """Largest weight on a modality with reliability 0, over all rows where another one is left."""
    hidden: NDArray[np.float32]
    """(S, N, h) the fused representation, clean; empty for more than one fold: folds have different models."""
    validation: float
    seconds: float
    """CPU time."""
    shares: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """(N, M) weights of each row, mean over seeds, where signals were damaged."""


def cache_file(data: FusionData, method: Method, regime: str, seeds: list[int], recipe: Recipe, cache: Path) -> Path:
    """Where a run with these settings is kept."""
    key = json.dumps([VERSION, data.name + data.version, method.name, regime, seeds, asdict(recipe)])
    slug = "-".join((data.name, "".join(c if c.isalnum() else "_" for c in method.name), regime))
    return cache / f"{slug}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"


def run(data: FusionData, method: Method, regime: str, seeds: list[int], recipe: Recipe, cache: Path | None) -> Run:
    """Train and test, or take it from the cache."""
    file = None if cache is None else cache_file(data, method, regime, seeds, recipe, cache)
    if file is not None and file.exists():
        return _read(file)
    begin = time.process_time()
    fit = _fit_ridge if method.make is None else _fit_network
    found = fit(data, method, regime, seeds, recipe)
    made = Run(**{**found, "seconds": time.process_time() - begin})
    if file is not None:
        _write(file, made)
    return made


def _fit_network(data: FusionData, method: Method, regime: str, seeds: list[int], recipe: Recipe) -> dict[str, Any]:
    scaled = _scaled(data)
    train, validation, test = (_stack(data, scaled, part, len(seeds)) for part in ("train", "validation", "test"))
    widths = {name: value.shape[-1] for name, value in train.values.items()}
    # Member order: all folds of the first seed, then of the next.
    ensemble = Ensemble(lambda: method.make(widths), [seed for seed in seeds for _ in data.folds])  # type: ignore[misc]
    best = ensemble.fit(method.loss, train, validation, regime, recipe)
    score, weights, present, shares, dead = {}, {}, {}, {}, 0.0
    hidden = np.zeros(0, np.float32)
    for condition in conditions(data.curves):
        values, reliability = _damaged(condition, test, seeds, len(data.folds))
        out = ensemble.predict(values, reliability)
        score[condition.key] = _home(data, out["score"], len(seeds))
        present[condition.key] = _home(data, (reliability > 0).any(-1), len(seeds))
        real = (test.weight > 0).unsqueeze(-1) & (reliability > 0).any(-1, keepdim=True)
        share = out["weights"]
        weights[condition.key] = ((share * real).sum((0, 1)) / real.sum()).numpy()
        if data.signals:
            shares[condition.key] = _home(data, share, len(seeds)).mean(0)
        on_dead = share[(real & (reliability == 0)).expand_as(share)]
        dead = max(dead, float(on_dead.max())) if on_dead.numel() else dead
        if condition.key == "missing/all/0" and len(data.folds) == 1:
            hidden = out["hidden"].numpy()
    return {
        "score": score,
        "weights": weights,
        "present": present,
        "shares": shares,
        "dead": dead,
        "hidden": hidden,
        "validation": float(best.mean()),
    }


def _scaled(data: FusionData) -> list[dict[str, NDArray[np.float32]]]:
    """Undamaged values of each fold, standardised."""
    if data.signals:
        return [{name: levels[0] for name, levels in fold.items()} for fold in data.standardised_signals]
    return [data.standardised(fold) for fold in data.folds]


def _stack(data: FusionData, scaled: list[dict[str, NDArray[np.float32]]], part: str, seeds: int) -> Rows:
    rows = [getattr(fold, part) for fold in data.folds]
    longest = max(map(len, rows))
    padded = [np.concatenate([row, np.repeat(row[:1], longest - len(row))]) for row in rows]
    values = {
        name: torch.from_numpy(np.stack([fold[name][row] for fold, row in zip(scaled, padded, strict=True)]))
        for name in data.values
    }
    target = torch.from_numpy(data.target[np.stack(padded)])
    weight = torch.from_numpy(np.stack([np.arange(longest) < len(row) for row in rows])).float()
    signals = {}
    for name, signal in data.signals.items():
        levels = [fold[name][:, row] for fold, row in zip(data.standardised_signals, padded, strict=True)]
        trust = np.stack([signal.reliability[:, row] for row in padded])
        signals[name] = Damaged(
            signal.kind,
            signal.levels,
            torch.from_numpy(np.stack(levels)).transpose(1, 2).repeat(seeds, 1, 1, 1),
            torch.from_numpy(trust).transpose(1, 2).repeat(seeds, 1, 1),
        )
    return Rows(
        {name: value.repeat(seeds, 1, 1) for name, value in values.items()},
        target.repeat(seeds, 1),
        weight.repeat(seeds, 1),
        signals,
    )


def _damaged(condition: Condition, test: Rows, seeds: list[int], folds: int) -> tuple[dict[str, Tensor], Tensor]:
    """Each seed draws masks of its own, the same for every method."""
    parts = []
    for at, seed in enumerate(seeds):
        own = slice(at * folds, (at + 1) * folds)
        values = {name: value[own] for name, value in test.values.items()}
        signals = {name: signal.take(own) for name, signal in test.signals.items()}
        parts.append(apply(condition, values, 100 + seed, signals))
    joined = {name: torch.cat([part[0][name] for part in parts]) for name in test.values}
    return joined, torch.cat([part[1] for part in parts])


def _home(data: FusionData, values: Tensor, seeds: int) -> NDArray[Any]:
    """(S * F, n) values of test rows to (S, N) in the order of the data; rows that are tested nowhere are left out."""
    tested = np.concatenate([fold.test for fold in data.folds])
    joined = [
        torch.cat([values[seed * len(data.folds) + at, : len(fold.test)] for at, fold in enumerate(data.folds)])
        for seed in range(seeds)
    ]
    return torch.stack(joined).numpy()[:, np.argsort(tested)]


def _fit_ridge(data: FusionData, method: Method, regime: str, seeds: list[int], recipe: Recipe) -> dict[str, Any]:
    """Ridge on the concatenation; with dropout or damage it sees RIDGE_COPIES damaged copies of each row."""
    del method, recipe
    generator = torch.Generator().manual_seed(0)
    scaled = _scaled(data)
    test = _stack(data, scaled, "test", len(seeds))
    solved = []
    errors = []
    for fold, values in zip(data.folds, scaled, strict=True):
        copies = 1 if regime == "plain" else RIDGE_COPIES
        x = _augmented(values, np.tile(fold.train, copies), regime, generator)
        y = np.tile(data.target[fold.train], copies)
        held, truth = _augmented(values, fold.validation, "plain", generator), data.target[fold.validation]
        tries = [_solve(x, y, alpha * copies) for alpha in RIDGE_ALPHAS]
        wrong = [float(np.mean(np.abs(np.clip(held @ w, -3, 3) - truth))) for w in tries]
        solved.append(tries[int(np.argmin(wrong))])
        errors.append(min(wrong))
    stacked = torch.from_numpy(np.stack(solved * len(seeds))).float()
    score, present, weights = {}, {}, {}
    for condition in conditions(data.curves):
        damaged, reliability = _damaged(condition, test, seeds, len(data.folds))
        shown = torch.cat([*damaged.values(), torch.ones_like(test.target).unsqueeze(-1)], -1)
        score[condition.key] = _home(data, (shown @ stacked.unsqueeze(-1)).squeeze(-1).clamp(-3, 3), len(seeds))
        present[condition.key] = _home(data, (reliability > 0).any(-1), len(seeds))
        weights[condition.key] = np.full(len(data.values), np.nan, np.float32)
    return {
        "score": score,
        "weights": weights,
        "present": present,
        "dead": float("nan"),
        "hidden": np.zeros(0, np.float32),
        "validation": float(np.mean(errors)),
    }


def _augmented(
    values: dict[str, NDArray[np.float32]], rows: NDArray[np.int64], regime: str, generator: torch.Generator
) -> NDArray[np.float64]:
    batch = {name: torch.from_numpy(value[rows]) for name, value in values.items()}
    damaged, _ = augment(regime, batch, generator)
    return np.concatenate([*(value.numpy() for value in damaged.values()), np.ones((len(rows), 1))], 1)


def _solve(x: NDArray[np.float64], y: NDArray[np.float32], alpha: float) -> NDArray[np.float64]:
    penalty = alpha * np.eye(x.shape[1])
    penalty[-1, -1] = 0  # the last column is the constant
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)


def _write(file: Path, made: Run) -> None:
    content: dict[str, Any] = {"meta": np.array([made.dead, made.validation, made.seconds]), "hidden": made.hidden}
    for key, score in made.score.items():
        content |= {f"score:{key}": score, f"weights:{key}": made.weights[key], f"present:{key}": made.present[key]}
    content |= {f"shares:{key}": share for key, share in made.shares.items()}
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **content)
    part.replace(file)


def _read(file: Path) -> Run:
    with np.load(file) as content:
        fields: dict[str, dict[str, Any]] = {"score": {}, "weights": {}, "present": {}, "shares": {}}
        for name in content.files:
            if ":" in name:
                kind, key = name.split(":", 1)
                fields[kind][key] = content[name]
        dead, validation, seconds = content["meta"].tolist()
        return Run(**fields, dead=dead, hidden=content["hidden"], validation=validation, seconds=seconds)


def tested(folds: tuple[Fold, ...]) -> NDArray[np.int64]:
    """Row numbers that `score` holds, in its order."""
    return np.sort(np.concatenate([fold.test for fold in folds]))
