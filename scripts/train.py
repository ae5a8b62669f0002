"""Train the adapter of MiniLM and one AGFN over all corpora, as the paper describes it: for comparison, not for use.

python -m scripts.train [--data ../shared/data] [--cache DIR] [--folds N] [--out agfn-plain.safetensors]

Needs the features of scripts/features.py. First a cross-validation over the speakers of the clips (--folds): each fold
adapts MiniLM without the held-out speakers' words and trains AGFN without their clips; the held-out predictions give
the figures and the calibration. Then everything is trained once more on all speakers. The figures, the command and the
seed go into the weights file and to standard output as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from models import calibrate, zoo
from models.checkpoint import Checkpoint, save
from realtime.extract.schema import schema_hash
from scripts.training.acted import Acted, Judged, figures
from scripts.training.held import calibration_rows, summary
from scripts.training.held import save as save_held
from scripts.training.trainer import Made, Trainer, speaker_folds

EVERYONE = -1
"""Number of the part that holds nobody out."""


@dataclass(frozen=True, slots=True)
class Part:
    """A model that has not seen the speakers and actors of one fold, and what it says of them."""

    made: Made
    judged: Judged | None


def train_part(data: Path, cache: Path, settings: dict[str, Any], number: int, folds: int) -> Part:
    """Train one fold, in a process of its own: the steps are too small for more than one thread."""
    torch.set_num_threads(1)
    trainer = Trainer(data, cache, settings)
    acted = Acted(trainer)
    group = set() if number == EVERYONE else speaker_folds(trainer.clips, folds)[number]
    made = trainer.make(trainer.first_stage(), group, acted.samples(number, folds))
    if number == EVERYONE:
        return Part(made, None)
    print(f"fold {number}:", json.dumps(summary(made.held)["clean"]), file=sys.stderr, flush=True)
    return Part(made, acted.judge(made.model, number, folds))


def main() -> None:
    """Cross-validate, train on all, write the weights."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--folds", type=int, default=3)
    cli.add_argument("--jobs", type=int, default=2, help="folds at a time, each on one core (default 2)")
    cli.add_argument("--out", type=Path, default=Path("agfn-plain.safetensors"))
    cli.add_argument("--held", type=Path, help="write the held-out predictions to this .npz")
    args = cli.parse_args()
    begin_s = time.monotonic()
    settings = yaml.safe_load(args.settings.read_text(encoding="utf-8"))
    trainer = Trainer(args.data, args.cache, settings)
    trainer.first_stage()
    groups = speaker_folds(trainer.clips, args.folds)
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        jobs = [(args.data, args.cache, settings, number, args.folds) for number in [*range(len(groups)), EVERYONE]]
        *parts, whole = pool.map(train_part, *zip(*jobs, strict=True))
    held = [item for part in parts for item in part.made.held]
    if args.held:
        save_held(held, args.held)
    calibration, table = calibrate.fit(calibration_rows(held, settings["calibrated"]))
    made = whole.made
    metadata = {
        "command": " ".join(["python", "scripts/train.py", *sys.argv[1:]]),
        "commit": _commit(),
        "seed": trainer.recipe.seed,
        "recipe": asdict(trainer.recipe),
        "data": {"clips": len(trainer.clips), "mosi": len(trainer.mosi), "voices": len(trainer.voices)},
        "metrics": summary(held) if held else {},
        "acted": figures([part.judged for part in parts if part.judged]),
        "calibration": table,
        "minutes": round((time.monotonic() - begin_s) / 60, 1),
    }
    save(args.out, Checkpoint(made.model, schema_hash(), calibration, metadata))
    print(json.dumps(metadata))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
