"""WordPiece tokenisation of word lists: token ids, and which of them make up which word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MAX_PIECES = 6
"""Pieces of a word that are read: what is longer is no word (and 64 words always fit the positions)."""
MAX_WORDS = 80


@dataclass(frozen=True, slots=True)
class Pieces:
    """A padded batch of B word lists: `ids` int64 and `mask` are (B, T), `mask` is True for a real token.

    `words` (B, N, T) float32 averages hidden states to N word vectors: each row sums to 1, or to 0 for padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    words: Floats


@dataclass(frozen=True, slots=True)
class Ends:
    """Ids of the tokens before the first and after the last piece of a text, and of padding."""

    first: int
    last: int
    padding: int


ENDS = {"text-mpnet": Ends(first=0, last=2, padding=1), "text": Ends(first=101, last=102, padding=0)}
"""By the name of the encoder in `models.catalogue`."""


def read_tokenizer(file: Path) -> Tokenizer:
    """Read a `tokenizer.json`, without the cutting and padding that its authors set.

    Raises:
        OSError: the file is missing.
        ValueError: it is no tokenizer.
    """
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["truncation"] = settings["padding"] = None
    return Tokenizer.from_str(json.dumps(settings))


def cut(tokenizer: Tokenizer, texts: Sequence[Sequence[str]], ends: Ends) -> Pieces:
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
    out = np.full((len(ids), steps), ends.padding, np.int64)
    mask = np.zeros((len(ids), steps), np.bool_)
    pool = np.zeros((len(ids), longest, steps), np.float32)
    for row, (pieces, owner) in enumerate(zip(ids, owners, strict=True)):
        out[row, : len(pieces)] = pieces
        mask[row, : len(pieces)] = True
        for step, index in enumerate(owner):
            if index >= 0:
                pool[row, index, step] = 1.0
    return Pieces(out, mask, pool / pool.sum(2, keepdims=True).clip(min=1.0))


def so_far(words: Floats) -> tuple[Floats, Floats]:
    """Weights (B, N, T) of the mean of the words up to and including each, and their number (B, N).

    Args:
        words: as in Pieces.
    """
    count = np.arange(1, words.shape[1] + 1, dtype=np.float32)
    mean = (words.cumsum(1) / count[:, None]).astype(np.float32, copy=False)
    return mean, np.tile(count, (len(words), 1))
