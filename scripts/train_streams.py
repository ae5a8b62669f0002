"""Train what the live fusion makes of voices and of faces alone: the encoder and the head of each, as distributions.

python -m scripts.train_streams --folds DIR [--data ../shared/data] [--cache DIR] [--out FILE]

Needs the tapes of scripts/features.py and, in DIR, folds.json of scripts/train_text.py. Voices are those of actors
(RAVDESS, EMO-DB) and of films' critics (CMU-MOSI), who keep their feelings out of their voice: from them it learns when
to say little. Faces are the third of FER2013 that the expression network never saw, and those of the critics. Each fold
knows neither its critics nor its actors nor its pictures, and is kept as DIR/streams0.safetensors and so on, for
scripts/fit.py, with what it says of those who act in DIR/acted.npz; what learned from all is written to --out. Prints
the figures of the held-out as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import yaml
from tqdm import tqdm

from models import zoo
from models.agfn_config import Ablation, AgfnConfig
from models.calibrate import Calibration
from models.checkpoint import Checkpoint, save
from models.live import LiveAGFN
from models.metrics import auc, mae, pearson
from realtime.config.schema import Config
from realtime.extract.schema import (
    EMBEDDING_DIM,
    FACE_COLUMNS,
    FACE_SHAPES,
    TEXT_DIM,
    VOICE_DIM,
    VOICE_INPUTS,
    schema_hash,
)
from realtime.fuse.collate import MAX_STEPS
from realtime.fuse.reliability import SETTLED_S, settled
from realtime.types import NS_PER_S
from scripts.train_embedding import fitted, targets
from scripts.training import corpora
from scripts.training.feature_track import embedded
from scripts.training.live import folds_of, pooled_tape_of, tape_of
from scripts.training.paths import faces_path
from scripts.training.windows import DIMS, face_view, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from models.embedding import VoiceEmbedder
    from realtime.types import Modality, Segment, WindowView

FOLDS: Final = 5
EVERYONE: Final = -1
EVERY: Final = 2
"""Of the windows of a clip every so many are learned from."""
HISTORY: Final = (0, 0, 1, 2, 4, 8, 20)
"""Earlier utterances that a speaker's mean is of, one of these by chance."""
PRIOR: Final = 2.0
ACTED: Final = ("ravdess", "emodb", "fer2013")
COLUMNS: Final = {"voice": VOICE_INPUTS, "face": FACE_COLUMNS}
LOOKED_AT: Final = {"voice": VOICE_INPUTS[VOICE_DIM:]}
"""Columns of a modality that its encoder sees, all of those that are not named here. How loud, high or dull a voice is
tells the actors and rooms of a corpus apart, not what they feel."""
PLAIN: Final = Calibration("normalised", 2.3, 0.1, 1.0, (0.0, 0.0, 0.0), 3.0)


@dataclass(frozen=True)
class Windows:
    """N windows of one modality: values (N, T, D), times and mask (N, T), and what belongs to each.

    That is which decode of its clip a voice was embedded at (-1: none, or a face), its reliability, its target and how
    far that is known, its fold, clip (a number), speaker and corpus, and whether it is the clip's last, (N,).
    """

    values: np.ndarray
    times: np.ndarray
    mask: np.ndarray
    decode: np.ndarray
    reliability: np.ndarray
    target: np.ndarray
    known: np.ndarray
    fold: np.ndarray
    clip: np.ndarray
    speaker: np.ndarray
    corpus: np.ndarray
    last: np.ndarray

    def take(self, rows: np.ndarray) -> Windows:
        """Return the rows of a boolean mask or of indices."""
        return Windows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def fold_of(name: str) -> int:
    """Return the fold of an actor or a picture."""
    return zlib.crc32(name.encode()) % FOLDS


def known_of(name: Modality, segment: Segment) -> float:
    """How far what a window holds is known: a face that has hardly been seen is no opinion yet."""
    return settled(int(segment.times_s[0] * NS_PER_S), 0) if name == "face" else 1.0


