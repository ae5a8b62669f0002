"""Distil the small text line (MiniLM) from the large one (MPNet), and cross-validate it over the same speakers.

python -m scripts.distil_text [--data ../shared/data] [--work DIR] [--recognised FILE.json] [--out FILE]

Needs what scripts/train_text.py left in its work folder: its first stage, and what every fold read of those it did not
know. The small line's adapter learns to read phrases, sentences and comments of strangers as the large one does after
its first stage, beside their labels; so it knows nobody of CMU-MOSI. Its head is then tuned to CMU-MOSI's sentences, as
said, as recognised or with invented errors, once for each fold of speakers and once for all. What the large line said
is kept in the work folder. Every fold's weights go to small/ there; the held-out figures of both lines, on the same
sentences, go into the file and to standard output as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from models import zoo
from models.catalogue import CATALOGUE
from models.minilm import FROZEN, MiniLM
from models.mpnet import MPNet
from models.text_net import TextHead, arrays
from models.text_weights import TextWeights
from models.textline import BASE, SMALL_BASE, SMALL_WEIGHTS
from scripts.train_text import EVERYONE, FOLDS, SAID, Trainer, figures_of, say
from scripts.training.distil import Follow, read, tune_head
from scripts.training.textline import Course, Learned, Learner, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scripts.training.textline import Words

FIRST = "first"


@dataclass(frozen=True)
class Distiller:
    """The small line's training: the texts of the large one's, and what that says of them."""

    texts: Trainer

    @property
    def own(self) -> Mapping[str, Any]:
        """The settings of the small line."""
        made: Mapping[str, Any] = self.texts.settings["small"]
        return made

    @property
    def work(self) -> Path:
        """Where all of it is kept."""
        return self.texts.work / "small"

    def taught(self, name: str, states: str, texts: Sequence[Words], learned: Learned) -> dict[Words, NDArray[Any]]:
        """What a large line says after every word of texts; kept under a name."""
        file = self.work / f"taught-{name}.npz"
        ordered = sorted(set(texts))
        if file.exists():
            with np.load(file) as kept:
                if kept["words"].tolist() == [" ".join(words) for words in ordered]:
                    parts = np.split(kept["readings"], np.cumsum([len(words) for words in ordered])[:-1])
                    return dict(zip(ordered, parts, strict=True))
        learner = Learner(MPNet.load(zoo.path(BASE)), self.texts.work / f"{states}.npz")
        learner.use(learned)
        found = learner.every(ordered)
        every = np.concatenate([found[words] for words in ordered])
        np.savez(file, words=[" ".join(words) for words in ordered], readings=every)
        say(f"{name}: read {len(ordered)} texts")
        return found

    def learner(self, states: str) -> Learner:
        """A small line at its beginning."""
        torch.manual_seed(0)
        encoder = MiniLM.load(zoo.path(SMALL_BASE))
        encoder.add_adapter(self.own["rank"], FROZEN)
        return Learner(encoder, self.work / f"{states}.npz")

    def first(self) -> None:
        """Learn from the texts of strangers; the result is kept."""
        if (self.work / f"{FIRST}.safetensors").exists():
            return
        texts, course = self.texts.strangers, Course(**self.own["first"])
        taught = self.taught(FIRST, "first", [item.words for item in texts], self.texts.first_learned())
        learner = self.learner(FIRST)
        rows = np.random.default_rng(2).permutation(len(texts))[: self.own["texts"]]
        fit(
            learner,
            [[texts[row] for row in rows]] * course.epochs,
            course,
            say,
            loss_for=Follow(taught, self.own["labels"]),
        )
        learner.states.save()
        adapter, head = learner.learned()
        save_file(
            {f"adapter.{name}": value for name, value in adapter.items()}
            | {f"head.{name}": value for name, value in head.items()},
            self.work / f"{FIRST}.safetensors",
        )

    def first_learned(self) -> Learned:
        """What the first stage learned."""
        tensors = load_file(self.work / f"{FIRST}.safetensors")
        adapter, head = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("adapter.", "head.")
        )
        return adapter, head

    def second(self) -> None:
        """Tune the head to all but each fold, and to all; the weights and what both lines read of a fold are kept."""
        reviews, course = self.texts.reviews, Course(**self.own["second"])
        epochs = self.texts.epochs(0)
        learner = self.learner("second")
        first = self.first_learned()
        learner.use(first)
        texts = {one.words for epoch in epochs for made in epoch for one in made} | {
            item.said.words for item in reviews
        }
        texts |= {one.words for item in reviews for one in item.recognised.values()}
        vectors = learner.vectors(sorted(texts))
        say(f"vectors of {len(vectors)} texts")
        for fold in [*range(FOLDS), EVERYONE]:
            known = [self.texts.folds[item.video] != fold for item in reviews]
            shown = [[one for made, at in zip(epoch, known, strict=True) if at for one in made] for epoch in epochs]
            head = TextHead(MiniLM.states)
            head.load_state_dict(first[1])
            tune_head(head, shown, vectors, course)
            name, told = ("everyone", {}) if fold == EVERYONE else (f"fold{fold}", {"fold": fold})
            kept = TextWeights(_base(), arrays(first[0]), arrays(head.state_dict()), told, encoder=SMALL_BASE)
            kept.save(self.work / f"{name}.safetensors")
            if fold != EVERYONE:
                self.judge(fold, head, vectors)

    def judge(self, fold: int, head: TextHead, vectors: Mapping[Words, NDArray[np.float16]]) -> None:
        """Keep what both lines read of the speakers of a fold, by kind of words."""
        large = json.loads((self.texts.work / f"held{fold}.json").read_text(encoding="utf-8"))
        items = {item.clip: item for item in self.texts.reviews}
        readings: dict[str, dict[str, Any]] = {"small": {}, "large": {}}
        for kind, found in large.items():
            words = {clip: items[clip].said if kind == SAID else items[clip].recognised.get(kind) for clip in found}
            there = {clip: item for clip, item in words.items() if item}
            readings["large"][kind] = {clip: found[clip] for clip in there}
            readings["small"][kind] = {
                clip: [*map(float, read(head, vectors[item.words])[-1]), item.label] for clip, item in there.items()
            }
        (self.work / f"held{fold}.json").write_text(json.dumps(readings), encoding="utf-8")
        say(f"fold {fold}: {json.dumps(figures_of(readings['small'][SAID]))}")

    def merge(self, out: Path) -> dict[str, Any]:
        """Write the weights that everyone was heard for, with the held-out figures of both lines; returns those."""
        together: dict[str, dict[str, dict[str, Any]]] = {"small": {}, "large": {}}
        for fold in range(FOLDS):
            found = json.loads((self.work / f"held{fold}.json").read_text(encoding="utf-8"))
            for line, kinds in found.items():
                for kind, readings in kinds.items():
                    together[line].setdefault(kind, {}).update(readings)
        figures = {
            line: {kind: figures_of(readings) for kind, readings in kinds.items()} for line, kinds in together.items()
        }
        (self.work / "folds.json").write_text(json.dumps(self.texts.folds, indent=1), encoding="utf-8")
        kept = TextWeights.load(self.work / "everyone.safetensors")
        told = {
            "command": "python -m scripts.distil_text",
            "reviews": len(self.texts.reviews),
            "recipe": dict(self.own),
            "cross_validation": figures["small"],
            "large": figures["large"],
        }
        TextWeights(kept.base, kept.adapter, kept.head, told, encoder=SMALL_BASE).save(out)
        return figures


def _base() -> str:
    """The sha256 of the encoder that the weights belong to."""
    return next(file.sha256 for file in CATALOGUE[SMALL_BASE].files if file.name == "model.safetensors")


def main() -> None:
    """Distil, cross-validate, write, print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--work", type=Path, default=zoo.cache().parent / "textline", help="of scripts/train_text.py")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--recognised", type=Path, help="what recognisers heard in the clips: {clip: {kind: text}}")
    cli.add_argument("--out", type=Path, default=SMALL_WEIGHTS)
    args = cli.parse_args()
    torch.set_num_threads(1)
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    recognised = json.loads(args.recognised.read_text(encoding="utf-8")) if args.recognised else {}
    begin_s = time.monotonic()
    distiller = Distiller(Trainer(args.data, args.work, settings, recognised))
    distiller.work.mkdir(parents=True, exist_ok=True)
    distiller.first()
    distiller.second()
    figures = distiller.merge(args.out)
    print(json.dumps({"minutes": round((time.monotonic() - begin_s) / 60, 1), "figures": figures}))


if __name__ == "__main__":
    main()
