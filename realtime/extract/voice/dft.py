"""Discrete Fourier transform of real vectors by two small products: it exports to ONNX as such, and runs fast there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class Dft(nn.Module):
    """The first bins of a discrete Fourier transform (Cooley and Tukey 1965, one step).

    With n = a b samples, sample b i + j and bin k + a l: a transform of a over i, a turn of phase, one of b over j.

    Args:
        length: n, a power of 2.
        given: samples that are given; those after them are 0.
        bins: how many are wanted, from frequency 0 up.
    """

    first: Tensor
    cosine: Tensor
    sine: Tensor
    second: Tensor

    def __init__(self, length: int, given: int, bins: int) -> None:
        super().__init__()
        a = 1 << length.bit_length() // 2
        b = length // a
        self._shape, self._pad = (-1, math.ceil(given / b), b), -given % b
        self._a, self._bins, self._columns = a, bins, math.ceil(bins / a)
        cosine, sine = _waves(a, a, self._shape[1])
        self.register_buffer("first", torch.cat((cosine, -sine)).float())
        cosine, sine = _waves(length, a, b)
        self.register_buffer("cosine", cosine.float())
        self.register_buffer("sine", sine.float())
        cosine, sine = _waves(b, b, self._columns)
        self.register_buffer("second", torch.cat((torch.cat((cosine, -sine), 1), torch.cat((sine, cosine), 1))).float())

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Map samples (N, given) to the real and the imaginary part (N, bins)."""
        turned = self._turned(samples) @ self.second
        return self._in_order(turned[..., : self._columns]), self._in_order(turned[..., self._columns :])

    def power(self, samples: Tensor) -> Tensor:
        """Squared magnitude (N, bins) of samples (N, given)."""
        real, imaginary = self(samples)
        return real.square() + imaginary.square()  # type: ignore[no-any-return]

    def real(self, samples: Tensor) -> Tensor:
        """Real part alone (N, bins) of samples (N, given)."""
        return self._in_order(self._turned(samples) @ self.second[:, : self._columns])

    def _turned(self, samples: Tensor) -> Tensor:
        rows = self.first @ functional.pad(samples, (0, self._pad)).reshape(self._shape)  # (N, 2 a, b)
        real, imaginary = rows[:, : self._a], rows[:, self._a :]
        return torch.cat(
            (real * self.cosine + imaginary * self.sine, imaginary * self.cosine - real * self.sine), -1
        )  # (N, a, 2 b)

    def _in_order(self, found: Tensor) -> Tensor:
        """Bins (N, a, columns) to (N, bins)."""
        return found.transpose(1, 2).reshape(-1, self._a * self._columns)[:, : self._bins]


def _waves(period: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi row column / period, in double precision."""
    angle = 2 * math.pi / period * torch.outer(torch.arange(rows), torch.arange(columns)).double()
    return angle.cos(), angle.sin()
