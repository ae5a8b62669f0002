"""Fit the live fusion, its context and its uncertainty on held-out speakers, and write the weights file.

python -m scripts.fit --folds DIR [--data ../shared/data] [--cache DIR] [--held FILE.csv] [--out FILE]

Needs the tapes of scripts/features.py and, in DIR, the text line of every fold, which did not know its speakers
(fold0.safetensors and so on, folds.json; scripts/train_head.py). Voice and face are taken over from the weights that
are there (--streams): they learned from actors and single pictures. The figures go into the file and to standard
output as one line of JSON. What is published of a speaker is judged with a gate and an uncertainty that were fitted on
the others, kept in DIR/held-SPEAKER.safetensors for `evaluate live --folds`; the weights file holds those of all.
--readings none leaves the second readings of the tapes out.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tqdm import tqdm

from models import zoo
from models.agfn_config import Ablation, AgfnConfig
from models.calibrate import Calibration
from models.checkpoint import EXTRA, Checkpoint, save, state_of
from models.live import LiveAGFN, build
from models.metrics import all_metrics
from models.textline import BASE, TextLine
from models.uncertainty import Judged, cross, fit
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM, schema_hash
from realtime.fuse.worker import WEIGHTS
from scripts.evaluation.published import ends, rounded
from scripts.evaluation.published import figures as told_figures
from scripts.training import corpora
from scripts.training.context import Turn, fit_context
from scripts.training.gate import fit_gate, fused
from scripts.training.live import folds_of, hear_all, held_weights, known, with_streams_of
from scripts.training.publish import published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.context import Context
    from models.uncertainty import Uncertainty
    from realtime.extract.text import Reader
    from scripts.evaluation.published import Told
    from scripts.training.live import Heard, Known

DAMAGES = ("clean", "without:text", "without:face", "without:voice")
EVERY = 3
"""Every so many windows are calibrated on."""
INPUTS = {"text": TEXT_DIM, "voice": VOICE_DIM, "face": FACE_DIM}


class Once:
    """Reads every list of words once: a clip's words are the same under damage that leaves the sound alone."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def read(self, words: Sequence[str]) -> np.ndarray:
        """Return what the reader says."""
        key = tuple(words)
        if key not in self._known:
            self._known[key] = self._reader.read(key)
        return self._known[key]


def network(streams: Path) -> tuple[LiveAGFN, dict[str, torch.Tensor]]:
    """Return the live fusion with voice and face of a weights file, and the further tensors of that file."""
    with safe_open(streams, "pt") as file:
        config = AgfnConfig.from_json(file.metadata()["config"])
    tensors = load_file(streams)
    trained = build(config)
    trained.load_state_dict(state_of(tensors))
    shape = replace(config, inputs=INPUTS, ablation=Ablation(compress=config.ablation.compress))
    model = build(shape)
    if not isinstance(model, LiveAGFN):
        raise TypeError("no live fusion")
    with_streams_of(model, trained)
    return model.eval(), {k.removeprefix(EXTRA): v for k, v in tensors.items() if k.startswith(EXTRA)}


def turns(heard: Sequence[Heard]) -> dict[str, list[Turn]]:
    """What the words of every clean clip said in the end, by speaker in order."""
    found: dict[str, list[tuple[int, Turn]]] = {}
    for clip in heard:
        words = [view for view in clip.views if len(view.segments["text"].values)]
        if clip.damage != "clean" or not words:
            continue
        said, before = float(words[-1].segments["text"].values[-1, 0]), tuple(e.location for e in words[-1].ended)
        number = int(clip.example.id.rsplit("_", 1)[-1])
        found.setdefault(clip.example.speaker, []).append((number, Turn(said, before, clip.example.label)))
    return {name: [turn for _, turn in sorted(rows, key=lambda row: row[0])] for name, rows in found.items()}


def judged(rows: Known, score: np.ndarray, spread: np.ndarray) -> Judged:
    """Every third window for the calibration; of whole utterances, the last window of each clip.

    A label is of the whole clip: what is whole in the middle of it is only a part of what was rated.
    """
    kept = np.where(rows.state == "final", rows.last, np.arange(len(rows.clip)) % EVERY == 0)
    return Judged(score, spread, rows.reliability, rows.target, rows.group, rows.state).take(kept)


