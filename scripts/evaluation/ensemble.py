"""Train many small models of one kind at once: their weights are stacked and every step is one batched forward.

Folds and seeds are independent: each member has its own rows, initialisation, gradient clipping and early stopping.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.func import functional_call, stack_module_state, vmap

from scripts.evaluation.fusion_damage import augment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from scripts.evaluation.fusion_damage import Damaged

    Loss = Callable[["Ensemble", Any, Tensor], Tensor]

EVALUATION_ROWS = 512


@dataclass(frozen=True)
class Recipe:
    """How every method is trained."""

    epochs: int = 24
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    clip: float = 1.0


@dataclass(frozen=True)
class Rows:
    """Data of K members: `values` (K, N, D_m), `target` (K, N), `weight` (K, N) 0 for padding.

    `signals`: of modalities whose signals were damaged, the same with further levels.
    """

    values: dict[str, Tensor]
    target: Tensor
    weight: Tensor
    signals: Mapping[str, Damaged] = field(default_factory=dict)


class Ensemble:
    """K members of one method.

    Args:
        make: builds a member; called with the seed set.
        seeds: one per member.
    """

    def __init__(self, make: Callable[[], nn.Module], seeds: list[int]) -> None:
        members = []
        for seed in seeds:
            torch.manual_seed(seed)
            members.append(make())
        parameters, self.buffers = stack_module_state(members)
        self.parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self.base = copy.deepcopy(members[0]).to("meta")

    def forward(self, values: dict[str, Tensor], reliability: Tensor, *, train: bool = False) -> Any:  # noqa: ANN401 - the named tuple of the method
        """Run all members on (K, B, D_m) and (K, B, M)."""
        self.base.train(train)

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *args: object) -> object:
            return functional_call(self.base, (parameters, buffers), args)

        return vmap(one, randomness="different")(self.parameters, self.buffers, values, reliability)

    def method(self, name: str, h: Tensor) -> Tensor:
        """Run a method of the module on (K, B, d)."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            states = _prefixed(parameters), _prefixed(buffers)
            out: Tensor = functional_call(_Bound(self.base, name), states, (x,))
            return out

        return vmap(one, randomness="different")(self.parameters, self.buffers, h)

    def fit(self, loss: Loss, train: Rows, validation: Rows, regime: str, recipe: Recipe) -> Tensor:
        """Train; keep each member's best epoch by validation MAE, clean and as trained. Returns that MAE (K,).

        Args:
            loss: gives a loss per member (K,).
            train: rows of every member.
            validation: rows of every member.
            regime: of `augment`.
            recipe: see there.
        """
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )
        members, count = train.target.shape
        steps = max(1, int(train.weight.sum(1).min()) // recipe.batch)
        kinds = dict.fromkeys(("plain", regime))
        checks = [augment(kind, validation.values, generator, validation.signals) for kind in kinds]
        best = torch.full((members,), math.inf)
        kept = {name: value.detach().clone() for name, value in self.parameters.items()}
        for epoch in range(recipe.epochs):
            # Padding sorts last: a random order of each member's real rows.
            order = (torch.rand(members, count, generator=generator) + (1 - train.weight)).argsort(1)
            for step in range(steps):
                done = (epoch * steps + step) / (recipe.epochs * steps)
                for entry in optimiser.param_groups:
                    entry["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
                rows = order[:, step * recipe.batch : (step + 1) * recipe.batch]
                batch = {name: _gather(value, rows) for name, value in train.values.items()}
                signals = {name: signal.take(rows) for name, signal in train.signals.items()}
                values, reliability = augment(regime, batch, generator, signals)
                out = self.forward(values, reliability, train=True)
                optimiser.zero_grad()
                loss(self, out, train.target.gather(1, rows)).sum().backward()
                self._clip(recipe.clip)
                optimiser.step()
            with torch.no_grad():
                error = torch.zeros(members)
                for values, reliability in checks:
                    score = self.forward(values, reliability).score
                    wrong = (score - validation.target).abs() * validation.weight
                    error += wrong.sum(1) / validation.weight.sum(1) / len(checks)
                better = error < best
                best = torch.where(better, error, best)
                for name, value in self.parameters.items():
                    kept[name][better] = value.detach()[better]
        self.parameters = kept
        return best

    @torch.no_grad()
    def predict(self, values: dict[str, Tensor], reliability: Tensor) -> Any:  # noqa: ANN401 - as in forward
        """Run without gradients in slices of rows; the fields of the output, joined."""
        parts = [
            self.forward({k: v[:, at : at + EVALUATION_ROWS] for k, v in values.items()}, part)
            for at, part in zip(
                range(0, reliability.shape[1], EVALUATION_ROWS), reliability.split(EVALUATION_ROWS, 1), strict=True
            )
        ]
        return {name: torch.cat([getattr(part, name) for part in parts], 1) for name in ("score", "hidden", "weights")}

    def _clip(self, limit: float) -> None:
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        square = torch.stack([gradient.reshape(len(gradient), -1).square().sum(1) for gradient in gradients]).sum(0)
        scale = (limit / square.sqrt().clamp_min(1e-9)).clamp_max(1.0)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


class _Bound(torch.nn.Module):
    """Makes a method of a module its forward, for functional_call."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.inner, self.name = module, name

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = getattr(self.inner, self.name)(x)
        return out


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"inner.{name}": value for name, value in state.items()}


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    return values.gather(1, rows.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
