"""The data of one training run, and how a model is made of it with or without some speakers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from models import zoo
from models.agfn_config import AgfnConfig
from models.sentence import SentenceLine
from realtime.config.schema import Config
from realtime.extract.text import TextExtractor
from realtime.types import MODALITIES
from scripts.training import corpora
from scripts.training.adapt import Adapted, Sentence, Stage, average, fit, learned_names, sentence
from scripts.training.feature_track import load as load_tape
from scripts.training.fusion import Recipe, Sample, predict, train
from scripts.training.held import HeldOutPredictions
from scripts.training.live import tape_of
from scripts.training.paths import faces_path, tape_path
from scripts.training.windows import DIMS, absent, face_view, replay, sentence_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import torch

    from models.agfn import AGFN
    from models.sentence import SentenceEncoder
    from realtime.types import Modality, WindowView


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's windows under one damage."""

    example: corpora.Example
    damage: str
    views: tuple[WindowView, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A trained model with its text adapter, and what it said of the clips that were held out."""

    model: AGFN
    adapted: Adapted
    held: list[HeldOutPredictions]


class Trainer:
    """Holds the data of one training run."""

    def __init__(self, data: Path, cache: Path, settings: dict[str, Any]) -> None:
        self.data, self.cache, self.settings = data, cache, settings
        self.config = Config()
        self.recipe = Recipe(**settings["fusion"])
        self.network = AgfnConfig.from_keys(
            {"inputs": {name: DIMS[name] for name in MODALITIES}, **settings["network"]}
        )
        emotions = settings["emotions"]
        self.mosi = list(corpora.mosi_text(data))
        self.clips = list(corpora.mosi_clips(data))
        self.voices = [*corpora.ravdess(data, emotions), *corpora.emodb(data, emotions)]
        spoken = [*corpora.rated_snippets(data), *corpora.meld(data, emotions, settings["sentiments"])]
        self.spoken = [example for example in spoken if len(example.text.split()) <= settings["text"]["longest"]]
        self.damages: list[str] = settings["damage"]
        self.judged: list[str] = settings.get("judged", self.damages)

    def first_stage(self) -> dict[str, torch.Tensor]:
        """Adapt to rated and spoken sentences; no speaker of CMU-MOSI is in them. Kept in the cache."""
        stage, rank = Stage(**self.settings["text"]["first"]), self.settings["text"]["rank"]
        path = self.cache / f"text-first-{rank}-{stage.epochs}-{stage.lr:g}-{len(self.spoken)}.safetensors"
        if path.exists():
            return load_file(path)
        model = Adapted(zoo.path("text"), rank)
        fit(model, sentences(self.spoken), stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in learned_names(model).items()}, path)
        return load_file(path)

    def adapter(self, first: dict[str, torch.Tensor], held_out: set[str], seeds: int = 1) -> Adapted:
        """Adapt further to CMU-MOSI, true words and recognised ones, without the held-out speakers.

        The weights are the mean over `seeds` runs: they start from the same point, and their mean generalises better
        than each (model soups, Wortsman 2022).
        """
        true = sentences(example for example in self.mosi if example.speaker not in held_out)
        heard = [
            item
            for example in self.clips
            if example.speaker not in held_out and (item := sentence(self.heard(example), example.label))
        ]
        runs = []
        model = Adapted(zoo.path("text"), self.settings["text"]["rank"])
        for seed in range(seeds):
            model.load_state_dict(first, strict=False)
            fit(model, [*true, *heard], Stage(**self.settings["text"]["second"], seed=seed))
            runs.append({name: tensor.clone() for name, tensor in learned_names(model).items()})
        model.load_state_dict(average(runs), strict=False)
        return model

    def heard(self, example: corpora.Example) -> str:
        """Return what the recogniser committed over a clean clip."""
        items, _ = load_tape(tape_path(self.cache, example.corpus, example.id, "clean"))
        return " ".join(word.text for _, item in items for word in getattr(item, "committed", ()))

    def windows(
        self,
        examples: Sequence[corpora.Example],
        damages: Sequence[str],
        encoder: SentenceEncoder | None,
        every: int,
    ) -> list[Clip]:
        """Replay the tapes of clips into windows.

        A damage is KIND:LEVEL, two of them with a plus between (of the sound first), or without:NAME: nothing is known
        of that modality.
        """
        found = []
        for damage in damages:
            for example in tqdm(examples, desc=f"windows {damage}", mininterval=10, leave=False):
                kind, _, name = damage.partition(":")
                tape = tape_of(self.cache, example, "clean" if kind == "without" else damage)
                if tape is None:
                    continue
                text = None if encoder is None else TextExtractor(SentenceLine(encoder))
                views = tuple(view for view, _ in replay(tape, text, self.config, every=every))
                if kind == "without":
                    views = tuple(
                        replace(view, segments={**view.segments, cast("Modality", name): absent(name)})
                        for view in views
                    )
                found.append(Clip(example, damage, views))
        return found

    def voice_clips(self) -> list[Clip]:
        """Return the windows of acted voices: no words are looked for in them."""
        return self.windows(self.voices, ["clean"], None, 4)

    def face_samples(self) -> list[Sample]:
        """FER2013 through the landmarker; every third picture is held out for evaluation."""
        path = faces_path(self.cache, "fer2013")
        if not path.exists():
            return []
        rng = np.random.default_rng(1)
        with np.load(path, allow_pickle=False) as arrays:
            rows, labels = arrays["rows"], arrays["label"]
        train_rows = [row for row in range(len(rows)) if row % 3 and np.isfinite(rows[row]).all()]
        weight = self.settings["weights"]["face"]
        return [Sample((face_view(rows[row], rng),), float(labels[row]), weight) for row in train_rows]

    def written(self, encoder: SentenceEncoder, examples: Sequence[corpora.Example], seed: int) -> list[Sample]:
        """Return written sentences laid out in time."""
        rng = np.random.default_rng(seed)
        weight = self.settings["weights"]["text"]
        return [
            Sample((sentence_view(SentenceLine(encoder).read(item.words), rng, self.config),), example.label, weight)
            for example in examples
            if (item := sentence(example.text, example.label))
        ]

    def text_samples(self, first: dict[str, torch.Tensor], held_out: set[str], final: SentenceEncoder) -> list[Sample]:
        """Clips and sentences of the speakers that are not held out, each heard by an adapter that did not know them.

        What an adapter says of the sentences it was fitted to is too good: AGFN would learn to believe words more than
        they deserve, and would have nothing left to learn from (stacking, Wolpert 1992).
        """
        rng = np.random.default_rng(2)
        chosen = rng.permutation(len(self.spoken))[: self.settings["spoken_windows"]]
        samples = self.written(final, [self.spoken[index] for index in chosen], 3)
        mosi = [example for example in self.mosi if example.speaker not in held_out]
        clips: list[Sample] = []
        for number, group in enumerate(speaker_folds(mosi, self.settings["text"]["inner"])):
            encoder = self.adapter(first, held_out | group).frozen()
            samples += self.written(encoder, [example for example in mosi if example.speaker in group], 4 + number)
            inside = [example for example in self.clips if example.speaker in group]
            clips += clip_samples(self.windows(inside, self.damages, encoder, 1), self.settings["weights"]["clips"])
        return [*samples, *balanced(clips)]

    def make(self, first: dict[str, torch.Tensor], held_out: set[str], acted: Sequence[Sample]) -> Made:
        """Train without some speakers. `acted`: voices and faces, without words."""
        adapted = self.adapter(first, held_out, self.settings["text"]["seeds"])
        encoder = adapted.frozen()
        model = train([*acted, *self.text_samples(first, held_out, encoder)], self.network, self.recipe, acted)
        outside = [example for example in self.clips if example.speaker in held_out]
        return Made(model, adapted, judge(model, self.windows(outside, self.judged, encoder, 1)))


def judge(model: AGFN, clips: Sequence[Clip]) -> list[HeldOutPredictions]:
    """Let a model say what it thinks of clips."""
    return [HeldOutPredictions(clip.example, clip.damage, **predict(model, clip.views)) for clip in clips]


def clip_samples(clips: Sequence[Clip], weight: float) -> list[Sample]:
    """Every clip counts the same, however long it is; a damaged one less than the clean one."""
    samples = []
    for clip in clips:
        views = tuple(view for view in clip.views if any(part.reliability > 0 for part in view.segments.values()))
        if views:
            samples.append(Sample(views, clip.example.label, weight * (1.0 if clip.damage == "clean" else 0.4)))
    return samples


def balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Let praise and complaint count the same: that a dozen people liked their films says nothing of the next one."""
    total = sum(sample.weight for sample in samples if sample.label)
    share = {
        sign: sum(sample.weight for sample in samples if np.sign(sample.label) == sign) * 2 / total if total else 1.0
        for sign in (-1.0, 1.0)
    }
    return [
        replace(sample, weight=sample.weight / (share.get(float(np.sign(sample.label)), 1.0) or 1.0))
        for sample in samples
    ]


def sentences(examples: Iterable[corpora.Example]) -> list[Sentence]:
    """Return the examples' words with their labels; one without a word is left out."""
    return [item for example in examples if (item := sentence(example.text, example.label))]


def speaker_folds(examples: Sequence[corpora.Example], folds: int) -> list[set[str]]:
    """Speakers in `folds` groups of about the same number of clips: the largest first, each to the smallest group."""
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.speaker] = counts.get(example.speaker, 0) + 1
    groups: list[set[str]] = [set() for _ in range(min(folds, len(counts)))]
    for speaker in sorted(counts, key=lambda name: (-counts[name], name)):
        min(groups, key=lambda group: sum(counts[name] for name in group)).add(speaker)
    return groups
