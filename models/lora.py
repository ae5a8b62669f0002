"""Low-rank updates of linear maps (LoRA, Hu et al., 2021, arXiv 2106.09685): trained, saved, merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOWN, UP = ".down", ".up"


class Linear(nn.Linear):
    """y = W x + b + B A x, the last term once an adapter of rank r is added: A (r, in), B (out, r)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out)
        self.down: nn.Parameter | None = None
        self.up: nn.Parameter | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        y = super().forward(x)
        if self.down is not None and self.up is not None:
            y = y + F.linear(F.linear(x, self.down), self.up)
        return y

    def add_adapter(self, rank: int) -> None:
        """Add a low-rank update that starts as zero."""
        self.down = nn.Parameter(torch.randn(rank, self.in_features) * self.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(self.out_features, rank))


def linears(model: nn.Module) -> dict[str, Linear]:
    """Every linear map of a model that can carry an adapter, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


def adapter(model: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of a model's adapter, by name; empty without one."""
    return {
        f"{name}{part}": tensor.detach().clone()
        for name, linear in linears(model).items()
        for part, tensor in ((DOWN, linear.down), (UP, linear.up))
        if tensor is not None
    }


@torch.no_grad()
def merge(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Add an adapter to the weights for good.

    Raises:
        ValueError: it does not fit this model.
    """
    known = linears(model)
    if unknown := sorted(set(tensors) - {f"{name}{part}" for name in known for part in (DOWN, UP)}):
        raise ValueError(f"adapter is of another model: {', '.join(unknown[:3])}")
    if unpaired := sorted(name for name in known if (f"{name}{DOWN}" in tensors) != (f"{name}{UP}" in tensors)):
        raise ValueError(f"adapter has only half of {', '.join(unpaired[:3])}")
    for name, linear in known.items():
        if f"{name}{DOWN}" not in tensors:
            continue
        down, up = tensors[f"{name}{DOWN}"].float(), tensors[f"{name}{UP}"].float()
        if (
            down.ndim != 2
            or up.ndim != 2
            or (up.shape[0], down.shape[1], up.shape[1])
            != (
                *linear.weight.shape,
                down.shape[0],
            )
        ):
            raise ValueError(f"adapter {name} has shapes {tuple(up.shape)}, {tuple(down.shape)}")
        linear.weight += up @ down
        linear.down = linear.up = None


def mean(adapters: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Mean of several updates in weight space: exact, of the sum of their ranks."""
    names = [name.removesuffix(DOWN) for name in adapters[0] if name.endswith(DOWN)]
    share = 1.0 / len(adapters)
    downs = {f"{name}{DOWN}": torch.cat([one[f"{name}{DOWN}"].float() for one in adapters]) for name in names}
    ups = {f"{name}{UP}": share * torch.cat([one[f"{name}{UP}"].float() for one in adapters], 1) for name in names}
    return downs | ups


def truncate(tensors: Mapping[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """Nearest update of a rank at most, by singular value decomposition; both factors are of like size."""
    out = {}
    for name in (name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN)):
        # The decomposition of a product of thin matrices needs only their small triangles.
        left, upper = torch.linalg.qr(tensors[f"{name}{UP}"].float())
        right, lower = torch.linalg.qr(tensors[f"{name}{DOWN}"].float().T)
        u, values, v = torch.linalg.svd(upper @ lower.T)
        root = values[:rank].sqrt()
        out[f"{name}{UP}"] = (left @ u[:, :rank]) * root
        out[f"{name}{DOWN}"] = root[:, None] * (v[:rank] @ right.T)
    return out
