"""Compute features of the corpora with the live extractors, clean and deliberately damaged.

python -m scripts.features [--data ../shared/data] [--cache DIR] [--corpora mosi_clips,ravdess,...] [--damage clean,...]

Resumable: what is in the cache is not computed again; tracks without second readings get them. Two processes work in
parallel, one per core.
"""

from __future__ import annotations

import argparse
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from models import zoo
from models.embedding import pooled
from models.expression import ExpressionReader
from realtime.capture.media import MediaFile
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.config.schema import Config
from realtime.errors import ModelError
from realtime.extract.asr.transcriber import AsrModel, Transcriber
from realtime.extract.asr.voice_mean import VoiceMean
from realtime.extract.asr.whisper import Hypothesis
from realtime.extract.face.extractor import FaceExtractor
from realtime.extract.models import Extractors
from realtime.extract.schema import FACE_DIM
from realtime.pipeline import connect
from realtime.runtime.runner import InlineRunner
from realtime.session.files import deliver
from realtime.types import FaceFeatures, Frame, Reading, item_end_ns
from scripts.training import corpora
from scripts.training.damage import PICTURE_ONLY, SOUND_ONLY, Damage, damaged
from scripts.training.feature_track import FeatureTrack, is_read_again, read_again
from scripts.training.feature_track import load as load_tape
from scripts.training.paths import faces_path, tape_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from realtime.clock import Clock
    from realtime.extract.asr.reading import Utterance
    from realtime.types import Floats, Transcript

FACE_CORPORA = ("fer2013",)
SELDOM_S = 1.0
"""So seldom voices are embedded where nobody looks at the words: an embedding changes slowly."""
BORDER_PX = 80
FACE_PX = 320


class PassOn:
    """Stands where the text extractor stands: words are embedded in training, with the encoder that is trained."""

    def feed(self, item: Transcript | Reading, /) -> Iterable[Transcript | Reading]:
        """Return the transcript or the second reading itself."""
        return (item,)

    def flush(self) -> Iterable[Transcript]:
        """Nothing is held back."""
        return ()

    def close(self) -> None:
        """Nothing to release."""


class Pooling:
    """Stands where voices are embedded: their pooled states are kept, and projected when it is known by what."""

    def embed(self, states: Floats, sound: Floats) -> tuple[float, ...] | None:
        """Return the pooled states."""
        found = pooled(states, sound)
        return None if found is None else tuple(map(float, found))


