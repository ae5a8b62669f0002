"""Pieces of words as tensors, for the encoders in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.wordpieces import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from models.wordpieces import Ends


@dataclass(frozen=True, slots=True)
class Tokens:
    """A padded batch of B word lists; see `models.wordpieces.Pieces`."""

    ids: torch.Tensor
    mask: torch.Tensor
    words: torch.Tensor


def tokenize(tokenizer: Tokenizer, texts: Sequence[Sequence[str]], ends: Ends) -> Tokens:
    """Cut word lists into pieces, padded to the longest; see `models.wordpieces.cut`."""
    pieces = cut(tokenizer, texts, ends)
    return Tokens(*map(torch.from_numpy, (pieces.ids, pieces.mask, pieces.words)))
