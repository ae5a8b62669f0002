"""Train the text adapter and one AGFN over all corpora, and write the weights file.

python scripts/train.py [--data ../shared/data] [--cache DIR] [--folds N] [--out models/weights/agfn.safetensors]

Needs the features of scripts/features.py. First a cross-validation over the speakers of the clips (--folds, 0 skips
it): each fold adapts MiniLM without the held-out speakers' words and trains AGFN without their clips; the held-out
predictions give the figures and the calibration. Then everything is trained once more on all speakers. The figures,
the command and the seed go into the weights file and to standard output as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from training import corpora
from training.adapt import Adapted, Sentence, Stage, fit, sentence
from training.fusion import Recipe, Sample, predict, train
from training.paths import faces_path, tape_path
from training.tape import load as load_tape
from training.windows import DIMS, face_view, replay, sentence_view

from models import calibrate, zoo
from models.agfn import AGFN, AgfnConfig
from models.checkpoint import Checkpoint, save
from models.metrics import all_metrics
from models.sentence import SentenceEncoder, learned
from realtime.config import Config
from realtime.extract.schema import schema_hash
from realtime.extract.text import TextExtractor
from realtime.parts import TEXT
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import WindowView


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's windows under one damage."""

    example: corpora.Example
    damage: str
    views: list[WindowView]


