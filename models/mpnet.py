"""MPNet encoder (Song et al., 2020, arXiv 2004.09297), its first 10 layers of 768 channels, in plain torch.

Weights and tokenizer are those of sentence-transformers/all-mpnet-base-v2 (Apache-2.0). A text is read at three
depths, after layers 6, 8 and 10: the lower six layers stay as they were published, the upper four carry an adapter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from models import lora
from models.deep_encoder import DeepEncoder, renamed
from models.lora import Linear
from models.tokens import Tokens, tokenize
from models.wordpieces import ENDS as ALL_ENDS
from models.wordpieces import read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

DIM = 768
LAYERS = 10
FROZEN = 6
"""Layers that no training changes: their output can be kept while the others learn."""
DEPTHS = (FROZEN, 8, 10)
"""Layers whose output is read."""
STATES = len(DEPTHS) * DIM
HEADS = 12
HIDDEN = 3072
VOCABULARY = 30527
POSITIONS = 514
EPS = 1e-5
BUCKETS = 32
FARTHEST = 128
"""Tokens farther apart than this share one bias."""
ENDS = ALL_ENDS["text-mpnet"]
FIRST_POSITION = 2
_REACH = POSITIONS - FIRST_POSITION


def bucket_of(distance: torch.Tensor) -> torch.Tensor:
    """Map token distances (key minus query) to the buckets that share an attention bias.

    Half of the buckets for each direction; near distances have one each, far ones share them on a log scale.
    """
    half = BUCKETS // 2
    near = half // 2
    away = distance.abs()
    scaled = torch.log(away.clamp(min=1) / near) / math.log(FARTHEST / near) * (half - near)
    far = (near + scaled.long()).clamp(max=half - 1)
    return torch.where(away < near, away, far) + half * (distance > 0)


_TOP = {
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.LayerNorm": "norm",
    "encoder.relative_attention_bias": "relative",
}
_INNER = {
    "attention.attn.q": "query",
    "attention.attn.k": "key",
    "attention.attn.v": "value",
    "attention.attn.o": "out",
    "attention.LayerNorm": "norm_attention",
    "intermediate.dense": "wide",
    "output.dense": "narrow",
    "output.LayerNorm": "norm_out",
}
"""Our names of the modules of the published file."""


class Layer(nn.Module):
    """Self-attention with a relative bias, and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (Linear(DIM, DIM) for _ in range(4))
        self.wide, self.narrow = Linear(DIM, HIDDEN), Linear(HIDDEN, DIM)
        self.norm_attention, self.norm_out = nn.LayerNorm(DIM, EPS), nn.LayerNorm(DIM, EPS)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, dropout: float) -> torch.Tensor:
        """Map (B, T, 768) to (B, T, 768); `bias` (B or 1, 12, T, T) is added to the attention logits."""
        rate = dropout if self.training else 0.0
        batch, steps, _ = x.shape
        q, k, v = (
            part(x).view(batch, steps, HEADS, DIM // HEADS).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        logits = q @ k.transpose(2, 3) * (DIM // HEADS) ** -0.5 + bias
        mixed = F.dropout(logits.softmax(-1), rate, self.training) @ v
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, steps, DIM))
        x = self.norm_attention(x + F.dropout(mixed, rate, self.training))
        wide = self.narrow(F.gelu(self.wide(x)))
        return self.norm_out(x + F.dropout(wide, rate, self.training))  # type: ignore[no-any-return]


class MPNet(DeepEncoder):
    """The encoder; `load` reads its weights. Use from several threads is safe as long as nothing trains it.

    Args:
        tokenizer: WordPiece, uncased.
        dropout: rate of the upper layers while training.
    """

    dim, states, depths, ends = DIM, STATES, DEPTHS, ENDS
    buckets: torch.Tensor

    def __init__(self, tokenizer: Tokenizer, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.dropout = dropout
        self.word, self.position = nn.Embedding(VOCABULARY, DIM), nn.Embedding(POSITIONS, DIM)
        self.norm = nn.LayerNorm(DIM, EPS)
        self.relative = nn.Embedding(BUCKETS, HEADS)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.register_buffer("buckets", bucket_of(torch.arange(1 - _REACH, _REACH)), persistent=False)

    @classmethod
    def load(cls, folder: Path, adapter: Mapping[str, torch.Tensor] | None = None) -> MPNet:
        """Read `model.safetensors` and `tokenizer.json` of a folder, merge an adapter, and freeze the whole.

        Raises:
            OSError: a file is missing.
            ValueError: the files or the adapter are of another model.
        """
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        with torch.device("meta"):  # the drawing of random weights that are overwritten at once takes a second
            model = cls(tokenizer)
        model.buckets = bucket_of(torch.arange(1 - _REACH, _REACH))
        try:
            model.load_state_dict(renamed(load_file(folder / "model.safetensors"), _TOP, _INNER, LAYERS), assign=True)
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no MPNet: {' '.join(str(error).split())[:200]}") from error
        model.requires_grad_(requires_grad=False)
        if adapter:
            lora.merge(model, adapter)
        return model.eval()

    def tokenize(self, texts: Sequence[Sequence[str]]) -> Tokens:
        """Cut word lists into pieces, padded to the longest.

        Args:
            texts: B lists of at most `models.wordpieces.MAX_WORDS` words each, none of them without a piece.
        """
        return tokenize(self.tokenizer, texts, ENDS)

    def bias(self, mask: torch.Tensor) -> torch.Tensor:
        """Attention bias (B, 12, T, T) of a mask (B, T): by distance, and far below all where nothing is real."""
        steps = torch.arange(mask.shape[1], device=mask.device)
        near = self.relative(self.buckets[steps[None, :] - steps[:, None] + _REACH - 1]).permute(2, 0, 1)
        return near[None] + (~mask)[:, None, None, :] * -1e9  # type: ignore[no-any-return]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Map token ids (B, T) to the first layer's input (B, T, 768)."""
        positions = torch.arange(ids.shape[1], device=ids.device) + FIRST_POSITION
        return self.norm(self.word(ids) + self.position(positions))  # type: ignore[no-any-return]

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, 2304) of token ids (B, T); `mask` (B, T) is True for a real token."""
        bias = self.bias(mask)
        return self.upper(self.lower(ids, bias), bias)
