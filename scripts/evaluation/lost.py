"""`evaluate.py lost`: what is published of labelled clips when no words can be had: how loud, and how often right.

The tapes of CMU-MOSI's clips are replayed without their words, fused, smoothed and judged as the live stream does it.
Each speaker's interval is the one that the others' windows give; what the shipped weights give stands beside it.
Prints one line of JSON: `score` is the mean size of the score, `coverage` and `width` are of the 90 % interval, at the
end of each clip and over all windows.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from models import zoo
from models.checkpoint import load
from models.live import LiveAGFN
from models.uncertainty import fit
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS
from scripts.evaluation.published import ends, intervals, rounded
from scripts.fit import judged
from scripts.training import corpora
from scripts.training.gate import as_shipped
from scripts.training.live import hear_all, known
from scripts.training.publish import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.context import Context
    from models.uncertainty import Uncertainty
    from scripts.evaluation.published import Told
    from scripts.training.live import Heard

DAMAGE = "without:text"


def figures(clips: Sequence[Told]) -> dict[str, Any]:
    """Size of the score, and coverage and width of the interval, at the ends of clips and over their windows."""
    label = np.array([clip.label for clip in clips])
    scored = [np.isfinite(clip.score) for clip in clips]
    score, low, high = (
        np.concatenate([getattr(clip, name)[on] for clip, on in zip(clips, scored, strict=True)])
        for name in ("score", "low", "high")
    )
    every = np.concatenate([np.full(on.sum(), clip.label) for clip, on in zip(clips, scored, strict=True)])
    at_end = intervals(label, ends(clips, "low"), ends(clips, "high"))
    return {
        "clips": len(clips),
        "end_score": float(np.abs(ends(clips, "score")).mean()),
        "end_coverage": at_end["coverage"],
        "end_width": at_end["width"],
        "windows": len(score),
        "score": float(np.abs(score).mean()),
        "coverage": intervals(every, low, high)["coverage"],
        "width": intervals(every, low, high)["width"],
    }


def by_speaker(model: LiveAGFN, heard: Sequence[Heard], context: Context) -> list[Told]:
    """What would have been published, each speaker's interval by the windows of the others."""
    rows = known(model, heard, context)
    held = judged(rows, *as_shipped(model, rows))
    found: list[Told] = []
    for name in sorted({clip.example.speaker for clip in heard}):
        sure = fit(held.take(held.group != name))
        found += [told(model, clip, context, sure) for clip in heard if clip.example.speaker == name]
    return found


def shipped(model: LiveAGFN, heard: Sequence[Heard], context: Context, sure: Uncertainty) -> list[Told]:
    """What would have been published by the shipped weights, whose interval knew these clips."""
    return [told(model, clip, context, sure) for clip in heard]


def main(options: Sequence[str]) -> None:
    """Replay, judge, print."""
    cli = argparse.ArgumentParser(prog="evaluate.py lost", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features", help="of scripts/features.py")
    cli.add_argument("--weights", type=Path, default=WEIGHTS)
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    checkpoint = load(args.weights, schema_hash())
    model, sure = checkpoint.model, checkpoint.uncertainty
    if not isinstance(model, LiveAGFN) or sure is None:
        raise SystemExit(f"error: {args.weights} holds no live fusion")
    examples = tqdm(list(corpora.mosi_clips(args.data)), desc="clips", mininterval=10)
    heard = [clip for example in examples for clip in hear_all(args.cache, example, [DAMAGE], None)]
    if not heard:
        raise SystemExit(f"error: no tapes in {args.cache}; make them with python -m scripts.features")
    found = {
        "by_speaker": figures(by_speaker(model, heard, checkpoint.context)),
        "shipped": figures(shipped(model, heard, checkpoint.context, sure)),
    }
    print(json.dumps(rounded(found)))