class Trainer:
    """Holds the data of one training run."""

    def __init__(self, data: Path, cache: Path, settings: dict[str, Any]) -> None:
        self.data, self.cache, self.settings = data, cache, settings
        self.config = Config()
        self.recipe = Recipe(**settings["fusion"])
        self.network = AgfnConfig(inputs={name: DIMS[name] for name in MODALITIES}, **settings["network"])
        emotions = settings["emotions"]
        self.mosi = list(corpora.mosi_text(data))
        self.clips = list(corpora.mosi_clips(data))
        self.voices = [*corpora.ravdess(data, emotions), *corpora.emodb(data, emotions)]
        spoken = [*corpora.rated_snippets(data), *corpora.meld(data, emotions, settings["sentiments"])]
        self.spoken = [example for example in spoken if len(example.text.split()) <= settings["text"]["longest"]]
        self.damages: list[str] = settings["damage"]

    def first_stage(self) -> dict[str, torch.Tensor]:
        """Adapt to rated and spoken sentences; no speaker of CMU-MOSI is in them. Kept in the cache."""
        stage, rank = Stage(**self.settings["text"]["first"]), self.settings["text"]["rank"]
        path = self.cache / f"text-first-{rank}-{stage.epochs}-{stage.lr:g}-{len(self.spoken)}.safetensors"
        model = Adapted(zoo.path("text"), rank)
        if path.exists():
            return load_file(path)
        fit(model, _sentences(self.spoken), stage)
        state = {name: tensor for name, tensor in model.state_dict().items() if _learned(name)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        return state

    def adapter(self, first: dict[str, torch.Tensor], held_out: set[str]) -> Adapted:
        """Adapt further to CMU-MOSI, true words and recognised ones, without the held-out speakers."""
        model = Adapted(zoo.path("text"), self.settings["text"]["rank"])
        model.load_state_dict(first, strict=False)
        true = _sentences([example for example in self.mosi if example.speaker not in held_out])
        heard = [
            item
            for example in self.clips
            if example.speaker not in held_out and (item := sentence(self.heard(example), example.label))
        ]
        fit(model, [*true, *heard], Stage(**self.settings["text"]["second"]))
        return model

    def heard(self, example: corpora.Example) -> str:
        """Return what the recogniser committed over a clean clip."""
        items, _ = load_tape(tape_path(self.cache, example.corpus, example.id, "clean"))
        return " ".join(word.text for _, item in items for word in getattr(item, "committed", ()))

    def clip_windows(
        self,
        examples: Sequence[corpora.Example],
        damages: Sequence[str],
        encoder: SentenceEncoder | None,
        every: int,
    ) -> list[Clip]:
        """Replay the tapes of clips into windows."""
        found = []
        for damage in damages:
            for example in tqdm(examples, desc=f"windows {damage}", mininterval=10, leave=False):
                path = tape_path(self.cache, example.corpus, example.id, damage)
                if not path.exists():
                    continue
                text = None if encoder is None else TextExtractor(encoder)
                views = [view for view, _ in replay(load_tape(path), text, self.config, every=every)]
                found.append(Clip(example, damage, views))
        return found

    def voice_clips(self) -> list[Clip]:
        """Return the windows of acted voices: no words are looked for in them."""
        audible = [damage for damage in self.damages if damage.split(":")[0] in {"clean", "noise"}]
        return self.clip_windows(self.voices, audible, None, 4)

    def face_samples(self, weight: float) -> list[Sample]:
        """FER2013 through the landmarker; every third picture is held out for evaluation."""
        path = faces_path(self.cache, "fer2013")
        if not path.exists():
            return []
        rng = np.random.default_rng(1)
        with np.load(path, allow_pickle=False) as arrays:
            rows, labels = arrays["rows"], arrays["label"]
        train_rows = [row for row in range(len(rows)) if row % 3 and np.isfinite(rows[row]).all()]
        return [Sample(face_view(rows[row], rng), float(labels[row]), weight) for row in train_rows]

    def text_samples(self, encoder: SentenceEncoder, held_out: set[str], weight: float) -> list[Sample]:
        """Return written sentences laid out in time: a part of the rated and spoken ones, and CMU-MOSI's."""
        rng = np.random.default_rng(2)
        part = [self.spoken[index] for index in rng.permutation(len(self.spoken))[: self.settings["spoken_windows"]]]
        mosi = [example for example in self.mosi if example.speaker not in held_out]
        samples = []
        for example in [*part, *mosi]:
            item = sentence(example.text, example.label)
            if item is not None:
                vectors = encoder.encode(item.words)
                samples.append(Sample(sentence_view(vectors, rng, self.config), example.label, weight))
        return samples

    def fold(
        self, first: dict[str, torch.Tensor], held_out: set[str], shared: list[Sample]
    ) -> tuple[AGFN, Adapted, list[Clip]]:
        """Train without some speakers; return the model, its text adapter and the held-out clips' windows."""
        adapted = self.adapter(first, held_out)
        weights = self.settings["weights"]
        encoder = adapted.frozen()
        clips = self.clip_windows(self.clips, self.damages, encoder, 1)
        inside = [clip for clip in clips if clip.example.speaker not in held_out]
        samples = [
            *shared,
            *self.text_samples(encoder, held_out, weights["text"]),
            *_samples(inside, weights["clips"]),
        ]
        model = train(samples, self.network, self.recipe)
        return model, adapted, [clip for clip in clips if clip.example.speaker in held_out]


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out predictions of one clip: a value per window."""

    example: corpora.Example
    damage: str
    score: np.ndarray
    spread: np.ndarray
    reliability: np.ndarray
    weights: np.ndarray
    present: np.ndarray


def _samples(clips: Sequence[Clip], weight: float) -> list[Sample]:
    """Every clip counts the same, however long it is; damaged ones share what the clean one has."""
    return [
        Sample(view, clip.example.label, weight / len(clip.views) * (1.0 if clip.damage == "clean" else 0.4))
        for clip in clips
        for view in clip.views
        if any(segment.reliability > 0 for segment in view.segments.values())
    ]


def _predict(model: AGFN, clips: Sequence[Clip]) -> list[Held]:
    held = []
    for clip in clips:
        out = predict(model, clip.views)
        held.append(
            Held(
                clip.example,
                clip.damage,
                *(out[key] for key in ("score", "spread", "reliability", "weights", "present")),
            )
        )
    return held


def summary(held: Sequence[Held]) -> dict[str, Any]:
    """Figures over clips per damage: the mean over a clip's windows against its label."""
    table = {}
    for damage in sorted({item.damage for item in held}):
        rows = [item for item in held if item.damage == damage]
        found = np.array([item.score[item.present].mean() if item.present.any() else 0.0 for item in rows])
        label = np.array([item.example.label for item in rows])
        weights = np.array([item.weights[item.present].mean(0) if item.present.any() else np.zeros(3) for item in rows])
        table[damage] = {
            **{key: round(float(value), 4) for key, value in all_metrics(label, found).items()},
            "weights": dict(zip(MODALITIES, weights.mean(0).round(3).tolist(), strict=True)),
        }
    return table


def calibration_rows(held: Sequence[Held]) -> calibrate.Held:
    """Every fourth window of the held-out clips, as the calibration wants them."""
    rows = [(item, index) for item in held for index in range(0, len(item.score), 4) if item.present[index]]
    return calibrate.Held(
        score=np.array([item.score[index] for item, index in rows]),
        spread=np.array([item.spread[index] for item, index in rows]),
        reliability=np.array([item.reliability[index] for item, index in rows]),
        target=np.array([item.example.label for item, _ in rows]),
        group=np.array([item.example.speaker for item, _ in rows]),
    )


def _sentences(examples: Sequence[corpora.Example]) -> list[Sentence]:
    return [item for example in examples if (item := sentence(example.text, example.label))]


def _learned(name: str) -> bool:
    return name.startswith("head.") or name.endswith((".down", ".up"))


def speaker_folds(examples: Sequence[corpora.Example], folds: int) -> list[set[str]]:
    """Speakers in `folds` groups of about the same number of clips: the largest first, each to the smallest group."""
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.speaker] = counts.get(example.speaker, 0) + 1
    groups: list[set[str]] = [set() for _ in range(min(folds, len(counts)))]
    for speaker in sorted(counts, key=lambda name: (-counts[name], name)):
        min(groups, key=lambda group: sum(counts[name] for name in group)).add(speaker)
    return groups


