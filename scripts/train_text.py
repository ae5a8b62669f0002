"""Train the text line (MPNet's adapter and head) in two stages, and cross-validate it over the speakers of CMU-MOSI.

python -m scripts.train_text {first,second,...} [--data ../shared/data] [--work DIR] [--recognised FILE.json] [--jobs N]

`first` learns from phrases, sentences and comments that strangers wrote, and keeps the result in the work folder.
`second` goes on from there with CMU-MOSI: once for each of five folds of speakers, whose weights are kept
(fold0.safetensors ..., folds.json) and judged on the speakers they do not know, on true words and on what recognisers
heard; and once on all, for the weights that are shipped. --recognised is a file of {clip: {kind of recognition: text}}.
`prepare`, `fold` and `merge` are the parts of `second`, and `first --side 0/3` is a third of the first stage, for
several processes side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from models import zoo
from models.catalogue import CATALOGUE
from models.mpnet import FROZEN, MPNet
from models.textline import BASE, WEIGHTS
from scripts.training.adapt import Sentence, sentence
from scripts.training.misheard import Misheard
from scripts.training.sentences import first_stage, spoken_reviews, sst, vocabulary
from scripts.training.textline import Course, Learned, Learner, Side, average, fit, folds_of, judged, weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDS = 5
EVERYONE = -1
"""Number of the fold that holds nobody out."""
SAID = "said"
FIRST = "first.safetensors"


def say(text: str) -> None:
    """Tell of the progress on standard error, with the time."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Review:
    """A review: the clip, who speaks, the true words, and what recognisers made of them, by kind."""

    clip: str
    video: str
    said: Sentence
    recognised: Mapping[str, Sentence] = field(default_factory=dict)


