"""The text line's network and its weights: an adapted encoder, and a head that gives a location and a scale.

The encoder is MPNet or, for small machines, MiniLM; the weights file says which.

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

from models import manifest
from models.agfn import squash
from models.checkpoint import CheckpointError, header_of
from models.context import Context
from models.minilm import MiniLM
from models.mpnet import MPNet
from models.uncertainty import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models.wordpieces import Tokens

FORMAT = "agfn.text/1"
WIDTH = 96
LOG_SCALE_MIN, LOG_SCALE_MAX = -2.5, 1.0
"""Bounds of the logarithm of the Laplace scale: a mean |error| of .08 to 2.7."""
MAX_BYTES = 16_000_000
MAX_RANK = 128
ADAPTER, HEAD = "adapter.", "head."
Encoder = MPNet | MiniLM
ENCODERS: dict[str, type[MPNet | MiniLM]] = {"text-mpnet": MPNet, "text": MiniLM}
"""Encoders that weights can be of, by their name in `models.catalogue`."""


class TextHead(nn.Module):
    """Mean word vectors (..., D) and the number of words behind each (...,) to (..., 2): location, log scale.

    Args:
        states: D, channels of the encoder at all its depths.
    """

    def __init__(self, states: int = MPNet.states) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(states)
        self.wide = nn.Linear(states, WIDTH)
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

    def __init__(self, encoder: Encoder, head: TextHead) -> None:
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
        bias = self.encoder.bias(mask)
        readings: Tensor = self.head(pool @ self.encoder.upper(self.encoder.lower(ids, bias), bias), count)
        return readings


def so_far(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Weights (B, N, T) of the mean of the words up to and including each, and their number (B, N)."""
    count = torch.arange(1, tokens.words.shape[1] + 1, dtype=torch.float32)
    return tokens.words.cumsum(1) / count[:, None], count.expand(tokens.words.shape[0], -1)


@dataclass(frozen=True)
class TextWeights:
    """What training learned: the encoder's adapter, the head, and what is said about them.

    `base` is the sha256 of the encoder's file that they belong to, `encoder` its name in ENCODERS.
    """

    base: str
    adapter: dict[str, Tensor]
    head: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    """The sha256 of the file that they were read from."""
    encoder: str = "text-mpnet"
    judgement: tuple[Context, Uncertainty] | None = None
    """What context and uncertainty go by with these words; without it, those of the fusion's weights do."""

    def save(self, path: Path) -> None:
        """Write atomically, in half precision.

        Raises:
            CheckpointError: more than MAX_BYTES.
        """
        named = {ADAPTER + name: tensor for name, tensor in self.adapter.items()}
        named |= {HEAD + name: tensor for name, tensor in self.head.items()}
        header = {"format": FORMAT, "base": self.base, "training": json.dumps(self.metadata, sort_keys=True)}
        header["encoder"] = self.encoder
        if self.judgement is not None:
            context, uncertainty = self.judgement
            header["context"], header["uncertainty"] = map(json.dumps, (context.to_dict(), uncertainty.to_dict()))
        content = save_tensors(
            {name: tensor.detach().cpu().half().contiguous() for name, tensor in named.items()}, header
        )
        if len(content) > MAX_BYTES:
            raise CheckpointError(f"{path}: {len(content)} bytes of weights, at most {MAX_BYTES} are shipped")
        part = path.with_name(path.name + ".part")
        part.write_bytes(content)
        part.replace(path)
        if manifest.expected(path) is not None or path.parent.resolve() == manifest.SHIPPED.resolve():
            manifest.note(path, content)  # or what was just written would be refused

    @classmethod
    def load(cls, path: Path) -> TextWeights:
        """Read and check a weights file; trusts nothing in it.

        Raises:
            CheckpointError: it is missing, damaged, too large, of another format, or not what is listed beside it.
        """
        content = _read(path)
        if problem := manifest.problem(path, content, listed=path.parent.resolve() == manifest.SHIPPED.resolve()):
            raise CheckpointError(f"{path}: {problem}; install the program again")
        header = header_of(path, content, "text weights")
        if header.get("format") != FORMAT:
            raise CheckpointError(f"{path}: format {header.get('format')!r}, this program reads {FORMAT!r}")
        try:
            base, metadata = str(header["base"]), json.loads(header["training"])
            encoder = header.get("encoder", cls.encoder)
            judgement = _judgement(header)
            tensors = load_tensors(content)
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from None
        if encoder not in ENCODERS:
            raise CheckpointError(f"{path}: damaged: of an unknown encoder")
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
        name = hashlib.sha256(content).hexdigest()
        return cls(base, parts[ADAPTER], parts[HEAD], metadata, name, encoder, judgement)

    def network(self, folder: Path) -> TextNet:
        """Load the encoder of a folder with the adapter merged, and the head; in eval mode, frozen.

        Raises:
            OSError: a file of the encoder is missing.
            ValueError: the files or the tensors are of another model.
        """
        kind = ENCODERS[self.encoder]
        head = TextHead(kind.states)
        try:
            head.load_state_dict({name: tensor.float() for name, tensor in self.head.items()})
        except RuntimeError as error:
            raise ValueError(f"text head is of another model: {' '.join(str(error).split())[:200]}") from error
        net = TextNet(kind.load(folder, self.adapter), head)
        return net.requires_grad_(requires_grad=False).eval()


def _judgement(header: Mapping[str, str]) -> tuple[Context, Uncertainty] | None:
    """Context and uncertainty of a header, if it has any; raises ValueError for what is none."""
    if "uncertainty" not in header:
        return None
    return Context.from_dict(json.loads(header["context"])), Uncertainty.from_dict(json.loads(header["uncertainty"]))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