class Collected:
    """Lays windows of one modality out."""

    def __init__(self, modality: Modality) -> None:
        self._modality = modality
        self._rows: dict[str, list[Any]] = {name: [] for name in Windows.__dataclass_fields__ if name != "last"}
        self._clips = 0

    def add(self, example: corpora.Example, fold: int, views: Iterable[tuple[WindowView, bool]]) -> None:
        """Add the windows of a clip in which the modality is there."""
        steps = MAX_STEPS[self._modality]
        for view, _ in views:
            segment = view.segments[self._modality]
            if not segment.reliability:
                continue
            values, count = segment.values[-steps:], min(steps, len(segment.values))
            row = np.zeros((steps, segment.values.shape[1]), np.float16)
            row[:count] = values
            decode = int(values[-1, VOICE_DIM]) if self._modality == "voice" and values[-1, -2] else -1
            times = np.zeros(steps, np.float32)
            times[:count] = segment.times_s[-steps:]
            found = (
                row,
                times,
                np.arange(steps) < count,
                decode,
                segment.reliability,
                example.label,
                known_of(self._modality, segment),
                fold,
                self._clips,
            )
            for name, value in zip(self._rows, (*found, example.speaker, example.corpus), strict=True):
                self._rows[name].append(value)
        self._clips += 1

    def windows(self) -> Windows:
        """Return what was added."""
        clip = self._rows["clip"]
        last = [one != other for one, other in zip(clip, [*clip[1:], None], strict=True)]
        return Windows(**{name: np.array(rows) for name, rows in self._rows.items()}, last=np.array(last))


@dataclass(frozen=True)
class Voices:
    """Windows of voices, and the pooled states (n, 3 D) of the decodes of each of their clips."""

    windows: Windows
    states: list[np.ndarray]

    @property
    def whole(self) -> dict[str, np.ndarray]:
        """What the projection is fitted to: states of decodes of acted clips; speaker, corpus and clip of each."""
        acted = [
            (clip, speaker, corpus)
            for clip, speaker, corpus in zip(
                *(getattr(self.windows, name)[self.windows.last] for name in ("clip", "speaker", "corpus")), strict=True
            )
            if corpus in ACTED
        ]
        rows = [
            (row, speaker, corpus, clip) for clip, speaker, corpus in acted for row in self.states[clip] if row.any()
        ]
        return dict(zip(("rows", "speaker", "corpus", "clip"), map(np.array, zip(*rows, strict=True)), strict=True))

    def embedded(self, by: Callable[[int], VoiceEmbedder]) -> Windows:
        """Return the windows with embeddings; `by` gives what projects those of a clip."""
        values = self.windows.values.copy()
        for clip in np.unique(self.windows.clip):
            rows = np.flatnonzero((self.windows.clip == clip) & (self.windows.decode >= 0))
            if len(rows):
                found = by(int(clip)).project(self.states[clip])[self.windows.decode[rows]]
                values[rows, :, VOICE_DIM : VOICE_DIM + EMBEDDING_DIM] = (
                    found[:, None].astype(np.float16) * self.windows.mask[rows][..., None]
                )
        return replace(self.windows, values=values)


def voices(data: Path, cache: Path, emotions: dict[str, float], folds: dict[str, int]) -> tuple[Voices, np.ndarray]:
    """Return the windows of voices, and of every clip the targets of the projection; NaN for films."""
    found, config = Collected("voice"), Config()
    acted = [*corpora.ravdess(data, emotions), *corpora.emodb(data, emotions)]
    states: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    targets_of = dict(zip([example.id for example in acted], targets(acted), strict=True))
    for example in tqdm([*acted, *corpora.mosi_clips(data)], desc="voices", mininterval=10):
        if (tape := pooled_tape_of(cache, example, "clean")) is None:
            continue
        fold = folds[example.speaker] if example.corpus == "mosi_clips" else fold_of(example.speaker)
        decodes: dict[int, np.ndarray] = {}
        items = embedded(tape[0], partial(_noted, decodes))
        found.add(example, fold, replay((items, tape[1]), None, config, every=EVERY))
        width = next((len(row) for row in decodes.values()), 1)
        rows = np.zeros((max(decodes, default=0) + 1, width), np.float32)
        for number, row in decodes.items():
            rows[number] = row
        states.append(rows)
        wanted.append(targets_of.get(example.id, np.full(EMBEDDING_DIM, np.nan)))
    return Voices(found.windows(), states), np.array(wanted)


