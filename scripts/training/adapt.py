"""Adapt MiniLM to sentiment in two stages: what people rated and said on television, then CMU-MOSI's reviews.

Only a low-rank update of the encoder is learned (LoRA), and a small head; both are shipped (models/sentence.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.minilm import MiniLM
from models.sentence import SentenceEncoder, SentenceHead
from models.wordpieces import MAX_WORDS
from realtime.extract.text import normal_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sentence:
    """Normalised words with their label in [-3, 3]."""

    words: tuple[str, ...]
    label: float


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage of the adaptation is trained."""

    epochs: int
    lr: float
    batch: int = 32
    crop: float = 0.2
    weight_decay: float = 0.01
    seed: int = 0


def sentence(text: str, label: float) -> Sentence | None:
    """Normalise a text as the live words are; None without a word."""
    words = normal_words(text)[-MAX_WORDS:]
    return Sentence(tuple(words), label) if words else None


class Adapted(nn.Module):
    """MiniLM with an adapter, and the head on the mean of the word vectors."""

    def __init__(self, folder: Path, rank: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = MiniLM.load(folder)
        self.encoder.add_adapter(rank, 0)
        self.head = SentenceHead()

    def forward(self, texts: Sequence[Sequence[str]]) -> torch.Tensor:
        """Scores (B,) of word lists: the head on the mean of the word vectors."""
        vectors = self.encoder.words(self.encoder.tokenize(texts))
        lengths = torch.tensor([[float(len(words))] for words in texts])
        scores: torch.Tensor = self.head(vectors.sum(1) / lengths)
        return scores

    def frozen(self) -> SentenceEncoder:
        """Return what the live program would load."""
        return SentenceEncoder(self.encoder, self.head)

    @torch.inference_mode()
    def score(self, sentences: Sequence[Sentence], batch: int = 128) -> np.ndarray:
        """Scores (N,) in eval mode."""
        self.eval()
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index].words))
        out = np.zeros(len(sentences), np.float32)
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            out[part] = self([sentences[index].words for index in part]).numpy()
        return out


def fit(model: Adapted, sentences: Sequence[Sentence], stage: Stage) -> None:
    """Train the adapter and the head on L1."""
    rng = np.random.default_rng(stage.seed)
    torch.manual_seed(stage.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, stage.lr, weight_decay=stage.weight_decay)
    batches = math.ceil(len(sentences) / stage.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, stage.lr, stage.epochs * batches, pct_start=0.1)
    model.train()
    for _ in range(stage.epochs):
        for part in _batches(sentences, stage.batch, rng):
            texts = [_cropped(item.words, stage.crop, rng) for item in part]
            labels = torch.tensor([item.label for item in part])
            with torch.autocast("cpu", torch.bfloat16):
                loss = (model(texts).float() - labels).abs().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
    model.eval()


def _batches(sentences: Sequence[Sentence], size: int, rng: np.random.Generator) -> list[list[Sentence]]:
    """Shuffled batches of sentences of like length, so that little is padded."""
    noisy = np.array([len(item.words) for item in sentences]) + rng.uniform(0, 6, len(sentences))
    order = np.argsort(noisy)
    parts = [[sentences[index] for index in order[begin : begin + size]] for begin in range(0, len(order), size)]
    return [parts[index] for index in rng.permutation(len(parts))]


def _cropped(words: tuple[str, ...], chance: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Now and then only a part: the beginning, as it is heard while somebody speaks, or a piece of the middle."""
    if len(words) < 4 or rng.random() >= chance:
        return words
    if rng.random() < 0.5:
        return words[: int(rng.integers(2, len(words) + 1))]
    keep = int(rng.integers(max(3, len(words) * 2 // 3), len(words) + 1))
    begin = int(rng.integers(0, len(words) - keep + 1))
    return words[begin : begin + keep]


def learned_names(model: Adapted) -> dict[str, torch.Tensor]:
    """Tensors that training changes: the adapter's and the head's."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if name.startswith("head.") or name.endswith((".down", ".up"))}


def average(runs: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Mean of the same tensors over several runs."""
    return {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}
