"""Training of the text line: the states of the frozen layers are kept, so that an epoch costs only the upper four.

The location learns from the absolute error, the scale from the likelihood of a Laplace distribution around it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import distributed

from models import lora
from models.text_net import TextHead, TextNet, arrays, so_far
from models.text_weights import TextWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.text_net import Encoder
    from scripts.training.adapt import Sentence

    Loss = Callable[[Sequence[Sentence], torch.Tensor, torch.Tensor], torch.Tensor]

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


@dataclass(frozen=True, slots=True)
class Side:
    """This process among those that train side by side: each takes its share of every batch."""

    rank: int = 0
    of: int = 1

    def join(self, meeting: Path) -> None:
        """Meet the others at a file, which must not be there before."""
        if self.of > 1:
            distributed.init_process_group("gloo", f"file://{meeting}", rank=self.rank, world_size=self.of)

    def share(self, parameters: Sequence[torch.Tensor]) -> None:
        """Average the gradients with the others'."""
        if self.of == 1:
            return
        grads = [one.grad for one in parameters if one.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(flat)
        for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad) / self.of)


class States:
    """Hidden states after the frozen layers by token ids, in half precision: computed once, on disk between runs.

    Args:
        encoder: whose frozen layers are meant.
        file: where they are kept; may be missing.
    """

    def __init__(self, encoder: Encoder, file: Path) -> None:
        self._encoder, self._file = encoder, file
        self._places: dict[bytes, tuple[int, int]] = {}
        self._tokens = 0
        self._parts: list[NDArray[np.float16]] = []
        if file.exists():
            with np.load(file) as kept:
                self._add(np.split(kept["ids"], np.cumsum(kept["lengths"])[:-1]), kept["states"])

    def _add(self, ids: Iterable[NDArray[np.int32]], states: NDArray[np.float16]) -> None:
        begin = self._tokens
        for one in ids:
            # Twice the same would part the order of the keys from that of the states.
            if self._places.setdefault(one.tobytes(), (self._tokens, len(one))) != (self._tokens, len(one)):
                raise ValueError("the same text twice")
            self._tokens += len(one)
        if self._tokens - begin != len(states):
            raise ValueError(f"{len(states)} states for {self._tokens - begin} tokens")
        self._parts.append(states)

    def _ids(self, texts: Sequence[Words]) -> list[NDArray[np.int32]]:
        tokens = self._encoder.tokenize(texts)
        return [row[real].numpy().astype(np.int32) for row, real in zip(tokens.ids, tokens.mask, strict=True)]

    @torch.inference_mode()
    def ensure(self, texts: Iterable[Words], told: Callable[[int, int], None] | None = None, batch: int = 32) -> None:
        """Compute what is missing; texts of one length go together, so that nothing is padded."""
        every = list(texts)
        found = [ids for begin in range(0, len(every), 512) for ids in self._ids(every[begin : begin + 512])]
        missing = sorted({ids.tobytes(): ids for ids in found if ids.tobytes() not in self._places}.values(), key=len)
        for begin in range(0, len(missing), batch):
            part = missing[begin : begin + batch]
            padding = self._encoder.ends.padding
            ids = torch.full((len(part), len(part[-1])), padding)
            for row, one in zip(ids, part, strict=True):
                row[: len(one)] = torch.from_numpy(one)
            mask = ids != padding
            lower = self._encoder.lower(ids, self._encoder.bias(mask))
            self._add(part, lower[mask].half().numpy())
            if told is not None and begin // batch % 20 == 0:
                told(begin, len(missing))

    def save(self) -> None:
        """Write all to the file."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        ids = np.frombuffer(b"".join(self._places), np.int32)
        np.savez(self._file, ids=ids, lengths=[length for _, length in self._places.values()], states=self._joined())

    def _joined(self) -> NDArray[np.float16]:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def padded(self, texts: Sequence[Words]) -> torch.Tensor:
        """States (B, T, D) of texts that were ensured."""
        places = [self._places[ids.tobytes()] for ids in self._ids(texts)]
        out = torch.zeros(len(places), max(length for _, length in places), self._encoder.dim)
        for row, (begin, length) in enumerate(places):
            out[row, :length] = torch.from_numpy(self._joined()[begin : begin + length])
        return out


class Learner:
    """A text line that learns.

    Args:
        encoder: with the adapter that is to learn beside it.
        file: where the states of the frozen layers are kept.
    """

    def __init__(self, encoder: Encoder, file: Path) -> None:
        self.net = TextNet(encoder, TextHead(encoder.states))
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
    def every(self, texts: Sequence[Words], batch: int = 64) -> dict[Words, NDArray[np.float32]]:
        """Readings (n, 2) after every word of texts, by text, in eval mode."""
        self.states.ensure(texts)
        self.net.eval()
        order = sorted(set(texts), key=len)
        out: dict[Words, NDArray[np.float32]] = {}
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            lengths = torch.tensor([[len(words)] for words in part])
            made = self.readings(part, torch.arange(1, len(part[-1]) + 1).expand(len(part), -1).minimum(lengths))
            out |= {words: row[: len(words)].numpy() for words, row in zip(part, made, strict=True)}
        return out

    @torch.inference_mode()
    def vectors(self, texts: Sequence[Words], batch: int = 64) -> dict[Words, NDArray[np.float16]]:
        """Mean states (n, D) after every word of texts, by text: what the head reads."""
        self.states.ensure(texts)
        self.net.eval()
        encoder = self.net.encoder
        found: dict[Words, NDArray[np.float16]] = {}
        order = sorted(set(texts), key=len)
        for begin in range(0, len(order), batch):
            part = order[begin : begin + batch]
            tokens = encoder.tokenize(part)
            states = encoder.upper(self.states.padded(part), encoder.bias(tokens.mask))
            mean = so_far(tokens)[0] @ states
            found |= {words: row[: len(words)].half().numpy() for words, row in zip(part, mean, strict=True)}
        return found

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


def fit(
    learner: Learner,
    epochs: Sequence[Sequence[Sentence]],
    course: Course,
    said: Callable[[str], None],
    side: Side | None = None,
    loss_for: Loss | None = None,
) -> None:
    """Train on the sentences of each epoch.

    Args:
        learner: goes on from where it is.
        epochs: the sentences, as they are heard in each epoch.
        course: how.
        said: told of the progress.
        side: which share of each batch is this process's; all by default.
        loss_for: the loss of a batch by its readings (B, 2, 2), whole and in mid-sentence, and the number of words
            (B, 2) behind them; `loss_of` their labels by default.
    """
    side, loss_for = side or Side(), loss_for or _by_labels
    rng = np.random.default_rng(course.seed)
    torch.manual_seed(course.seed + 1000 * side.rank)
    learner.states.ensure({item.words for epoch in epochs for item in epoch})
    net = learner.net
    groups: list[dict[str, Any]] = [
        {"params": [one for one in net.encoder.parameters() if one.requires_grad], "lr": course.lr},
        {"params": list(net.head.parameters()), "lr": course.head_lr},
    ]
    parameters = [one for group in groups for one in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=course.weight_decay)
    steps = sum(len(batches(epoch, course.batch, rng)) for epoch in epochs)
    rates = [course.lr, course.head_lr]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.1, cycle_momentum=False)
    net.train()
    done, shown = 0, 0.0
    for epoch in epochs:
        for whole_part in batches(epoch, course.batch, rng):
            part = whole_part[side.rank :: side.of]
            whole = torch.tensor([len(item.words) for item in part])
            middle = torch.tensor([int(rng.integers((len(item.words) + 1) // 2, len(item.words) + 1)) for item in part])
            rows = torch.stack([whole, middle], 1)
            loss = loss_for(part, learner.readings([item.words for item in part], rows), rows)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            side.share(parameters)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            shown += 0.02 * (float(loss.detach()) - shown)
            if done % 50 == 0:
                said(f"{done}/{steps} loss {shown / (1 - 0.98**done):.3f}")
    net.eval()


def _by_labels(part: Sequence[Sentence], made: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    del rows
    return loss_of(made, torch.tensor([item.label for item in part], dtype=torch.float32))


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
    ends = range(0, max(1, len(order) - size // 2), size)  # a small rest goes with the last batch
    parts = [[sentences[index] for index in order[at : at + size]] for at in ends[:-1]]
    parts.append([sentences[index] for index in order[ends[-1] :]])
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
    return TextWeights(base, arrays(learned[0]), arrays(learned[1]), dict(metadata))