def _noted(decodes: dict[int, np.ndarray], number: int, states: np.ndarray) -> np.ndarray:
    """Keep the pooled states of a decode; its number stands in the first column until it is known what projects."""
    decodes[number] = states
    return np.array([number, *[0.0] * (EMBEDDING_DIM - 1)], np.float32)


class Projections:
    """Projections that do not know the actors of some folds."""

    def __init__(self, heard: Voices, wanted: np.ndarray) -> None:
        self._whole, self._wanted = heard.whole, wanted
        self._fold = np.array([fold_of(str(name)) for name in self._whole["speaker"]])
        self._made: dict[frozenset[int], VoiceEmbedder] = {}

    def without(self, folds: frozenset[int]) -> VoiceEmbedder:
        """Return the projection that was fitted without the actors of some folds."""
        if folds not in self._made:
            kept = ~np.isin(self._fold, list(folds))
            wanted = self._wanted[self._whole["clip"][kept]]
            rows, speaker, corpus = (self._whole[name][kept] for name in ("rows", "speaker", "corpus"))
            self._made[folds] = fitted(rows, speaker, corpus, wanted)
        return self._made[folds]


def embedded_for(heard: Voices, by: Projections, held: int) -> Windows:
    """Return the windows for a fold: no actor is embedded by what was fitted to them, nor to those who are held out."""
    fold_of_clip = dict(zip(heard.windows.clip.tolist(), heard.windows.fold.tolist(), strict=True))
    acted = set(heard.windows.clip[np.isin(heard.windows.corpus, ACTED)].tolist())
    own = {clip: fold_of_clip[clip] if clip in acted else held for clip in fold_of_clip}
    return heard.embedded(lambda clip: by.without(frozenset((held, own[clip]))))


def faces(data: Path, cache: Path, folds: dict[str, int]) -> Windows:
    """Return the windows of faces; a picture is held for some time, once until it is known as a whole."""
    found, config, rng = Collected("face"), Config(), np.random.default_rng(1)
    for example in tqdm(list(corpora.mosi_clips(data)), desc="faces", mininterval=10):
        if (tape := tape_of(cache, example, "clean")) is not None:
            found.add(example, folds[example.speaker], replay(tape, None, config, every=EVERY))
    with np.load(faces_path(cache, "fer2013"), allow_pickle=False) as arrays:
        rows, ids, labels = arrays["rows"], arrays["ids"], arrays["label"]
    for row, name, label in zip(rows, ids, labels, strict=True):
        if np.isfinite(row).all():
            example = corpora.Example("fer2013", str(name), str(name), float(label))
            views = [(face_view(row, rng), False), (face_view(row, rng, seen_s=SETTLED_S), True)]
            found.add(example, fold_of(str(name)), views)
    return found.windows()


def usual(windows: Windows) -> dict[str, np.ndarray]:
    """The embeddings of the whole clips of every speaker, (n, EMBEDDING_DIM) each."""
    part = slice(VOICE_DIM, VOICE_DIM + EMBEDDING_DIM)
    found: dict[str, list[np.ndarray]] = {}
    for row in np.flatnonzero(windows.last):
        if windows.values[row, 0, -2]:
            found.setdefault(str(windows.speaker[row]), []).append(windows.values[row, 0, part].astype(np.float32))
    return {name: np.stack(rows) for name, rows in found.items()}


def with_history(
    values: torch.Tensor, rows: np.ndarray, windows: Windows, own: dict[str, np.ndarray], count: int | None, seed: int
) -> torch.Tensor:
    """Subtract of the embeddings what a speaker's mean would be after some utterances; `count` None: some by chance."""
    rng = np.random.default_rng(seed)
    shift = np.zeros((len(rows), EMBEDDING_DIM), np.float32)
    for place, row in enumerate(rows):
        before = own.get(str(windows.speaker[row]))
        number = int(rng.choice(HISTORY)) if count is None else count
        if before is not None and number:
            chosen = before[rng.integers(len(before), size=number)]
            shift[place] = chosen.mean(0) * number / (number + PRIOR)
    known = values[..., -2:-1]
    values[..., VOICE_DIM : VOICE_DIM + EMBEDDING_DIM] -= torch.from_numpy(shift)[:, None] * known
    return values