def figures(rows: Known, score: np.ndarray) -> dict[str, Any]:
    """Figures at the last window of the clips by damage, and of the words alone."""
    table = {}
    for damage in sorted(set(rows.damage)):
        at = rows.last & (rows.damage == damage)
        found = all_metrics(rows.target[at], score[at])
        table[damage] = {key: round(float(value), 4) for key, value in found.items()}
        table[damage]["mae_text"] = round(float(np.abs(rows.target[at] - rows.own[at, 0]).mean()), 4)
    return table


def crossed(
    model: LiveAGFN,
    heard: Sequence[Heard],
    rows: Known,
    context: Context,
    keep: Callable[[str, LiveAGFN, Uncertainty], None],
) -> list[Told]:
    """What would have been published of every clean clip, its speaker judged by what was fitted on the others.

    Args:
        model: not fitted yet.
        heard: the clips.
        rows: of the clips.
        context: of all of them.
        keep: takes each speaker with what was fitted on the others.
    """
    found = []
    for speaker in sorted(set(rows.group)):
        others, fitted = rows.take(rows.group != speaker), copy.deepcopy(model)
        fit_gate(fitted, others)
        uncertainty = fit(judged(others, *fused(fitted, others)))
        keep(speaker, fitted, uncertainty)
        own = [clip for clip in heard if clip.example.speaker == speaker]
        found += published(fitted, own, context, uncertainty)
    return found


def write_held(path: Path, clips: Sequence[Told]) -> None:
    """Write what is published at the sentence ends."""
    names = ("text", "score", "low", "high", "p_positive")
    columns = [ends(clips, name) for name in names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["speaker", "label", *names])
        for clip, *numbers in zip(clips, *columns, strict=True):
            writer.writerow([clip.speaker, f"{clip.label:g}", *(f"{number:.3f}" for number in numbers)])


def run(args: argparse.Namespace, reader_of: Callable[[int], Reader]) -> dict[str, Any]:
    """Fit and write; `reader_of` gives the text line of a fold."""
    fold, examples = folds_of(args.folds / "folds.json"), list(corpora.mosi_clips(args.data))
    model, extra = network(args.streams)
    heard = []
    for number in sorted({fold[example.speaker] for example in examples}):
        reader = Once(reader_of(number))
        part = [example for example in examples if fold[example.speaker] == number]
        for example in tqdm(part, desc=f"fold {number}", mininterval=10):
            heard += hear_all(args.cache, example, DAMAGES, reader, readings=args.readings == "all")
    context = fit_context(turns(heard))
    rows = known(model, heard, context.context)
    plain = Calibration("normalised", 2.3, 0.1, 1.0, (0.0, 0.0, 0.0), 3.0)

    def keep(speaker: str, fitted: LiveAGFN, sure: Uncertainty) -> None:
        about = {"held": speaker}
        made = Checkpoint(fitted, schema_hash(), plain, about, extra, context.context, sure)
        save(held_weights(args.folds, speaker), made)

    told = crossed(model, heard, rows, context.context, keep)
    fit_gate(model, rows)
    score, spread = fused(model, rows)
    held = judged(rows, score, spread)
    uncertainty = fit(held)
    metadata = {
        "command": "python -m scripts.fit --folds DIR --held FILE",
        "commit": _commit(),
        "clips": len(examples),
        "metrics": figures(rows, score),
        "published": rounded(told_figures(told)),
        "calibration": cross(held),
        "context": {"alone": context.alone, "followed": context.followed},
        "gate": {name: getattr(model, name).tolist() for name in ("gate_bias", "exponent", "gain")},
    }
    if args.held:
        write_held(args.held, told)
    save(args.out, Checkpoint(model, schema_hash(), plain, metadata, extra, context.context, uncertainty))
    return metadata


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--folds", type=Path, required=True, help="folder with the text line of every fold")
    cli.add_argument("--streams", type=Path, default=WEIGHTS, help="weights whose voice and face are kept")
    cli.add_argument("--held", type=Path, help="write the held-out predictions at sentence ends to this .csv")
    cli.add_argument("--readings", choices=("all", "none"), default="all", help="second readings of the tapes")
    cli.add_argument("--out", type=Path, default=WEIGHTS)
    return cli.parse_args(argv)


def main() -> None:
    """Fit, write, print."""
    args = options()
    torch.set_num_threads(1)
    folder = zoo.path(BASE)
    print(json.dumps(run(args, lambda number: TextLine.load(folder, args.folds / f"fold{number}.safetensors"))))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
