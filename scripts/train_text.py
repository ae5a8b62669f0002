"""Train the text line (MPNet's adapter and head), in stages, and cross-validate it over the speakers of CMU-MOSI.

python scripts/train_text.py {first,cv,final} [--data ../shared/data] [--work DIR] [--recognised FILE.json]

`first` learns from phrases, sentences and comments that strangers wrote, and keeps the result in the work folder.
`cv` goes on from there with CMU-MOSI in five folds of speakers, keeps each fold's weights (fold0.safetensors ...,
folds.json) and prints the held-out figures, on true words and on what the recogniser heard. `final` learns from all
speakers and writes the shipped weights. --recognised is a file of {clip: {kind of recognition: text}}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
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
from models.textline import BASE, WEIGHTS
from scripts.training.adapt import sentence
from scripts.training.misheard import Misheard
from scripts.training.sentences import first_stage, spoken_reviews, sst, vocabulary
from scripts.training.textline import Course, Learner, average, fit, judged, variants, weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.training.adapt import Sentence
    from scripts.training.textline import Learned

FOLDS = 5


def say(text: str) -> None:
    """Tell of the progress on standard error, with the time."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Trainer:
    """What the stages share: the sentences, the settings and the learner."""

    data: Path
    work: Path
    settings: Mapping[str, Any]
    learner: Learner
    recognised: Mapping[str, Mapping[str, str]]

    @property
    def _own(self) -> Mapping[str, Any]:
        own: Mapping[str, Any] = self.settings["textline"]
        return own

    def first(self) -> None:
        """Train and keep the first stage."""
        texts = first_stage(self.data, self.settings, self._own["sizes"])
        course = Course(**self._own["first"])
        rng = np.random.default_rng(1)
        misheard = Misheard(vocabulary(texts), rng)
        epochs = [variants(texts, misheard, course.misheard, rng)] * course.epochs
        say(f"{len(texts)} texts, {sum(len(item.words) for item in texts)} words")
        self.learner.states.ensure(
            {item.words for item in epochs[0]}, lambda done, total: say(f"states {done}/{total}") if done else None
        )
        self.learner.states.save()
        fit(self.learner, epochs, course, say)
        self._keep(self.learner.learned())
        held = [item for item, root in sst(self.data, "dev") if root][:400]
        readings = self.learner.read([item.words for item in held])
        say("film sentences never seen: " + json.dumps(judged(readings, _labels(held))))

    def second(self, rows: Sequence[tuple[str, str, Sentence]], seed: int) -> Learned:
        """Go on from the first stage with reviews as they were said, misheard, and as recognisers heard them."""
        course = Course(**self._own["second"], seed=seed)
        rng = np.random.default_rng(2 + seed)
        misheard = Misheard(vocabulary(item for *_, item in rows), rng)
        epochs = []
        for _ in range(course.epochs):
            heard = [self._heard(clip, item, rng) for clip, _, item in rows]
            epochs.append(variants(heard, misheard, course.misheard, rng))
        self.learner.restore(self._kept())
        fit(self.learner, epochs, course, lambda _: None)
        return self.learner.learned()

    def _heard(self, clip: str, item: Sentence, rng: np.random.Generator) -> Sentence:
        """Return a clip's words as they were said or, half of the time, as one of its recognitions has them."""
        texts = list(self.recognised.get(clip, {}).values())
        if not texts or rng.random() < 0.5:
            return item
        return sentence(texts[int(rng.integers(len(texts)))], item.label) or item

    def _keep(self, learned: Learned) -> None:
        adapter, head = learned
        save_file(
            {f"adapter.{name}": value for name, value in adapter.items()}
            | {f"head.{name}": value for name, value in head.items()},
            self.work / "first.safetensors",
        )

    def _kept(self) -> Learned:
        tensors = load_file(self.work / "first.safetensors")
        return tuple(
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("adapter.", "head.")
        )  # type: ignore[return-value]

    def seeds(self, rows: Sequence[tuple[str, str, Sentence]]) -> Learned:
        """Train the second stage with several seeds and average the weights."""
        runs = [self.second(rows, seed) for seed in range(self._own["seeds"])]
        return average(runs, self._own["rank"] * 2)


def _labels(items: Sequence[Sentence]) -> np.ndarray:
    return np.array([item.label for item in items], np.float32)