def tensors(windows: Windows, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, times and mask of some windows; where the mask is off values are zeros."""
    values = torch.from_numpy(windows.values[rows].astype(np.float32))
    return values, torch.from_numpy(windows.times[rows]), torch.from_numpy(windows.mask[rows])


def weights(windows: Windows, share: dict[str, float]) -> np.ndarray:
    """Weight of every window: clips of a corpus count the same, corpora by their share, praise as much as complaint."""
    weight = 1.0 / np.bincount(windows.clip)[windows.clip]
    for corpus, part in share.items():
        of_corpus = windows.corpus == corpus
        sides = [of_corpus & (np.sign(windows.target) == side) for side in (-1, 0, 1)]
        even = sides[0].any() and sides[2].any()
        for at, portion in zip(sides, (0.4, 0.2, 0.4), strict=True):
            if even and at.any():
                weight[at] *= portion / weight[at].sum()
        if of_corpus.any():
            weight[of_corpus] *= part / weight[of_corpus].sum()
    found: np.ndarray = weight / weight.mean()
    return found


def damaged(name: Modality, values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Take what is not always there out of some windows, by chance."""

    def chance(p: float) -> torch.Tensor:
        return (torch.rand(len(values), 1, 1, generator=generator) >= p).float()

    values = values.clone()
    if name == "voice":
        values[..., VOICE_DIM:] *= chance(0.2)
        values[..., :VOICE_DIM] *= chance(0.1)
    else:
        values[..., len(FACE_SHAPES) :] *= chance(0.1)
        values[..., : len(FACE_SHAPES)] *= chance(0.1)
    return values


def learn(model: LiveAGFN, name: Modality, windows: Windows, settings: dict[str, Any], seed: int) -> None:
    """Fit the encoder and the head of a modality to windows.

    The location follows the label by as much as is known, the scale what is then missed of the whole label: a face
    that has hardly been seen says nothing, and is not sure of that.
    """
    encoder = model.encoders[name]
    flat = windows.values[windows.mask].astype(np.float32)
    encoder.standardise_by(torch.from_numpy(flat.mean(0)), torch.from_numpy(flat.std(0)))  # type: ignore[operator]
    own = usual(windows) if name == "voice" else {}
    weight = torch.from_numpy(weights(windows, settings["share"][name]).astype(np.float32))
    target, known = (torch.from_numpy(part.astype(np.float32)) for part in (windows.target, windows.known))
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    parameters = [*encoder.parameters(), model.own_head, model.own_bias]
    steps = settings["epochs"] * (len(target) // settings["batch"])
    optimiser = torch.optim.AdamW(parameters, settings["lr"], weight_decay=settings["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings["lr"], max(2, steps), pct_start=0.1)
    model.train()
    for _ in range(settings["epochs"]):
        order = rng.permutation(len(target))
        for begin in range(0, len(order) - settings["batch"] + 1, settings["batch"]):
            rows = order[begin : begin + settings["batch"]]
            values, times, mask = tensors(windows, rows)
            if own:
                values = with_history(values, rows, windows, own, None, int(rng.integers(1 << 30)))
            score, log_spread, _ = model.read(name, damaged(name, values, generator), times, mask)
            apart = (score - target[rows] * known[rows]).abs() * (-log_spread.detach()).exp()
            missed = (score.detach() - target[rows]).abs()
            loss = ((apart + missed * (-log_spread).exp() + log_spread) * weight[rows]).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
    model.eval()


@torch.inference_mode()
def said(model: LiveAGFN, name: Modality, windows: Windows, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Location and log scale (N,) of windows, a voice's mean known."""
    own = usual(windows) if name == "voice" else {}
    parts = []
    for begin in range(0, len(windows.target), batch):
        rows = np.arange(begin, min(begin + batch, len(windows.target)))
        values, times, mask = tensors(windows, rows)
        if own:
            values = with_history(values, rows, windows, own, HISTORY[-1], begin)
        parts.append(torch.stack(model.read(name, values, times, mask)[:2]).numpy())
    found = np.concatenate(parts, 1)
    return found[0], found[1]


def network(settings: dict[str, Any], seed: int) -> LiveAGFN:
    """Return the live fusion before anything is learned."""
    torch.manual_seed(seed)
    inputs = {"text": TEXT_DIM, "voice": DIMS["voice"], "face": DIMS["face"]}
    looked_at = {name: [COLUMNS[name].index(column) for column in columns] for name, columns in LOOKED_AT.items()}
    return LiveAGFN(AgfnConfig(inputs=inputs, **settings["network"], ablation=Ablation(columns=looked_at)))


def figures(windows: Windows, score: np.ndarray) -> dict[str, Any]:
    """Of each corpus, at the end of clips of speakers that were held out: r and MAE, and of faces the AUC."""
    found: dict[str, Any] = {}
    for corpus in np.unique(windows.corpus):
        at = windows.last & (windows.corpus == corpus)
        label, own = windows.target[at], score[at]
        kept = {"r": round(pearson(label, own), 3), "mae": round(mae(label, own), 3), "clips": int(at.sum())}
        if corpus == "fer2013":
            apart = (label > 1) | (label < -1)
            kept["auc"] = round(auc(label[apart] > 1, own[apart]), 3)
        found[str(corpus)] = kept
    return found


def rows_of(name: Modality, windows: Windows, score: np.ndarray, log_spread: np.ndarray) -> dict[str, np.ndarray]:
    """What held-out actors say, as rows for scripts/fit.py: see `Known`."""
    kept = np.flatnonzero(np.isin(windows.corpus, ACTED))
    place = 1 if name == "voice" else 2
    columns = np.zeros((3, len(kept), 3), np.float32)
    for layer, values in zip(columns, (score, log_spread, windows.reliability), strict=True):
        layer[:, place] = values[kept]
    return {
        "own": columns[0],
        "log_spread": columns[1],
        "reliability": columns[2],
        "target": windows.target[kept],
        "group": windows.speaker[kept],
        "clip": windows.clip[kept],
        "last": windows.last[kept],
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, judge, write."""
    everything = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))
    settings, folds = everything["streams"], dict(folds_of(args.folds / "folds.json"))
    heard_voices, wanted = voices(args.data, args.cache, everything["emotions"], folds)
    by = Projections(heard_voices, wanted)
    gathered = {"voice": heard_voices.windows, "face": faces(args.data, args.cache, folds)}
    heard = {name: (np.zeros(len(w.target)), np.zeros(len(w.target))) for name, w in gathered.items()}
    for number in [*range(FOLDS), EVERYONE]:
        model = network(settings, 0)
        for name, plain in gathered.items():
            windows = embedded_for(heard_voices, by, number) if name == "voice" else plain
            learn(model, name, windows.take(windows.fold != number), settings, 0)  # type: ignore[arg-type]
            out = windows.fold == number
            if out.any():
                for whole, part in zip(heard[name], said(model, name, windows.take(out)), strict=True):  # type: ignore[arg-type]
                    whole[out] = part
        path = args.out if number == EVERYONE else args.folds / f"streams{number}.safetensors"
        save(path, Checkpoint(model, schema_hash(), PLAIN, {"fold": number}))
    acted = [rows_of(name, windows, *heard[name]) for name, windows in gathered.items()]  # type: ignore[arg-type]
    acted[1]["clip"] = acted[1]["clip"] + acted[0]["clip"].max() + 1
    columns: dict[str, Any] = {key: np.concatenate([part[key] for part in acted]) for key in acted[0]}
    np.savez_compressed(args.folds / "acted.npz", **columns)
    return {name: figures(windows, heard[name][0]) for name, windows in gathered.items()}


def main(options: Sequence[str] | None = None) -> None:
    """Train, judge, write, print."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--folds", type=Path, required=True, help="folder with folds.json, and where the folds are kept")
    cli.add_argument("--out", type=Path, required=True, help="what learned from all, for scripts/fit.py --streams")
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
