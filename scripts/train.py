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
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from training.acted import Acted
from training.context import fit_context
from training.held import Held, calibration_rows, summary
from training.held import save as save_held
from training.trainer import Trainer, speaker_folds

from models import calibrate, zoo
from models.checkpoint import Checkpoint, save
from models.sentence import learned
from realtime.extract.schema import schema_hash
from realtime.parts import TEXT


def main() -> None:
    """Cross-validate, train on all, write the weights."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--settings", type=Path, default=Path("configs/training.yaml"))
    cli.add_argument("--folds", type=int, default=5)
    cli.add_argument("--threads", type=int, default=1, help="CPU threads (default 1: the steps are small)")
    cli.add_argument("--out", type=Path, default=Path("models/weights/agfn.safetensors"))
    cli.add_argument("--held", type=Path, help="write the held-out predictions to this .npz")
    args = cli.parse_args()
    torch.set_num_threads(args.threads)
    begin_s = time.monotonic()
    trainer = Trainer(args.data, args.cache, yaml.safe_load(args.settings.read_text(encoding="utf-8")))
    first = trainer.first_stage()
    acted = Acted(trainer)
    held: list[Held] = []
    for number, group in enumerate(speaker_folds(trainer.clips, args.folds)):
        made = trainer.make(first, group, acted.samples(number, args.folds))
        held += made.held
        acted.judge(made.model, number, args.folds)
        print(f"fold {number}:", json.dumps(summary(made.held)["clean"]), file=sys.stderr, flush=True)
    if args.held:
        save_held(held, args.held)
    remembered = fit_context(held)
    calibration, table = calibrate.fit(calibration_rows(held, trainer.settings["calibrated"]))
    made = trainer.make(first, set(), acted.samples())
    metadata = {
        "command": " ".join(["python", "scripts/train.py", *sys.argv[1:]]),
        "commit": _commit(),
        "seed": trainer.recipe.seed,
        "recipe": asdict(trainer.recipe),
        "data": {"clips": len(trainer.clips), "mosi": len(trainer.mosi), "voices": len(trainer.voices)},
        "metrics": summary(held) if held else {},
        "with_context": remembered.figures,
        "acted": acted.figures(),
        "calibration": table,
        "minutes": round((time.monotonic() - begin_s) / 60, 1),
    }
    extra = {TEXT + name: tensor for name, tensor in learned(made.adapted.encoder, made.adapted.head).items()}
    save(args.out, Checkpoint(made.model, schema_hash(), calibration, metadata, extra, remembered.context))
    print(json.dumps(metadata))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
