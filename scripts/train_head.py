"""Train the text line's head alone, over the encoder as it is published, and cross-validate it over speakers.

python -m scripts.train_head [--data ../shared/data] [--cache DIR] [--folds DIR] [--out FILE]

Minutes on one core; scripts/train_text.py tunes the upper layers too and takes longer. It learns from CMU-MOSI's
transcripts and from what the recogniser heard of its clips (the tapes of scripts/features.py), whole and in part: the
location from the absolute error, the scale from the likelihood of a Laplace distribution. Every fold's weights and
folds.json go to --folds, those of all speakers to --out; the held-out figures to standard output as one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from models import zoo
from models.metrics import all_metrics
from models.mpnet import ENDS, MPNet
from models.text_net import TextHead, arrays, so_far
from models.text_weights import TextWeights
from models.textline import BASE, WEIGHTS
from models.tokens import tokenize
from models.wordpieces import MAX_WORDS
from realtime.types import Transcript
from scripts.training import corpora
from scripts.training.adapt import sentence
from scripts.training.feature_track import load as load_tape
from scripts.training.paths import tape_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDS = 5
EPOCHS, BATCH, LR, WEIGHT_DECAY, DROPOUT = 5, 32, 1e-3, 0.05, 0.3
SCALE_SHARE, PARTS, PART_WEIGHT = 0.4, 2, 0.12
SAID, HEARD = "said", "heard"
Words = tuple[str, ...]
Vectors = dict[Words, np.ndarray]


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence of CMU-MOSI, as it was said or as it was heard."""

    words: Words
    label: float
    speaker: str
    clip: str
    kind: str


def texts(data: Path, cache: Path) -> list[Text]:
    """Return the transcripts, and what the recogniser committed over the clips."""
    found = []
    for kind, examples in ((SAID, corpora.mosi_text(data)), (HEARD, corpora.mosi_clips(data))):
        for example in examples:
            spoken = example.text if kind == SAID else heard(cache, example)
            item = sentence(spoken, example.label)
            if item and len(item.words) <= MAX_WORDS:
                found.append(Text(tuple(item.words), example.label, example.speaker, example.id, kind))
    return found


def heard(cache: Path, example: corpora.Example) -> str:
    """Return what the recogniser committed over a clean clip; nothing where there is no tape."""
    path = tape_path(cache, example.corpus, example.id, "clean")
    items = load_tape(path)[0] if path.exists() else []
    return " ".join(word.text for _, item in items if isinstance(item, Transcript) for word in item.committed)


@torch.inference_mode()
def vectors(encoder: MPNet, wanted: Iterable[Words]) -> Vectors:
    """Mean states after each word of every text, in half precision."""
    found: Vectors = {}
    ordered = sorted(set(wanted), key=lambda words: (len(words), words))
    for begin in tqdm(range(0, len(ordered), BATCH), desc="states", mininterval=10):
        part = ordered[begin : begin + BATCH]
        tokens = tokenize(encoder.tokenizer, part, ENDS)
        mean = so_far(tokens)[0] @ encoder(tokens.ids, tokens.mask)
        found |= {words: mean[row, : len(words)].half().numpy() for row, words in enumerate(part)}
    return found


def train(items: Sequence[Text], states: Vectors, seed: int = 0) -> TextHead:
    """Train one head; a clip of which both are known is shown as said or as heard."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = TextHead().train()
    head.dropout.p = DROPOUT
    clips: dict[str, list[Text]] = {}
    for item in items:
        clips.setdefault(item.clip, []).append(item)
    names = list(clips)
    optimiser = torch.optim.AdamW(head.parameters(), LR, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * -(-len(names) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, steps, pct_start=0.1)
    for _ in range(EPOCHS):
        order = rng.permutation(len(names))
        for begin in range(0, len(order), BATCH):
            shown = [clips[names[index]] for index in order[begin : begin + BATCH]]
            loss = _loss(head, [choices[int(rng.integers(len(choices)))] for choices in shown], states, rng)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return head.eval()


def _loss(head: TextHead, items: Sequence[Text], states: Vectors, rng: np.random.Generator) -> torch.Tensor:
    rows, counts, labels, weights = [], [], [], []
    for item in items:
        kept = states[item.words]
        for count, weight in [
            (len(kept), 1.0),
            *((int(n) + 1, PART_WEIGHT) for n in rng.integers(0, len(kept), PARTS)),
        ]:
            rows.append(kept[count - 1])
            counts.append(float(count))
            labels.append(item.label)
            weights.append(weight)
    said = head(torch.from_numpy(np.array(rows, np.float32)), torch.tensor(counts))
    error, share = (said[:, 0] - torch.tensor(labels)).abs(), torch.tensor(weights)
    likelihood = error.detach() * (-said[:, 1]).exp() + said[:, 1]
    loss: torch.Tensor = ((error + SCALE_SHARE * likelihood) * share).sum() / share.sum()
    return loss


@torch.inference_mode()
def read(head: TextHead, kept: np.ndarray) -> np.ndarray:
    """Read a text after each of its words, (n, 2)."""
    count = torch.arange(1, len(kept) + 1, dtype=torch.float32)
    made: np.ndarray = head(torch.from_numpy(kept.astype(np.float32)), count).numpy()
    return made


def folds_of(items: Sequence[Text]) -> dict[str, int]:
    """Fold of each speaker; those with clips are spread over all folds."""
    seen = sorted({item.speaker for item in items if item.kind == HEARD})
    others = sorted({item.speaker for item in items} - set(seen))
    return {name: number % FOLDS for names in (seen, others) for number, name in enumerate(names)}


def figures(held: Sequence[tuple[Text, np.ndarray]]) -> dict[str, Any]:
    """Held-out figures by kind, with the rank correlation of the scale with the error."""
    table: dict[str, Any] = {}
    for kind in (SAID, HEARD):
        rows = [(item.label, *said) for item, said in held if item.kind == kind]
        if not rows:
            continue
        label, location, log_scale = np.array(rows, np.float64).T
        found = all_metrics(label, location) | {
            "scale_rank_r": spearmanr(log_scale, np.abs(location - label)).statistic
        }
        table[kind] = {"n": len(rows), **{key: round(float(value), 4) for key, value in found.items()}}
    return table


def main() -> None:
    """Cross-validate, train on all, write, print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--folds", type=Path, default=zoo.cache().parent / "heads", help="where the folds' weights go")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args()
    torch.set_num_threads(1)
    items = texts(args.data, args.cache)
    fold = folds_of(items)
    states = vectors(MPNet.load(zoo.path(BASE)), (item.words for item in items))
    base = hashlib.sha256((zoo.path(BASE) / "model.safetensors").read_bytes()).hexdigest()
    args.folds.mkdir(parents=True, exist_ok=True)
    (args.folds / "folds.json").write_text(json.dumps(fold), encoding="utf-8")
    held = []
    for number in range(FOLDS):
        head = train([item for item in items if fold[item.speaker] != number], states)
        TextWeights(base, {}, arrays(head.state_dict()), {"fold": number}).save(
            args.folds / f"fold{number}.safetensors"
        )
        held += [(item, read(head, states[item.words])[-1]) for item in items if fold[item.speaker] == number]
    found = {"command": " ".join(["python", "scripts/train_head.py", *sys.argv[1:]]), "metrics": figures(held)}
    TextWeights(base, {}, arrays(train(items, states).state_dict()), found).save(args.out)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
