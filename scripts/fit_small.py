"""Fit context and uncertainty of the small text line on held-out speakers, and write both into its weights file.

python -m scripts.fit_small --folds DIR [--data ../shared/data] [--cache DIR] [--held FILE.csv] [--out FILE]

As scripts/fit.py does it for the large line: on the tapes of scripts/features.py, each clip read by the small line of
its fold (scripts/distil_text.py leaves them in small/), which did not know the speaker. Without second readings, which
small machines leave out (configs/pi.yaml), unless --readings. The fusion's own numbers stay those of the shipped
weights, for both lines. The figures of what would have been published, every speaker judged by the uncertainty of the
others, go into the file and to standard output as one line of JSON. --silence only takes over how sure windows without
words are, after scripts/fit.py: they are the same for both lines.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from models import zoo
from models.checkpoint import load
from models.live import LiveAGFN
from models.text_weights import TextWeights
from models.textline import SMALL_BASE, SMALL_WEIGHTS, TextLine
from models.uncertainty import Uncertainty, cross, fit
from models.weightsfile import CheckpointError, read
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS
from scripts.evaluation.published import figures as told_figures
from scripts.evaluation.published import rounded
from scripts.fit import DAMAGES, Once, figures, judged, turns, write_held
from scripts.train_text import FOLDS
from scripts.training import corpora
from scripts.training.context import fit_context
from scripts.training.gate import as_shipped
from scripts.training.live import folds_of, hear_all, known
from scripts.training.publish import published

SILENT = ("none", "listening")
"""States of windows without words."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.training.live import Heard


def heard_of(args: argparse.Namespace, number: int) -> list[Heard]:
    """Replay the clips of a fold under every damage, read by the small line that does not know its speakers."""
    torch.set_num_threads(1)
    fold = folds_of(args.folds / "folds.json")
    reader = Once(TextLine.load(zoo.path(SMALL_BASE), args.folds / f"fold{number}.safetensors"))
    part = [example for example in corpora.mosi_clips(args.data) if fold[example.speaker] == number]
    clips = tqdm(part, desc=f"fold {number}", mininterval=10)
    return [
        clip for example in clips for clip in hear_all(args.cache, example, DAMAGES, reader, readings=args.readings)
    ]


def run(args: argparse.Namespace, heard: Sequence[Heard]) -> dict[str, Any]:
    """Fit on the clips of all folds, and write."""
    model = load(args.weights, schema_hash()).model
    if not isinstance(model, LiveAGFN):
        raise TypeError(f"{args.weights} holds no live fusion")
    context = fit_context(turns(heard))
    rows = known(model, heard, context.context)
    score, spread = as_shipped(model, rows)
    held = judged(rows, score, spread)
    told = []
    for speaker in sorted(set(rows.group)):
        own = [clip for clip in heard if clip.example.speaker == speaker]
        told += published(model, own, context.context, fit(held.take(held.group != speaker)))
    found = {
        "command": "python -m scripts.fit_small --folds DIR",
        "clips": len({clip.example.id for clip in heard}),
        "metrics": figures(rows, score),
        "published": rounded(told_figures(told)),
        "calibration": cross(held),
        "context": {"alone": context.alone, "followed": context.followed},
    }
    if args.held:
        write_held(args.held, told)
    learned = TextWeights.load(args.small)
    judgement = (context.context, fit(held))
    replace(learned, metadata=learned.metadata | {"fit": found}, judgement=judgement).save(args.out)
    return found


def take_silence(args: argparse.Namespace) -> dict[str, Any]:
    """Take over how sure windows without words are: their voices and faces are those of the fusion's weights."""
    fusion, learned = read(args.weights, schema_hash()), TextWeights.load(args.small)
    if fusion.uncertainty is None or learned.judgement is None:
        raise CheckpointError(f"{args.weights} or {args.small} says nothing of uncertainty")
    context, own = learned.judgement
    silent = {state: fusion.uncertainty.parts[state] for state in SILENT}
    replace(learned, judgement=(context, Uncertainty({**own.parts, **silent}))).save(args.out)
    return {"command": "python -m scripts.fit_small --silence", "states": list(SILENT)}


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    what = cli.add_mutually_exclusive_group(required=True)
    what.add_argument("--folds", type=Path, help="folder with the small line of every fold")
    what.add_argument("--silence", action="store_true", help="only take over what the fusion's weights say of silence")
    cli.add_argument("--weights", type=Path, default=WEIGHTS, help="the fusion's weights")
    cli.add_argument("--small", type=Path, default=SMALL_WEIGHTS, help="the small line that the fit is for")
    cli.add_argument("--held", type=Path, help="write the held-out predictions at sentence ends to this .csv")
    cli.add_argument("--readings", action="store_true", help="with the second readings of the tapes")
    cli.add_argument("--jobs", type=int, default=2, help="folds at a time, each on one core (default 2)")
    cli.add_argument("--out", type=Path, default=SMALL_WEIGHTS)
    return cli.parse_args(argv)


def main() -> None:
    """Fit, write, print."""
    args = options()
    torch.set_num_threads(1)
    if args.silence:
        print(json.dumps(take_silence(args)))
        return
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        parts = pool.map(partial(heard_of, args), range(FOLDS))
        heard = [clip for part in parts for clip in part]
    print(json.dumps(run(args, heard)))


if __name__ == "__main__":
    main()
