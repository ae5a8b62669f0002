"""Fit the live fusion, its context and its uncertainty on held-out speakers, and write the weights file.

python -m scripts.fit --folds DIR --streams FILE [--data ../shared/data] [--cache DIR] [--held FILE.csv] [--out FILE]

Needs the tapes of scripts/features.py and, in DIR, the text line of every fold, which did not know its speakers
(fold0.safetensors and so on, folds.json; scripts/train_text.py), and likewise its voice and face (streams0.safetensors
and so on, acted.npz; scripts/train_streams.py, whose --out is --streams here). The figures go into the file and to
standard output as one line of JSON. What is published of a speaker is judged with a gate and an uncertainty that were
fitted on the others, kept in DIR/held-SPEAKER.safetensors for `evaluate live --folds`; the weights file holds those of
all. --readings none leaves the second readings of the tapes out.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from models import zoo
from models.calibrate import Calibration
from models.checkpoint import Checkpoint, load, save
from models.live import LiveAGFN
from models.metrics import all_metrics
from models.textline import BASE, TextLine
from models.uncertainty import Judged, cross, fit
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import WEIGHTS
from scripts.evaluation.published import ends, rounded
from scripts.evaluation.published import figures as told_figures
from scripts.training import corpora
from scripts.training.context import Turn, fit_context
from scripts.training.gate import fit_gate, fused
from scripts.training.live import Known, folds_of, hear_all, held_weights, known
from scripts.training.publish import published

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.context import Context
    from models.uncertainty import Uncertainty
    from realtime.extract.text import Reader
    from scripts.evaluation.published import Told
    from scripts.training.live import Heard

DAMAGES = ("clean", "without:text", "without:face", "without:voice")
EVERY = 3
"""Every so many windows are calibrated on."""
ACTED = "acted"
"""What stands for the damage in windows of those who act."""
EVERY_ACTED = 4
"""Every so many of those who act are calibrated on, by their last window: about as many as windows of films."""


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


def network(streams: Path) -> LiveAGFN:
    """Return the live fusion of a weights file, its gate as yet unfitted.

    Raises:
        CheckpointError: it can't be read, or is of other features.
        TypeError: it is of another network.
    """
    model = load(streams, schema_hash()).model
    if not isinstance(model, LiveAGFN):
        raise TypeError(f"{streams}: no live fusion")
    with torch.no_grad():
        model.gate_bias.zero_()
        model.exponent.fill_(1.0)
        model.gain.fill_(1.0)
    return model.eval()


def acted(path: Path, state: str, first_clip: int) -> Known:
    """Read what scripts/train_streams.py kept of those who act and were held out, as windows of a state.

    Args:
        path: of the file.
        state: of the opinion.
        first_clip: number of the first clip.
    """
    with np.load(path, allow_pickle=False) as arrays:
        rows = {key: arrays[key] for key in arrays.files}
    count = len(rows["target"])
    rows["clip"] = rows["clip"] + first_clip
    return Known(**rows, state=np.full(count, state), known=np.ones(count), damage=np.full(count, ACTED))


def together(parts: Sequence[Known]) -> Known:
    """Put rows one after another."""
    return Known(*(np.concatenate([getattr(part, name) for part in parts]) for name in Known.__dataclass_fields__))


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
    kept = np.where(rows.damage == ACTED, rows.last & (rows.clip % EVERY_ACTED == 0), kept)
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
    models: Mapping[str, LiveAGFN],
    heard: Sequence[Heard],
    rows: Known,
    others_too: Known,
    context: Context,
    keep: Callable[[str, LiveAGFN, Uncertainty], None],
) -> list[Told]:
    """What would have been published of every clean clip, its speaker judged by what was fitted on the others.

    Args:
        models: of each speaker, its voice and face trained without them.
        heard: the clips.
        rows: of the clips.
        others_too: of those who act.
        context: of all clips.
        keep: takes each speaker with what was fitted on the others.
    """
    found = []
    for speaker in sorted(set(rows.group)):
        others, fitted = together([rows.take(rows.group != speaker), others_too]), copy.deepcopy(models[speaker])
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
    model = network(args.streams)
    numbers = sorted({fold[example.speaker] for example in examples})
    without = {number: network(args.folds / f"streams{number}.safetensors") for number in numbers}
    heard_in: dict[int, list[Heard]] = {}
    for number in numbers:
        reader = Once(reader_of(number))
        part = [example for example in examples if fold[example.speaker] == number]
        heard_in[number] = [
            clip
            for example in tqdm(part, desc=f"fold {number}", mininterval=10)
            for clip in hear_all(args.cache, example, DAMAGES, reader, readings=args.readings == "all")
        ]
    heard = [clip for number in numbers for clip in heard_in[number]]
    context = fit_context(turns(heard))
    parts, clips = [], 0
    for number in numbers:
        parts.append(known(without[number], heard_in[number], context.context, clips))
        clips += len(heard_in[number])
    rows = together(parts)
    silent = together([acted(args.folds / "acted.npz", state, clips) for state in ("none", "listening")])
    models = {example.speaker: without[fold[example.speaker]] for example in examples}
    plain = Calibration("normalised", 2.3, 0.1, 1.0, (0.0, 0.0, 0.0), 3.0)

    def keep(speaker: str, fitted: LiveAGFN, sure: Uncertainty) -> None:
        about = {"held": speaker}
        made = Checkpoint(fitted, schema_hash(), plain, about, {}, context.context, sure)
        save(held_weights(args.folds, speaker), made)

    told = crossed(models, heard, rows, silent, context.context, keep)
    everyone = together([rows, silent])
    fit_gate(model, everyone)
    held = judged(everyone, *fused(model, everyone))
    score, _ = fused(model, rows)
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
    save(args.out, Checkpoint(model, schema_hash(), plain, metadata, {}, context.context, uncertainty))
    return metadata


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--folds", type=Path, required=True, help="folder with the text line of every fold")
    cli.add_argument("--streams", type=Path, required=True, help="voice and face: --out of train_streams")
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
