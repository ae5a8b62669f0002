"""WordPiece tokenisation of word lists: token ids, and which of them make up which word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_PIECES = 6
"""Pieces of a word that are read: what is longer is no word (and 64 words always fit the positions)."""
MAX_WORDS = 80


@dataclass(frozen=True, slots=True)
class Tokens:
    """A padded batch of B word lists: `ids` and `mask` are (B, T), `mask` is True for a real token.

    `words` (B, N, T) float averages hidden states to N word vectors: each row sums to 1, or to 0 for padding.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    words: torch.Tensor


@dataclass(frozen=True, slots=True)
class Ends:
    """Ids of the tokens before the first and after the last piece of a text, and of padding."""

    first: int
    last: int
    padding: int


def read_tokenizer(file: Path) -> Tokenizer:
    """Read a `tokenizer.json`, without the cutting and padding that its authors set.

    Raises:
        OSError: the file is missing.
        ValueError: it is no tokenizer.
    """
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["truncation"] = settings["padding"] = None
    return Tokenizer.from_str(json.dumps(settings))


def tokenize(tokenizer: Tokenizer, texts: Sequence[Sequence[str]], ends: Ends) -> Tokens:
    """Cut word lists into pieces, padded to the longest.

    Args:
        tokenizer: WordPiece, without cutting or padding of its own.
        texts: B lists of at most MAX_WORDS words each, none of them without a piece.
        ends: the tokens around a text.

    Raises:
        ValueError: too many words.
    """
    ids: list[list[int]] = []
    owners: list[list[int]] = []
    for words in texts:
        if len(words) > MAX_WORDS:
            raise ValueError(f"{len(words)} words: at most {MAX_WORDS} fit, keep the newest")
        pieces, owner = [ends.first], [-1]
        for index, encoding in enumerate(tokenizer.encode_batch(list(words), add_special_tokens=False)):
            pieces += encoding.ids[:MAX_PIECES]
            owner += [index] * min(MAX_PIECES, len(encoding.ids))
        ids.append([*pieces, ends.last])
        owners.append([*owner, -1])
    steps, longest = max(map(len, ids)), max(1, *(len(words) for words in texts))
    out = torch.full((len(ids), steps), ends.padding, dtype=torch.long)
    mask = torch.zeros(len(ids), steps, dtype=torch.bool)
    pool = torch.zeros(len(ids), longest, steps)
    for row, (pieces, owner) in enumerate(zip(ids, owners, strict=True)):
        out[row, : len(pieces)] = torch.tensor(pieces)
        mask[row, : len(pieces)] = True
        for step, index in enumerate(owner):
            if index >= 0:
                pool[row, index, step] = 1.0
    return Tokens(out, mask, pool / pool.sum(2, keepdim=True).clamp(min=1.0))