@dataclass(frozen=True)
class Trainer:
    """What the stages share: the data, the settings and where results are kept."""

    data: Path
    work: Path
    settings: Mapping[str, Any]
    recognised: Mapping[str, Mapping[str, str]]

    @property
    def own(self) -> Mapping[str, Any]:
        """The settings of the text line."""
        made: Mapping[str, Any] = self.settings["textline"]
        return made

    def learner(self, states: str) -> Learner:
        """A text line at its beginning; the states of the frozen layers are kept under a name."""
        torch.manual_seed(0)
        encoder = MPNet.load(zoo.path(BASE))
        encoder.add_adapter(self.own["rank"], FROZEN)
        return Learner(encoder, self.work / f"{states}.npz")

    def first(self, side: Side) -> dict[str, float]:
        """Train and keep the first stage; returns its figures on film sentences that it never saw."""
        texts, course = self.strangers, Course(**self.own["first"])
        epochs = [texts] * course.epochs
        say(f"{len(texts)} texts, {sum(len(item.words) for item in texts)} words")
        learner = self.learner("first")
        learner.states.ensure(
            {item.words for item in epochs[0]}, lambda done, total: say(f"states {done}/{total}") if done else None
        )
        if not (self.work / "first.npz").exists():
            learner.states.save()
        side.join(self.work / "first.meeting")
        fit(learner, epochs, course, say, side)
        if side.rank > 0:
            return {}
        adapter, head = learner.learned()
        named = {f"adapter.{name}": value for name, value in adapter.items()}
        save_file(named | {f"head.{name}": value for name, value in head.items()}, self.work / FIRST)
        held = [item for item, root in sst(self.data, "dev") if root][:400]
        return judged(learner.read([item.words for item in held]), labels(held))

    @cached_property
    def strangers(self) -> list[Sentence]:
        """The texts of the first stage, some of them with invented recognition errors."""
        texts = first_stage(self.data, self.settings, self.own["sizes"])
        rng = np.random.default_rng(1)
        misheard, share = Misheard(vocabulary(texts)), self.own["first"]["misheard"]
        return [heard(item, misheard, share, rng) for item in texts]

    def first_learned(self) -> Learned:
        """What the first stage learned."""
        tensors = load_file(self.work / FIRST)
        adapter, head = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("adapter.", "head.")
        )
        return adapter, head

    @cached_property
    def reviews(self) -> list[Review]:
        """CMU-MOSI, with the recognised words of the clips."""
        out = []
        for clip, video, said in spoken_reviews(self.data):
            texts = self.recognised.get(clip, {})
            made = {kind: one for kind, text in texts.items() if (one := sentence(text, said.label))}
            out.append(Review(clip, video, said, made))
        return out

    @cached_property
    def folds(self) -> dict[str, int]:
        """The fold of each speaker; those with clips are spread over all folds."""
        rows = csv_videos(self.data)
        return folds_of([item.video for item in self.reviews], rows, FOLDS)

    def epochs(self, seed: int) -> list[list[list[Sentence]]]:
        """What is made of each review in each epoch: as said, as recognised, or with invented errors; and a beginning.

        A beginning keeps the label: so much is still open after a few words.
        """
        course = Course(**self.own["second"])
        misheard = Misheard(vocabulary(item.said for item in self.reviews))
        out = []
        for epoch in range(course.epochs):
            made = []
            for item in self.reviews:
                # Each review has luck of its own, so that one more recognition changes no other.
                rng = np.random.default_rng([seed, epoch, zlib.crc32(item.clip.encode())])
                texts = [heard(choice(item, rng), misheard, course.misheard, rng)]
                if len(item.said.words) >= 4 and rng.random() < self.own["beginnings"]:
                    texts.append(Sentence(item.said.words[: int(rng.integers(1, 5))], item.said.label))
                made.append(texts)
            out.append(made)
        return out

    @cached_property
    def fragments(self) -> list[Sentence]:
        """Rated fragments of the first stage, that the second must not forget."""
        return first_stage(self.data, self.settings, {"longest": 3, "fragments": self.own["fragments"]})

    def prepare(self) -> None:
        """Say who is in which fold, and compute the states that all folds need, once."""
        (self.work / "folds.json").write_text(json.dumps(self.folds, indent=1), encoding="utf-8")
        learner = self.learner("second")
        epochs = [epoch for seed in range(self.own["seeds"]) for epoch in self.epochs(seed)]
        texts = {one.words for epoch in epochs for made in epoch for one in made}
        texts |= {one.words for one in self.fragments}
        texts |= {item.said.words for item in self.reviews}
        texts |= {one.words for item in self.reviews for one in item.recognised.values()}
        learner.states.ensure(texts, lambda done, total: say(f"states {done}/{total}") if done else None)
        learner.states.save()

    def second(self, fold: int) -> dict[str, Any]:
        """Train one fold, keep its weights, and return what it reads of those it does not know, by kind of words."""
        torch.set_num_threads(1)
        begin_s = time.monotonic()
        learner = self.learner("second")
        known = [self.folds[item.video] != fold for item in self.reviews]
        runs = []
        for seed in range(self.own["seeds"]):
            epochs = [
                [one for made, at in zip(epoch, known, strict=True) if at for one in made] + self.fragments
                for epoch in self.epochs(seed)
            ]
            learner.restore(self.first_learned())
            fit(learner, epochs, Course(**self.own["second"], seed=seed), say)
            runs.append(learner.learned())
        learned = average(runs, 2 * self.own["rank"])
        packed = weights(learned, base_sha256(), {"fold": fold})
        if fold == EVERYONE:
            packed.save(self.work / "everyone.safetensors")
            return {}
        packed.save(self.work / f"fold{fold}.safetensors")
        if len(runs) > 1:
            learner = self.learner("second")
            learner.use(learned)
        held = [item for item, at in zip(self.reviews, known, strict=True) if not at]
        readings: dict[str, Any] = {}
        for kind in [SAID, *sorted({kind for item in held for kind in item.recognised})]:
            words = [(item.clip, item.said if kind == SAID else item.recognised.get(kind)) for item in held]
            found = [(clip, item) for clip, item in words if item]
            read = learner.read([item.words for _, item in found])
            readings[kind] = {
                clip: [*map(float, row), item.label] for (clip, item), row in zip(found, read, strict=True)
            }
        (self.work / f"held{fold}.json").write_text(json.dumps(readings), encoding="utf-8")
        say(f"fold {fold}: {json.dumps(figures_of(readings[SAID]))} {time.monotonic() - begin_s:.0f} s")
        return readings


