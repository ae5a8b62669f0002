"""Virtual adversarial training (Miyato et al. 2018, arXiv 1704.03976) on the fused representation, as AGFN's Eq. 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _unit(direction: Tensor) -> Tensor:
    return functional.normalize(direction, dim=-1)


def adversarial_direction(f: Callable[[Tensor], Tensor], h: Tensor, xi: float, steps: int) -> Tensor:
    """Unit vector per row along which f changes most near h, by power iteration on the Hessian of the squared change.

    Args:
        f: (..., d) to (...), row by row.
        h: (..., d), detached here.
        xi: length of the probe.
        steps: power iterations; 1 is usual, AGFN names 3 and 5.
    """
    h = h.detach()
    with torch.no_grad():
        clean = f(h)
    direction = _unit(torch.randn_like(h))
    for _ in range(steps):
        probe = (xi * direction).requires_grad_()
        change = (f(h + probe) - clean).square().sum()
        (gradient,) = torch.autograd.grad(change, probe)
        # Where f is flat the gradient vanishes: the random direction is as good as any.
        direction = torch.where(
            torch.linalg.vector_norm(gradient, dim=-1, keepdim=True) > 0, _unit(gradient), direction
        )
    return direction.detach()


def vat_loss(f: Callable[[Tensor], Tensor], h: Tensor, epsilon: float = 1.0, xi: float = 0.1, steps: int = 1) -> Tensor:
    """Second term of Eq. 7: MSE(f(h + epsilon * direction), f(h)) over the rows, a scalar with gradients.

    f must be deterministic (no dropout), or the noise of f is what gets punished.
    """
    direction = adversarial_direction(f, h, xi, steps)
    return (f(h + epsilon * direction) - f(h)).square().mean()
