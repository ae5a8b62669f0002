"""Training of the text line: the states of the frozen layers are kept, so that an epoch costs only the upper four.

The location learns from the absolute error, the scale from the likelihood of a Laplace distribution around it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr

from models import lora
from models.mpnet import DIM, MPNet
from models.text_net import TextHead, TextNet, TextWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scripts.training.adapt import Sentence

Words = tuple[str, ...]
Learned = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
"""Tensors of the adapter and of the head."""
_SCALE_SHARE = 0.4
"""Share of the likelihood, which teaches the scale, in the loss."""
_PREFIX_SHARE = 0.2
"""Share of a reading in mid-sentence in the loss."""


@dataclass(frozen=True, slots=True)
class Course:
    """How one stage is trained; `misheard` is the share of texts that get invented recognition errors."""

    epochs: int
    lr: float
    head_lr: float
    misheard: float
    batch: int = 32
    weight_decay: float = 0.01
    seed: int = 0


class States:
    """Hidden states after the frozen layers by text, in half precision: computed once, on disk between runs.

    Args:
        encoder: whose frozen layers are meant.
        file: where they are kept; may be missing.
    """

    def __init__(self, encoder: MPNet, file: Path) -> None:
        self._encoder, self._file = encoder, file
        self._places: dict[Words, tuple[int, int]] = {}
        self._parts: list[NDArray[np.float16]] = []
        self._tokens = 0
        if file.exists():
            with np.load(file) as kept:
                self._add([tuple(text.split(" ")) for text in kept["texts"]], kept["lengths"], kept["states"])
        self._joined: NDArray[np.float16] | None = None

    def _add(self, texts: Sequence[Words], lengths: Iterable[int], states: NDArray[np.float16]) -> None:
        for words, length in zip(texts, lengths, strict=True):
            self._places[words] = (self._tokens, int(length))
            self._tokens += int(length)
        self._parts.append(states)
        self._joined = None

    @torch.inference_mode()
    def ensure(self, texts: Iterable[Words], told: Callable[[int, int], None] | None = None, batch: int = 32) -> None:
        """Compute what is missing; texts of one length go together, so that nothing is padded."""
        missing = sorted({words for words in texts if words not in self._places}, key=self._pieces)
        for begin in range(0, len(missing), batch):
            part = missing[begin : begin + batch]
            tokens = self._encoder.tokenize(part)
            lower = self._encoder.lower(tokens.ids, self._encoder.bias(tokens.mask))
            self._add(part, tokens.mask.sum(1).tolist(), lower[tokens.mask].half().numpy())
            if told is not None and begin // batch % 20 == 0:
                told(begin, len(missing))
        if missing:
            self._joined = np.concatenate(self._parts)
            self._parts = [self._joined]

    def _pieces(self, words: Words) -> int:
        return len(self._encoder.tokenizer.encode(" ".join(words), add_special_tokens=False).ids)

    def save(self) -> None:
        """Write all to the file."""
        texts = [" ".join(words) for words in self._places]
        lengths = [length for _, length in self._places.values()]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self._file, texts=texts, lengths=lengths, states=np.concatenate(self._parts))

    def padded(self, texts: Sequence[Words]) -> torch.Tensor:
        """States (B, T, 768) of texts that were ensured."""
        if self._joined is None:
            self._joined = np.concatenate(self._parts)
            self._parts = [self._joined]
        places = [self._places[words] for words in texts]
        out = torch.zeros(len(places), max(length for _, length in places), DIM)
        for row, (begin, length) in enumerate(places):
            out[row, :length] = torch.from_numpy(self._joined[begin : begin + length])
        return out


class Learner:
    """A text line that learns.

    Args:
        folder: of the encoder.
        file: where the states of the frozen layers are kept.
        rank: of the adapter.
    """

    def __init__(self, folder: Path, file: Path, rank: int) -> None:
        torch.manual_seed(0)
        encoder = MPNet.load(folder)
        encoder.add_adapter(rank)
        self.net = TextNet(encoder, TextHead())
        self.states = States(encoder, file)
        self._start = self.learned()

    def learned(self) -> Learned:
        """Copy what was learned."""
        head = {name: tensor.detach().clone() for name, tensor in self.net.head.state_dict().items()}
        return lora.adapter(self.net.encoder), head

    def restore(self, learned: Learned | None = None) -> None:
        """Go on from what was learned before, or from the beginning."""
        adapter, head = learned or self._start
        with torch.no_grad():
            for name, linear in lora.linears(self.net.encoder).items():
                if linear.down is not None and linear.up is not None:
                    linear.down.copy_(adapter[f"{name}.down"])
                    linear.up.copy_(adapter[f"{name}.up"])
        self.net.head.load_state_dict(head)

    def use(self, learned: Learned) -> None:
        """Merge an adapter of any rank for good and take a head: for reading only."""
        for linear in lora.linears(self.net.encoder).values():
            linear.down = linear.up = None
        lora.merge(self.net.encoder, learned[0])
        self.net.head.load_state_dict(learned[1])

    def readings(self, texts: Sequence[Words], rows: torch.Tensor) -> torch.Tensor:
        """Read (B, K, 2) after the first `rows` (B, K) words of each text; differentiable."""
        encoder = self.net.encoder
        tokens = encoder.tokenize(texts)
        states = encoder.upper(self.states.padded(texts), encoder.bias(tokens.mask))
        heard = torch.arange(1, tokens.words.shape[1] + 1) <= rows[..., None]
        pool = heard.float() @ tokens.words / rows[..., None]
        out: torch.Tensor = self.net.head(pool @ states, rows.float())
        return out

    @torch.inference_mode()
    def read(self, texts: Sequence[Words], batch: int = 64) -> NDArray[np.float32]:
        """Readings (N, 2) of whole texts, in eval mode."""
        self.states.ensure(texts)
        self.net.eval()
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        out = np.zeros((len(texts), 2), np.float32)
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            rows = torch.tensor([[len(texts[index])] for index in part])
            out[part] = self.readings([texts[index] for index in part], rows)[:, 0].numpy()
        return out


def fit(learner: Learner, epochs: Sequence[Sequence[Sentence]], course: Course, said: Callable[[str], None]) -> None:
    """Train on the sentences of each epoch.

    Args:
        learner: goes on from where it is.
        epochs: the sentences, as they are heard in each epoch.
        course: how.
        said: told of the progress.
    """
    rng = np.random.default_rng(course.seed)
    torch.manual_seed(course.seed)
    learner.states.ensure({item.words for epoch in epochs for item in epoch})
    net = learner.net
    groups: list[dict[str, Any]] = [
        {"params": [one for one in net.encoder.parameters() if one.requires_grad], "lr": course.lr},
        {"params": list(net.head.parameters()), "lr": course.head_lr},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=course.weight_decay)
    steps = sum(math.ceil(len(epoch) / course.batch) for epoch in epochs)
    rates = [course.lr, course.head_lr]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.1, cycle_momentum=False)
    net.train()
    done, shown = 0, 0.0
    for epoch in epochs:
        for part in batches(epoch, course.batch, rng):
            whole = torch.tensor([len(item.words) for item in part])
            middle = torch.tensor([int(rng.integers((len(item.words) + 1) // 2, len(item.words) + 1)) for item in part])
            made = learner.readings([item.words for item in part], torch.stack([whole, middle], 1))
            loss = loss_of(made, torch.tensor([item.label for item in part], dtype=torch.float32))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([one for group in groups for one in group["params"]], 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            shown += 0.02 * (float(loss.detach()) - shown)
            if done % 50 == 0:
                said(f"{done}/{steps} loss {shown / (1 - 0.98**done):.3f}")
    net.eval()


def loss_of(made: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Loss of readings (B, 2, 2), whole and in mid-sentence, for labels (B,)."""
    error = (made[..., 0] - labels[:, None]).abs()
    likelihood = error.detach() * torch.exp(-made[..., 1]) + made[..., 1]
    both = (error + _SCALE_SHARE * likelihood).mean(0)
    return (1 - _PREFIX_SHARE) * both[0] + _PREFIX_SHARE * both[1]