def folds_of(rows: Sequence[tuple[str, str, Sentence]], first: Sequence[str], folds: int = FOLDS) -> dict[str, int]:
    """Put speakers into folds of like size; those named first are spread over all of them."""
    sizes: dict[str, int] = {}
    for _, video, _ in rows:
        sizes[video] = sizes.get(video, 0) + 1
    filled = [0] * folds
    known = [0] * folds
    out = {}
    for video in sorted(sizes, key=lambda video: (video not in first, -sizes[video], video)):
        # A named speaker goes where the fewest of them are.
        fold = min(range(folds), key=lambda at: (known[at] if video in first else 0, filled[at]))
        out[video] = fold
        filled[fold] += sizes[video]
        known[fold] += video in first
    return out


def cross_validate(trainer: Trainer) -> dict[str, Any]:
    """Train and judge every fold; returns the figures over all held-out sentences."""
    rows = spoken_reviews(trainer.data)
    clips = sorted({clip.rsplit("_", 1)[0] for clip in trainer.recognised})
    folds = folds_of(rows, clips)
    (trainer.work / "folds.json").write_text(json.dumps(folds, indent=1), encoding="utf-8")
    base = _base()
    kinds = sorted({kind for texts in trainer.recognised.values() for kind in texts})
    readings: dict[str, dict[str, list[Any]]] = {
        kind: {"read": [], "label": [], "clip": []} for kind in ["said", *kinds]
    }
    for fold in range(FOLDS):
        begin_s = time.monotonic()
        held = [row for row in rows if folds[row[1]] == fold]
        learned = trainer.seeds([row for row in rows if folds[row[1]] != fold])
        weights(learned, base, {"fold": fold}).save(trainer.work / f"fold{fold}.safetensors")
        heard = {"said": [(clip, item) for clip, _, item in held]}
        for kind in kinds:
            texts = [(clip, trainer.recognised.get(clip, {}).get(kind), item.label) for clip, _, item in held]
            heard[kind] = [(clip, made) for clip, text, label in texts if text and (made := sentence(text, label))]
        for kind, items in heard.items():
            if not items:
                continue
            said = trainer.learner.read([item.words for _, item in items])
            kept = readings[kind]
            kept["read"] += said.tolist()
            kept["label"] += [item.label for _, item in items]
            kept["clip"] += [clip for clip, _ in items]
        shown = judged(np.array(readings["said"]["read"][-len(held) :]), _labels([item for *_, item in held]))
        say(f"fold {fold}: {json.dumps(shown)} {time.monotonic() - begin_s:.0f} s")
    (trainer.work / "held.json").write_text(json.dumps(readings), encoding="utf-8")
    return {
        kind: judged(np.array(kept["read"], np.float32), np.array(kept["label"], np.float32))
        for kind, kept in readings.items()
        if kept["read"]
    }


def _base() -> str:
    return next(file.sha256 for file in CATALOGUE[BASE].files if file.name == "model.safetensors")


def main() -> None:
    """Run a stage."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("stage", choices=("first", "cv", "final"))
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--work", type=Path, default=zoo.cache().parent / "textline")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--recognised", type=Path, help="what recognisers heard in the clips: {clip: {kind: text}}")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    args = cli.parse_args()
    torch.set_num_threads(1)
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    args.work.mkdir(parents=True, exist_ok=True)
    recognised = json.loads(args.recognised.read_text(encoding="utf-8")) if args.recognised else {}
    begin_s = time.monotonic()
    learner = Learner(zoo.path(BASE), args.work / "states.npz", settings["textline"]["rank"])
    trainer = Trainer(args.data, args.work, settings, learner, recognised)
    figures: dict[str, Any] = {}
    if args.stage == "first":
        trainer.first()
    elif args.stage == "cv":
        figures = cross_validate(trainer)
        (args.work / "cv.json").write_text(json.dumps(figures), encoding="utf-8")
    else:
        rows = spoken_reviews(args.data)
        learned = trainer.seeds(rows)
        known = args.work / "cv.json"
        metadata = {
            "command": " ".join(["python", "scripts/train_text.py", *sys.argv[1:]]),
            "data": {"reviews": len(rows), **settings["textline"]["sizes"]},
            "recipe": settings["textline"],
            "cross_validation": json.loads(known.read_text(encoding="utf-8")) if known.exists() else {},
        }
        weights(learned, _base(), metadata).save(args.out)
    print(json.dumps({"stage": args.stage, "minutes": round((time.monotonic() - begin_s) / 60, 1), **figures}))


if __name__ == "__main__":
    main()
