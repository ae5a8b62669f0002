"""What the live fusion is fitted on: windows of clips, their words read by text lines that did not know the speaker."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.embedding import VoiceEmbedder
from realtime.config.schema import AsrConfig, Config
from realtime.extract.text import TextExtractor
from realtime.fuse.collate import collate
from realtime.fuse.context import SpeakerContext
from realtime.fuse.torch_engine import tensors
from realtime.fuse.worker import state_of
from realtime.types import MODALITIES, FaceFeatures, Reading
from scripts.training.feature_track import embedded
from scripts.training.feature_track import load as load_tape
from scripts.training.paths import tape_path
from scripts.training.windows import absent
from scripts.training.windows import replay as replay_tape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.context import Context
    from models.live import LiveAGFN
    from realtime.extract.text import Reader
    from realtime.types import WindowView
    from scripts.training.corpora import Example


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip's windows under one damage."""

    example: Example
    damage: str
    views: tuple[WindowView, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the streams of N windows say: all that the fusion's own numbers are fitted to.

    `own` and `log_spread` (N, M) are each modality's location and log scale, `reliability` (N, M), `state` (N,);
    `known` (N,) is the share of the clip's words that had been heard; `clip` (N,) numbers the clips, `last` (N,) marks
    their last windows.
    """

    own: np.ndarray
    log_spread: np.ndarray
    reliability: np.ndarray
    state: np.ndarray
    known: np.ndarray
    target: np.ndarray
    group: np.ndarray
    clip: np.ndarray
    last: np.ndarray
    damage: np.ndarray

    def take(self, rows: np.ndarray) -> Known:
        """Return the rows of a boolean mask."""
        return Known(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def tape_of(folder: Path, example: Example, damage: str) -> Any:  # noqa: ANN401 - as load_tape gives
    """Read the tape of a clip under a damage, two of them joined by a plus; None where one is missing.

    Voices are embedded by the projection that is shipped, which knows actors only.
    """
    found = pooled_tape_of(folder, example, damage)
    if found is None or (embedder := _embedder()) is None:
        return found
    items, seen = found
    return embedded(items, lambda _, states: embedder.project(states)), seen


@cache
def _embedder() -> VoiceEmbedder | None:
    return VoiceEmbedder.load(AsrConfig().hears_with)


def pooled_tape_of(folder: Path, example: Example, damage: str) -> Any:  # noqa: ANN401 - as load_tape gives
    """Read the same with the pooled states of voices instead of their embeddings."""
    paths = [tape_path(folder, example.corpus, example.id, part) for part in damage.split("+")]
    if not all(path.exists() for path in paths):
        return None
    if len(paths) == 1:
        return load_tape(paths[0])
    (sound, sound_seen), (picture, picture_seen) = (load_tape(path) for path in paths)
    items = [entry for entry in sound if not isinstance(entry[1], FaceFeatures)]
    items += [entry for entry in picture if isinstance(entry[1], FaceFeatures)]
    return items, {**sound_seen, "picture": picture_seen.get("picture", [])}


def hear_all(
    cache: Path, example: Example, damages: Sequence[str], reader: Reader | None, *, readings: bool = True
) -> list[Heard]:
    """Replay the tapes of a clip under damages, without:NAME among them; a damage without a tape is left out.

    Args:
        cache: of the tapes.
        example: the clip.
        damages: KIND:LEVEL, or several joined by a plus.
        reader: of the words; None leaves them off.
        readings: whether second readings count.
    """
    found: dict[str, tuple[WindowView, ...]] = {}
    heard = []
    for damage in damages:
        kind, _, name = damage.partition(":")
        base = "clean" if kind == "without" else damage
        if base not in found:
            tape = tape_of(cache, example, base)
            text = None if reader is None else TextExtractor(reader)
            found[base] = () if tape is None else _views(tape, text, readings=readings)
        views = found[base]
        if views and kind == "without":
            kept = [item for item in MODALITIES if item != name]
            gone = {item: absent(item) for item in MODALITIES if item == name}
            views = tuple(replace(view, segments={item: view.segments[item] for item in kept} | gone) for view in views)
        if views:
            heard.append(Heard(example, damage, views))
    return heard


def _views(tape: Any, text: TextExtractor | None, *, readings: bool) -> tuple[WindowView, ...]:  # noqa: ANN401
    items, seen = tape
    kept = [entry for entry in items if readings or not isinstance(entry[1], Reading)]
    return tuple(view for view, _ in replay_tape((kept, seen), text, Config()))


def leaned(views: Sequence[WindowView], context: Context) -> list[WindowView]:
    """Return the windows of one stream as the live stream leans them."""
    stream = SpeakerContext(context)
    return [stream.lean(view) for view in views]


@torch.inference_mode()
def streams(model: LiveAGFN, views: Sequence[WindowView], batch: int = 256) -> tuple[np.ndarray, ...]:
    """Location, log scale and reliability of every modality, (N, M) each."""
    parts = []
    for begin in range(0, len(views), batch):
        inputs = collate(views[begin : begin + batch])
        out = model(*tensors(inputs))
        parts.append((out.own_score.numpy(), out.own_spread.log().numpy(), inputs.reliability * out.used.numpy()))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def known(model: LiveAGFN, heard: Sequence[Heard], context: Context, first: int = 0) -> Known:
    """Lay out the windows of clips, numbered from `first` on, without those in which nothing is there."""
    rows: dict[str, list[Any]] = {name: [] for name in Known.__dataclass_fields__}
    for number, clip in enumerate(heard, first):
        views = leaned(clip.views, context)
        own, log_spread, reliability = streams(model, views)
        words = max(1, len(clip.example.text.split()))
        last = len(views) - 1
        for index, view in enumerate(views):
            if not reliability[index].any():
                continue
            rows["own"].append(own[index])
            rows["log_spread"].append(log_spread[index])
            rows["reliability"].append(reliability[index])
            rows["state"].append(state_of(view))
            rows["known"].append(min(1.0, (len(view.words) + 0.01) / words))
            rows["target"].append(clip.example.label)
            rows["group"].append(clip.example.speaker)
            rows["clip"].append(number)
            rows["last"].append(index == last)
            rows["damage"].append(clip.damage)
    return Known(**{name: np.array(values) for name, values in rows.items()})


def held_weights(folds: Path, speaker: str) -> Path:
    """Return the weights file that was fitted on all speakers but this one."""
    return folds / f"held-{speaker}.safetensors"


def folds_of(path: Path) -> Mapping[str, int]:
    """Read which fold holds a speaker out."""
    return {str(name): int(fold) for name, fold in json.loads(path.read_text(encoding="utf-8")).items()}