def batches(sentences: Sequence[Sentence], size: int, rng: np.random.Generator) -> list[list[Sentence]]:
    """Shuffled batches of sentences of like length, so that little is padded."""
    noisy = np.array([len(item.words) for item in sentences]) * rng.uniform(0.85, 1.15, len(sentences))
    order = np.argsort(noisy)
    parts = [[sentences[index] for index in order[begin : begin + size]] for begin in range(0, len(order), size)]
    return [parts[index] for index in rng.permutation(len(parts))]


def judged(readings: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
    """Figures of readings (N, 2): MAE, Pearson r, Has0, Acc-7, and how the scale follows the error."""
    location, scale = readings[:, 0].astype(float), readings[:, 1].astype(float)
    error = np.abs(location - labels)
    figures = {
        "n": float(len(labels)),
        "mae": error.mean(),
        "r": np.corrcoef(location, labels)[0, 1],
        "has0": ((location >= 0) == (labels >= 0)).mean(),
        "acc7": (np.round(location) == np.round(labels)).mean(),
        "rank_scale_error": spearmanr(scale, error).statistic,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def average(runs: Sequence[Learned], rank: int) -> Learned:
    """Mean of several runs in weight space, with an adapter of `rank` at most."""
    adapter = lora.mean([adapter for adapter, _ in runs])
    if next(iter(adapter.values())).shape[0] > rank:
        adapter = lora.truncate(adapter, rank)
    head = {name: torch.stack([head[name] for _, head in runs]).mean(0) for name in runs[0][1]}
    return adapter, head


def folds_of(videos: Iterable[str], first: Collection[str], folds: int) -> dict[str, int]:
    """Put speakers into folds of like size; those named first are spread over all of them.

    Args:
        videos: one for every sentence.
        first: speakers to spread.
        folds: how many.
    """
    sizes = Counter(videos)
    filled, named = [0] * folds, [0] * folds
    out = {}
    for video in sorted(sizes, key=lambda video: (video not in first, -sizes[video], video)):
        ranked = [(named[at] if video in first else 0, filled[at], at) for at in range(folds)]
        fold = min(ranked)[2]
        out[video] = fold
        filled[fold] += sizes[video]
        named[fold] += video in first
    return out


def weights(learned: Learned, base: str, metadata: Mapping[str, object]) -> TextWeights:
    """Pack what was learned for saving."""
    return TextWeights(base, *learned, dict(metadata))