class States:
    """Stands where words are decoded, where nobody looks at them: only the voice is embedded, at half of the cost.

    Args:
        model: whose states these are.
    """

    def __init__(self, model: AsrModel) -> None:
        self._model = model

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Return no words, and the pooled states."""
        del prefix, max_tokens
        return Hypothesis((), embedding=Pooling().embed(self._model.states(sound), sound)), language or "en"


class Unchanged(VoiceMean):
    """Subtracts nothing."""

    def subtract(self, embedding: Sequence[float]) -> Floats:
        """Return it as it is."""
        return np.asarray(embedding, np.float32)

    def learn(self, embedding: Sequence[float]) -> None:
        """Nothing is to be learned."""


class FeatureParts(Extractors):
    """The live extractors without the fusion, with words and voices as they are."""

    def transcriber(self, clock: Clock, ended: Callable[[Utterance], None] | None = None) -> Transcriber:
        """Return a recogniser whose transcripts hold the pooled states of the voice."""
        words = self.reads_again
        made = Transcriber(self._config.asr, self._pooling if words else States(self._pooling), clock, ended=ended)
        made.memory = Unchanged()
        return made

    @cached_property
    def _pooling(self) -> AsrModel:
        model = AsrModel(self._config.asr, embeds=False)
        model.embedder = Pooling()
        return model

    def text(self) -> PassOn:
        """Return the stage that passes words on."""
        return PassOn()


_PARTS: dict[bool, FeatureParts] = {}


def tape_clip(example: corpora.Example, damage_text: str, cache: Path, words: bool) -> Path:  # noqa: FBT001 - a pool's argument
    """Run one clip through the live extractors; without `words` nothing is read again, only the voice is embedded."""
    path = tape_path(cache, example.corpus, example.id, damage_text)
    made = path.exists()
    if done(path, words=words):
        return path
    config = load(sets=[] if words else ["asr.reading_model=none", f"asr.step_s={SELDOM_S}"])[0]
    if words not in _PARTS:
        _PARTS[words] = FeatureParts(config)
    damage = Damage.parse(damage_text)
    clock = VirtualClock()
    tape = FeatureTrack(clock)
    run = InlineRunner()
    parts: Any = _PARTS[words]
    if (unread := parts.await_reading()) is not None:
        raise ModelError(unread)
    window: Any = tape
    inlets = connect(run, config, parts, clock, window, "picture", "sound")
    kept = None if damage_text == "clean" else _undamaged(tape_path(cache, example.corpus, example.id, "clean"), damage)
    try:
        for item in damaged(MediaFile(str(example.path), config.camera).items(0), damage, example.id):
            if kept is not None and isinstance(item, Frame) == kept.picture:
                continue
            if made and isinstance(item, Frame):
                continue  # only what is said is wanted
            clock.advance_to(item_end_ns(item))
            deliver(inlets, item)
        run.finish()
    finally:
        run.close()
    if made:
        read_again(path, [(at, item) for at, item in tape.items if isinstance(item, Reading)])
        return path
    if kept is not None:
        tape.items += kept.items
        tape.seen |= kept.seen
    tape.save(path)
    return path


@dataclass(frozen=True, slots=True)
class Kept:
    """What a damage leaves as it was: the picture or the sound, taken over from the clean tape."""

    picture: bool
    items: list[tuple[int, Any]]
    seen: dict[str, list[int]]


def _undamaged(clean: Path, damage: Damage) -> Kept | None:
    if not clean.exists() or damage.kind not in SOUND_ONLY | PICTURE_ONLY:
        return None
    items, seen = load_tape(clean)
    picture = damage.kind in SOUND_ONLY
    device = "picture" if picture else "sound"
    return Kept(
        picture,
        [(at, item) for at, item in items if isinstance(item, FaceFeatures) == picture],
        {name: times for name, times in seen.items() if name == device},
    )


def tape_faces(examples: list[corpora.Example], path: Path) -> None:
    """Run single pictures through the face extractor; one file with rows of features, NaN where no face is found."""
    rows = np.full((len(examples), FACE_DIM), np.nan, np.float32)
    model = zoo.path("face")
    config = Config().face
    extractor = FaceExtractor(config, model, ExpressionReader(), stills=True)
    with zipfile.ZipFile(str(examples[0].path)) as archive:
        for row, example in enumerate(tqdm(examples, desc="fer2013", mininterval=5)):
            grey = cv2.imdecode(np.frombuffer(archive.read(example.member), np.uint8), cv2.IMREAD_GRAYSCALE)
            if grey is None:
                raise ValueError(f"{example.member} is no picture")
            large = cv2.resize(grey, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
            framed = cv2.copyMakeBorder(large, BORDER_PX, BORDER_PX, BORDER_PX, BORDER_PX, cv2.BORDER_REPLICATE)
            image = np.asarray(cv2.cvtColor(framed, cv2.COLOR_GRAY2BGR), np.uint8)
            for features in extractor.feed(Frame(0, image)):
                if features.found:
                    rows[row] = features.values
    extractor.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    ids, labels = [example.id for example in examples], [example.label for example in examples]
    np.savez_compressed(path, rows=rows, ids=np.array(ids), label=np.array(labels))


def done(path: Path, *, words: bool) -> bool:
    """Whether a track is there, and what was said in it was read again."""
    return path.exists() and (not words or is_read_again(path))


def some(examples: list[corpora.Example], every: int) -> list[corpora.Example]:
    """Return every so many of the examples, shuffled first: they are named in turns, of classes or of actors."""
    if every == 1:
        return examples
    return [examples[index] for index in np.random.default_rng(0).permutation(len(examples))[::every]]


def every_damage(settings: dict[str, Any]) -> list[str]:
    """What is trained on and judged under; damage that is done to tapes and windows is left out."""
    parts = [part for damage in [*settings["damage"], *settings["judged"]] for part in damage.split("+")]
    return [part for part in dict.fromkeys(parts) if not part.startswith("without:")]


def main() -> None:
    """Compute what is missing."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--cache", type=Path, default=zoo.cache().parent / "features")
    cli.add_argument("--corpora", default="mosi_clips,cremad,ravdess,emodb,fer2013")
    cli.add_argument(
        "--damage", help="comma-separated KIND:LEVEL of mosi_clips (default: all of configs/training.yaml)"
    )
    cli.add_argument("--jobs", type=int, default=2)
    cli.add_argument("--limit", type=int, help="only so many of each corpus")
    args = cli.parse_args()
    settings = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))
    damages = args.damage.split(",") if args.damage else every_damage(settings)
    readers = {
        "mosi_clips": lambda: corpora.mosi_clips(args.data),
        "cremad": lambda: corpora.cremad(args.data, settings["emotions"]),
        "ravdess": lambda: corpora.ravdess(args.data, settings["emotions"]),
        "emodb": lambda: corpora.emodb(args.data, settings["emotions"]),
        "fer2013": lambda: corpora.fer2013(args.data, settings["emotions"]),
    }
    for name in args.corpora.split(","):
        examples = some(list(readers[name]())[: args.limit], settings["every"].get(name, 1))
        if name in FACE_CORPORA:
            path = faces_path(args.cache, name)
            if not path.exists():
                tape_faces(examples, path)
            continue
        words = name == "mosi_clips"
        wanted = damages if name == "mosi_clips" else ["clean"]
        jobs = [
            (example, damage)
            for damage in wanted
            for example in examples
            if not done(tape_path(args.cache, name, example.id, damage), words=words)
        ]
        with ProcessPoolExecutor(args.jobs) as pool:
            futures = [pool.submit(tape_clip, example, damage, args.cache, words) for example, damage in jobs]
            for future in tqdm(futures, desc=name, mininterval=5):
                future.result()


if __name__ == "__main__":
    main()
