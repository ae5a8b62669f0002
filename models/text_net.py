"""The text line's network and its weights: an adapted MPNet, and a head that gives a location and a scale.

The weights file is safetensors with what training says about itself in its header. Loading trusts nothing: sizes are
bounded before anything is read, and the tensors must fit the network.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models.agfn import squash
from models.checkpoint import CheckpointError, header_of
from models.mpnet import STATES, MPNet

if TYPE_CHECKING:
    from pathlib import Path

    from models.wordpieces import Tokens

FORMAT = "agfn.text/1"
WIDTH = 96
LOG_SCALE_MIN, LOG_SCALE_MAX = -2.5, 1.0
"""Bounds of the logarithm of the Laplace scale: a mean |error| of .08 to 2.7."""
MAX_BYTES = 16_000_000
MAX_RANK = 128
ADAPTER, HEAD = "adapter.", "head."


class TextHead(nn.Module):
    """Mean word vectors (..., 2304) and the number of words behind each (...,) to (..., 2): location, log scale."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(STATES)
        self.wide = nn.Linear(STATES, WIDTH)
        self.count = nn.Parameter(torch.zeros(WIDTH))
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(WIDTH, 2)

    def forward(self, mean: Tensor, count: Tensor) -> Tensor:
        """Read mean word vectors."""
        how_many = count.log1p().unsqueeze(-1) * self.count
        hidden = self.dropout(nn.functional.gelu(self.wide(self.norm(mean)) + how_many))
        location, scale = self.out(hidden).unbind(-1)
        span = LOG_SCALE_MAX - LOG_SCALE_MIN
        return torch.stack([squash(location), LOG_SCALE_MIN + span * torch.sigmoid(scale)], -1)


class TextNet(nn.Module):
    """The encoder and the head."""

    def __init__(self, encoder: MPNet, head: TextHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, ids: Tensor, mask: Tensor, pool: Tensor, count: Tensor) -> Tensor:
        """Readings (B, N, 2) of token ids (B, T).

        Args:
            ids: token ids.
            mask: (B, T) True for a real token.
            pool: (B, N, T) weights by which each reading averages the tokens.
            count: (B, N) how many words each reading has heard.
        """
        readings: Tensor = self.head(pool @ self.encoder(ids, mask), count)
        return readings


def so_far(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Weights (B, N, T) of the mean of the words up to and including each, and their number (B, N)."""
    count = torch.arange(1, tokens.words.shape[1] + 1, dtype=torch.float32)
    return tokens.words.cumsum(1) / count[:, None], count.expand(tokens.words.shape[0], -1)


@dataclass(frozen=True)
class TextWeights:
    """What training learned: the encoder's adapter, the head, and what is said about them.

    `base` is the sha256 of the encoder's file that they belong to.
    """

    base: str
    adapter: dict[str, Tensor]
    head: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    """The sha256 of the file that they were read from."""

    def save(self, path: Path) -> None:
        """Write atomically, in half precision.

        Raises:
            CheckpointError: more than MAX_BYTES.
        """
        named = {ADAPTER + name: tensor for name, tensor in self.adapter.items()}
        named |= {HEAD + name: tensor for name, tensor in self.head.items()}
        header = {"format": FORMAT, "base": self.base, "training": json.dumps(self.metadata, sort_keys=True)}
        content = save_tensors(
            {name: tensor.detach().cpu().half().contiguous() for name, tensor in named.items()}, header
        )
        if len(content) > MAX_BYTES:
            raise CheckpointError(f"{path}: {len(content)} bytes of weights, at most {MAX_BYTES} are shipped")
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> TextWeights:
        """Read and check a weights file; trusts nothing in it.

        Raises:
            CheckpointError: it is missing, damaged, too large or of another format.
        """
        content = _read(path)
        header = header_of(path, content, "text weights")
        if header.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format {header.get('format')!r}, this program reads {FORMAT!r}")
        try:
            base, metadata = str(header["base"]), json.loads(header["training"])
            tensors = load_tensors(content)
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from None
        parts = {
            prefix: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            for prefix in (ADAPTER, HEAD)
        }
        if sum(map(len, parts.values())) != len(tensors):
            raise CheckpointError(f"{path}: damaged: unknown tensors")
        if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise CheckpointError(f"{path}: damaged: a weight is not a finite number")
        if any(min(tensor.shape, default=0) > MAX_RANK for tensor in parts[ADAPTER].values()):
            raise CheckpointError(f"{path}: damaged: an adapter of a rank above {MAX_RANK}")
        return cls(base, parts[ADAPTER], parts[HEAD], metadata, hashlib.sha256(content).hexdigest())

    def network(self, folder: Path) -> TextNet:
        """Load the encoder of a folder with the adapter merged, and the head; in eval mode, frozen.

        Raises:
            OSError: a file of the encoder is missing.
            ValueError: the files or the tensors are of another model.
        """
        head = TextHead()
        try:
            head.load_state_dict({name: tensor.float() for name, tensor in self.head.items()})
        except RuntimeError as error:
            raise ValueError(f"text head is of another model: {' '.join(str(error).split())[:200]}") from error
        net = TextNet(MPNet.load(folder, self.adapter), head)
        return net.requires_grad_(requires_grad=False).eval()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
