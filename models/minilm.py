"""MiniLM-L6: a BERT encoder of 6 layers and 384 channels, with an optional low-rank adapter (LoRA).

Weights and tokenizer are those of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). The adapter is what
fine-tuning changes: small enough to ship, and merged into the weights where it is only used. LoRA: Hu et al., 2021,
arXiv 2106.09685.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the customary name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

DIM = 384
LAYERS = 6
HEADS = 12
HIDDEN = 1536
VOCABULARY = 30522
POSITIONS = 512
EPS = 1e-12
MAX_PIECES = 6
"""Pieces of a word that are read: what is longer is no word (and 64 words always fit the positions)."""
MAX_WORDS = 80
_CLS, _SEP = 101, 102


@dataclass(frozen=True, slots=True)
class Tokens:
    """A padded batch of B word lists: `ids` and `mask` are (B, T), `mask` is True for a real token.

    `words` (B, N, T) float averages hidden states to N word vectors: each row sums to 1, or to 0 for padding.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    words: torch.Tensor


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


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (Linear(DIM, DIM) for _ in range(4))
        self.wide, self.narrow = Linear(DIM, HIDDEN), Linear(HIDDEN, DIM)
        self.norm_attention, self.norm_out = nn.LayerNorm(DIM, EPS), nn.LayerNorm(DIM, EPS)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
        """Map (B, T, 384) to (B, T, 384); `mask` (B, 1, 1, T) is True where a token may be attended to."""
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


class MiniLM(nn.Module):
    """The encoder; `load` reads its weights. Use from several threads is safe as long as nothing trains it.

    Args:
        tokenizer: WordPiece, uncased.
        dropout: rate while training.
    """

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
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        settings = json.loads(text)
        settings["truncation"] = settings["padding"] = None
        model = cls(Tokenizer.from_str(json.dumps(settings)))
        try:
            model.load_state_dict(_renamed(load_file(folder / "model.safetensors")))
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
        ids: list[list[int]] = []
        owners: list[list[int]] = []
        for words in texts:
            if len(words) > MAX_WORDS:
                raise ValueError(f"{len(words)} words: at most {MAX_WORDS} fit, keep the newest")
            pieces, owner = [_CLS], [-1]
            for index, encoding in enumerate(self.tokenizer.encode_batch(list(words), add_special_tokens=False)):
                pieces += encoding.ids[:MAX_PIECES]
                owner += [index] * min(MAX_PIECES, len(encoding.ids))
            ids.append([*pieces, _SEP])
            owners.append([*owner, -1])
        steps, longest = max(map(len, ids)), max(1, *(len(words) for words in texts))
        out = torch.zeros(len(ids), steps, dtype=torch.long)
        mask = torch.zeros(len(ids), steps, dtype=torch.bool)
        pool = torch.zeros(len(ids), longest, steps)
        for row, (pieces, owner) in enumerate(zip(ids, owners, strict=True)):
            out[row, : len(pieces)] = torch.tensor(pieces)
            mask[row, : len(pieces)] = True
            for step, index in enumerate(owner):
                if index >= 0:
                    pool[row, index, step] = 1.0
        return Tokens(out, mask, pool / pool.sum(2, keepdim=True).clamp(min=1.0))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, 384) of token ids (B, T); `mask` (B, T) is True for a real token."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x: torch.Tensor = self.norm(self.word(ids) + self.position(positions) + self.kind.weight[0])
        x = F.dropout(x, self.dropout, self.training)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :], self.dropout)
        return x

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

    def add_adapter(self, rank: int) -> list[nn.Parameter]:
        """Add a trainable low-rank update to every linear map; returns its parameters, the rest stays frozen."""
        for _, linear in self._linears():
            linear.add_adapter(rank)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def adapter(self) -> dict[str, torch.Tensor]:
        """Tensors of the adapter, by name; empty without one."""
        return {
            f"{name}.{part}": tensor.detach().clone()
            for name, linear in self._linears()
            for part, tensor in (("down", linear.down), ("up", linear.up))
            if tensor is not None
        }

    @torch.no_grad()
    def merge(self, adapter: Mapping[str, torch.Tensor]) -> None:
        """Add an adapter to the weights for good.

        Raises:
            ValueError: it does not fit this model.
        """
        linears = dict(self._linears())
        names = {f"{name}.{part}" for name in linears for part in ("down", "up")}
        if unknown := sorted(set(adapter) - names):
            raise ValueError(f"adapter is of another model: {', '.join(unknown[:3])}")
        if unpaired := sorted(name for name in linears if (f"{name}.down" in adapter) != (f"{name}.up" in adapter)):
            raise ValueError(f"adapter has only half of {', '.join(unpaired[:3])}")
        for name, linear in linears.items():
            if f"{name}.down" not in adapter:
                continue
            down, up = adapter[f"{name}.down"].float(), adapter[f"{name}.up"].float()
            if (up.shape[0], down.shape[1]) != linear.weight.shape or up.shape[1] != down.shape[0]:
                raise ValueError(f"adapter {name} has shapes {tuple(up.shape)}, {tuple(down.shape)}")
            linear.weight += up @ down
            linear.down = linear.up = None

    def _linears(self) -> list[tuple[str, Linear]]:
        return [(name, module) for name, module in self.named_modules() if isinstance(module, Linear)]


def _renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Map the names of the published file to ours; the pooler is not used."""
    top = {
        "embeddings.word_embeddings": "word",
        "embeddings.position_embeddings": "position",
        "embeddings.token_type_embeddings": "kind",
        "embeddings.LayerNorm": "norm",
    }
    inner = {
        "attention.self.query": "query",
        "attention.self.key": "key",
        "attention.self.value": "value",
        "attention.output.dense": "out",
        "attention.output.LayerNorm": "norm_attention",
        "intermediate.dense": "wide",
        "output.dense": "narrow",
        "output.LayerNorm": "norm_out",
    }
    renamed = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        if module in top:
            renamed[f"{top[module]}.{kind}"] = tensor
        elif module.startswith("encoder.layer."):
            number, _, part = module.removeprefix("encoder.layer.").partition(".")
            renamed[f"layers.{number}.{inner[part]}.{kind}"] = tensor
    return renamed