def main() -> None:
    """Cross-validate, train on all, write the weights."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--folds", type=int, default=5)
    cli.add_argument("--threads", type=int, default=1, help="CPU threads (default 1: the steps are small)")
    cli.add_argument("--out", type=Path, default=Path("models/weights/agfn.safetensors"))
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    begin_s = time.monotonic()
    trainer = Trainer(args.data, args.cache, yaml.safe_load(args.settings.read_text(encoding="utf-8")))
    weights = trainer.settings["weights"]
    first = trainer.first_stage()
    shared = [*_samples(trainer.voice_clips(), weights["voice"]), *trainer.face_samples(weights["face"])]
    held: list[Held] = []
    for number, group in enumerate(speaker_folds(trainer.clips, args.folds)):
        model, _, outside = trainer.fold(first, group, shared)
        held += _predict(model, outside)
        print(f"fold {number}:", json.dumps(summary(held)["clean"]), file=sys.stderr, flush=True)
    figures = summary(held) if held else {}
    calibration, table = calibrate.fit(calibration_rows(held))
    model, adapted, _ = trainer.fold(first, set(), shared)
    metadata = {
        "command": " ".join(["python", "scripts/train.py", *sys.argv[1:]]),
        "commit": _commit(),
        "seed": trainer.recipe.seed,
        "recipe": asdict(trainer.recipe),
        "data": {"clips": len(trainer.clips), "mosi": len(trainer.mosi), "voices": len(trainer.voices)},
        "metrics": figures,
        "calibration": table,
        "minutes": round((time.monotonic() - begin_s) / 60, 1),
    }
    extra = {TEXT + name: tensor for name, tensor in learned(adapted.encoder, adapted.head).items()}
    save(args.out, Checkpoint(model, schema_hash(), calibration, metadata, extra))
    print(json.dumps(metadata))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
