"""MiniLM-L6: a BERT encoder of 6 layers and 384 channels, with an optional low-rank adapter (LoRA).

It reads a text at its end (`forward`), or for the text line at three depths (`upper`), as `models.mpnet` does.
Weights and tokenizer are those of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). The adapter is what
fine-tuning changes: small enough to ship, and merged into the weights where it is only used (models/lora.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
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

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

DIM = 384
LAYERS = 6
FROZEN = 2
"""Layers that the small text line's training leaves as they were published: their output can be kept."""
DEPTHS = (FROZEN, 4, 6)
"""Layers whose output the small text line reads."""
STATES = len(DEPTHS) * DIM
HEADS = 12
HIDDEN = 1536
VOCABULARY = 30522
POSITIONS = 512
EPS = 1e-12
ENDS = ALL_ENDS["text"]


_TOP = {
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.token_type_embeddings": "kind",
    "embeddings.LayerNorm": "norm",
}
_INNER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm_attention",
    "intermediate.dense": "wide",
    "output.dense": "narrow",
    "output.LayerNorm": "norm_out",
}
"""Our names of the modules of the published file."""


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (Linear(DIM, DIM) for _ in range(4))
        self.wide, self.narrow = Linear(DIM, HIDDEN), Linear(HIDDEN, DIM)
        self.norm_attention, self.norm_out = nn.LayerNorm(DIM, EPS), nn.LayerNorm(DIM, EPS)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
        """Map (B, T, 384) to (B, T, 384).

        `mask` (B, 1, 1, T) is True where a token may be attended to, or what is added to the attention logits.
        """
        rate = dropout if self.training else 0.0
        batch, steps, _ = x.shape
        q, k, v = (
            part(x).view(batch, steps, HEADS, DIM // HEADS).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, steps, DIM))
        x = self.norm_attention(x + F.dropout(mixed, rate, self.training))
        wide = self.narrow(F.gelu(self.wide(x)))
        return self.norm_out(x + F.dropout(wide, rate, self.training))  # type: ignore[no-any-return]


class MiniLM(DeepEncoder):
    """The encoder; `load` reads its weights. Use from several threads is safe as long as nothing trains it.

    Args:
        tokenizer: WordPiece, uncased.
        dropout: rate while training.
    """

    dim, states, depths, ends = DIM, STATES, DEPTHS, ENDS

    def __init__(self, tokenizer: Tokenizer, dropout: float = 0.1) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.dropout = dropout
        self.word, self.position = nn.Embedding(VOCABULARY, DIM), nn.Embedding(POSITIONS, DIM)
        self.kind = nn.Embedding(2, DIM)
        self.norm = nn.LayerNorm(DIM, EPS)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    @classmethod
    def load(cls, folder: Path, adapter: Mapping[str, torch.Tensor] | None = None) -> MiniLM:
        """Read `model.safetensors` and `tokenizer.json` of a folder, merge an adapter, and freeze the whole.

        Raises:
            OSError: a file is missing.
            ValueError: the files or the adapter are of another model.
        """
        model = cls(read_tokenizer(folder / "tokenizer.json"))
        try:
            model.load_state_dict(renamed(load_file(folder / "model.safetensors"), _TOP, _INNER, LAYERS))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{folder} holds no MiniLM-L6: {' '.join(str(error).split())[:200]}") from error
        model.requires_grad_(requires_grad=False)
        if adapter:
            model.merge(adapter)
        return model.eval()

    def tokenize(self, texts: Sequence[Sequence[str]]) -> Tokens:
        """Cut word lists into pieces, padded to the longest.

        Args:
            texts: B lists of at most MAX_WORDS words each, none of them without a piece.
        """
        return tokenize(self.tokenizer, texts, ENDS)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, 384) of token ids (B, T); `mask` (B, T) is True for a real token."""
        x = F.dropout(self.embed(ids), self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :], self.dropout)
        return x

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Map token ids (B, T) to the first layer's input (B, T, 384)."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.norm(self.word(ids) + self.position(positions) + self.kind.weight[0])  # type: ignore[no-any-return]

    def bias(self, mask: torch.Tensor) -> torch.Tensor:
        """Attention bias (B, 1, 1, T) of a mask (B, T): far below all where nothing is real."""
        return (~mask)[:, None, None, :] * -1e9

    def words(self, tokens: Tokens) -> torch.Tensor:
        """Contextual word vectors (B, N, 384); rows of padding are 0. Differentiable."""
        vectors: torch.Tensor = tokens.words @ self(tokens.ids, tokens.mask)
        return vectors

    @torch.inference_mode()
    def encode(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Contextual vectors (n, 384) of the n words of one text, each the mean over the word's pieces."""
        if not words:
            return torch.zeros(0, DIM).numpy()
        tokens = self.tokenize([words])
        vectors: NDArray[np.float32] = self.words(tokens)[0].numpy()
        return vectors

    def adapter(self) -> dict[str, torch.Tensor]:
        """Tensors of the adapter, by name; empty without one."""
        return lora.adapter(self)

    def merge(self, adapter: Mapping[str, torch.Tensor]) -> None:
        """Add an adapter to the weights for good.

        Raises:
            ValueError: it does not fit this model.
        """
        lora.merge(self, adapter)