def heard(item: Sentence, misheard: Misheard, share: float, rng: np.random.Generator) -> Sentence:
    """Put invented recognition errors into a share of the sentences; the label stays."""
    return Sentence(misheard(item.words, rng), item.label) if rng.random() < share else item


def choice(item: Review, rng: np.random.Generator) -> Sentence:
    """Return a review's words as they were said or, half of the time, as one of its recognitions has them."""
    others = list(item.recognised.values())
    return others[int(rng.integers(len(others)))] if others and rng.random() < 0.5 else item.said


def csv_videos(data: Path) -> set[str]:
    """Speakers of whom there are clips."""
    return {path.stem.rsplit("_", 1)[0] for path in (data / "mosi_clips").glob("*.mp4")}


def labels(items: Sequence[Sentence]) -> np.ndarray:
    """Labels (N,) of sentences."""
    return np.array([item.label for item in items], np.float32)


def figures_of(readings: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Figures of readings by clip, each (location, log scale, label)."""
    table = np.array(list(readings.values()), np.float32)
    return judged(table[:, :2], table[:, 2])


def base_sha256() -> str:
    """The sha256 of the encoder that the weights belong to."""
    return next(file.sha256 for file in CATALOGUE[BASE].files if file.name == "model.safetensors")


def second(trainer: Trainer, jobs: int) -> None:
    """Run the second stage on all folds and on everyone."""
    trainer.prepare()
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for _ in pool.map(trainer.second, [*range(FOLDS), EVERYONE]):
            pass


def merge(trainer: Trainer, out: Path) -> dict[str, Any]:
    """Write the weights that everyone was heard for, with the held-out figures of all folds, and return those."""
    together: dict[str, dict[str, Sequence[float]]] = {}
    for fold in range(FOLDS):
        part = json.loads((trainer.work / f"held{fold}.json").read_text(encoding="utf-8"))
        for kind, readings in part.items():
            together.setdefault(kind, {}).update(readings)
    figures = {kind: figures_of(readings) for kind, readings in together.items()}
    if clips := sorted(set(trainer.recognised) & set(together[SAID])):
        figures["said, of the recognised"] = figures_of({clip: together[SAID][clip] for clip in clips})
    metadata = {
        "command": "python -m scripts.train_text first, then second",
        "reviews": len(trainer.reviews),
        "recipe": dict(trainer.own),
        "cross_validation": figures,
    }
    save_with(trainer.work / "everyone.safetensors", metadata, out)
    return figures


def save_with(file: Path, metadata: Mapping[str, Any], out: Path) -> None:
    """Write weights again with what is said about them."""
    from models.text_weights import TextWeights  # noqa: PLC0415

    replace(TextWeights.load(file), metadata=dict(metadata)).save(out)


def main() -> None:
    """Run a stage."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("stage", choices=("first", "second", "prepare", "fold", "merge"))
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--work", type=Path, default=zoo.cache().parent / "textline")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--recognised", type=Path, help="what recognisers heard in the clips: {clip: {kind: text}}")
    cli.add_argument("--jobs", type=int, default=2, help="folds at a time, each on one core (default 2)")
    cli.add_argument("--fold", type=int, default=EVERYONE, help="fold: which one (default: hold nobody out)")
    cli.add_argument("--side", default="0/1", help="first: this process and how many there are, such as 1/3")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args()
    torch.set_num_threads(1)
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    args.work.mkdir(parents=True, exist_ok=True)
    recognised = json.loads(args.recognised.read_text(encoding="utf-8")) if args.recognised else {}
    begin_s = time.monotonic()
    trainer = Trainer(args.data, args.work, settings, recognised)
    figures: dict[str, Any] = {}
    if args.stage == "first":
        figures = trainer.first(Side(*map(int, args.side.split("/"))))
    elif args.stage == "prepare":
        trainer.prepare()
    elif args.stage == "fold":
        trainer.second(args.fold)
    elif args.stage == "second":
        second(trainer, args.jobs)
    if args.stage in {"second", "merge"}:
        figures = merge(trainer, args.out)
    print(json.dumps({"stage": args.stage, "minutes": round((time.monotonic() - begin_s) / 60, 1), "figures": figures}))


if __name__ == "__main__":
    main()
