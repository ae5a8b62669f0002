"""A controlled mixture: RAVDESS voices, each beside a face of FER2013 that shows the same emotion.

The recordings have no picture of their own here, so what one person's face and voice do together is not in it; what is
known of the fusion from it is what it does when one of two streams that agree is damaged.

- Voice: mean, deviation and .9 quantile of Whisper's encoder states over the spoken part, minus the mean of what the
  actor said before (undamaged: the noise has just begun), and mean and deviation of the live voice columns. Principal
  components of both, of the training actors.
- Face: probabilities and log odds of the expression network for a picture that it was never trained on. Every fold has
  pictures of its own, and no actor has one twice.
- Damage is done to the sound and to the picture, before anything is computed of them, and r is what the live program
  measures of what is left: by its speech detector, over each actor's clips one after another, and by the sharpness and
  the brightness of the picture. Where there is no face (a black picture), r is 0: that is a missing modality.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import torch
import yaml
from tqdm import tqdm

from models import zoo
from models.affect import EXPRESSIONS
from models.expression import SHAPES
from models.expression_net import WEIGHTS, load
from realtime.config.schema import AsrConfig, Config
from realtime.extract.asr.whisper import AsrModel
from realtime.extract.face.extractor import clarity
from realtime.extract.schema import FACE_DIM, VOICE_COLUMNS
from realtime.extract.vad import SpeechDetector
from realtime.fuse.reliability import Delivery, face_quality, voice_quality
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, FaceFeatures
from scripts.evaluation.expression import probabilities
from scripts.evaluation.fusion_data import FusionData, Signal, by_group
from scripts.evaluation.voice import minus_before, spread, summary
from scripts.neutral_face import FACE_PX
from scripts.train_arousal import heard, sound_of
from scripts.training import corpora, expression
from scripts.training.damage import Damage, damaged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from realtime.types import Floats, Image
    from scripts.training.corpora import Example

VERSION: Final = 1
"""Raise it when a change makes the cached features of the voices wrong."""
ASR: Final = "tiny.en"
SNRS_DB: Final = (20.0, 10.0, 5.0, 0.0, -5.0, -10.0)
BLURS_PX: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of a picture 48 pixels wide."""
COMPONENTS: Final = (32, 16)
"""Principal components of the encoder's states, and of the voice columns."""
FOLDS: Final = 6
SHOWN_AS: Final = {"calm": "neutral", "fearful": "fear", "surprised": "surprise"}
"""What FER2013 calls an emotion of RAVDESS, where it has another name for it; it has no calm faces."""
AGE_S: Final = 0.05
"""A healthy stream's newest features are so old."""
FRAMES_PER_S: Final = 15
LEAST_ODDS: Final = 1e-4


def read(data: Path) -> FusionData:
    """Listen and look, or take what was heard from the cache.

    Raises:
        FileNotFoundError: a corpus is not there.
    """
    emotions = yaml.safe_load(Path("configs/training.yaml").read_text(encoding="utf-8"))["emotions"]
    clips = list(corpora.ravdess(data, emotions))
    if not clips:
        raise FileNotFoundError(f"no ravdess/*.ogg in {data}")
    examples = [clips[index] for index in np.random.default_rng(0).permutation(len(clips))]
    group = np.array([example.speaker for example in examples])
    folds = by_group(group, FOLDS)
    home = np.zeros(len(group), np.int64)
    for number, fold in enumerate(folds):
        home[fold.test] = number
    signals = {
        "voice": voices(examples, zoo.cache().parent / "features"),
        "face": faces(expression.read(data), [shown(example) for example in examples], group, home),
    }
    values = {name: signal.values[0] for name, signal in signals.items()}
    target = np.array([example.label for example in examples], np.float32)
    seen = hashlib.sha256()
    for signal in signals.values():
        seen.update(signal.values.tobytes())
        seen.update(signal.reliability.tobytes())
    return FusionData("mixture", values, target, group, folds, signals, seen.hexdigest())


def shown(example: Example) -> int:
    """Number of the expression that goes with a clip."""
    name = corpora.RAVDESS[int(example.id.split("-")[2])]
    return EXPRESSIONS.index(SHOWN_AS.get(name, name))


def voices(examples: Sequence[Example], cache: Path) -> Signal:
    """Hear every clip at every level of noise, or read what was heard."""
    of = json.dumps([VERSION, ASR, VOICE_COLUMNS, [example.id for example in examples]])
    folder = cache / f"mixture-{hashlib.sha256(of.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    model: AsrModel | None = None
    rows: list[Mapping[str, NDArray[np.float32]]] = []
    for damage in (Damage("clean"), *(Damage("noise", snr_db) for snr_db in SNRS_DB)):
        file = folder / f"{str(damage).replace(':', '_')}.npz"
        if not file.exists():
            model = model or AsrModel(AsrConfig(model=ASR, reading_model="none"))
            part = file.with_suffix(".part.npz")
            content: dict[str, Any] = {**hear(examples, damage, model)}
            np.savez(part, **content)
            part.replace(file)
        with np.load(file, allow_pickle=False) as found:
            rows.append({name: found[name] for name in found.files})
    speaker = np.array([example.speaker for example in examples])
    before = rows[0]["states"] - minus_before(rows[0]["states"], speaker)
    values = np.stack([np.hstack((row["states"] - before, row["columns"])) for row in rows]).astype(np.float32)
    states = before.shape[1]
    blocks = ((states, COMPONENTS[0]), (values.shape[-1] - states, COMPONENTS[1]))
    return Signal("noise", SNRS_DB, values, np.stack([row["reliability"] for row in rows]), blocks)


def hear(examples: Sequence[Example], damage: Damage, model: AsrModel) -> dict[str, NDArray[np.float32]]:
    """What is computed of clips (N) under a damage: `states` (N, 3 S), `columns` (N, 2 D), `reliability` (N,).

    States of clips that are not trusted at all are left 0: nobody sees them.
    """
    sounds: dict[str, Floats] = {}
    for example in examples:
        (chunk,) = damaged([Chunk(0, sound_of(example))], damage, example.id)
        sounds[example.id] = chunk.samples  # type: ignore[union-attr]  # a chunk stays a chunk
    trust = voice_trust([example.speaker for example in examples], list(sounds.values()))
    states = np.zeros((len(examples), 3 * model.states(np.zeros(SAMPLE_RATE_HZ, np.float32)).shape[1]), np.float32)
    for row in tqdm(np.flatnonzero(trust), desc=str(damage), mininterval=10):
        sound = sounds[examples[row].id]
        states[row] = summary(model.states(sound), sound)
    columns = [spread(blocks) for blocks in heard(examples, lambda example: sounds[example.id])]
    return {"states": states, "columns": np.array(columns, np.float32), "reliability": trust}


def voice_trust(speakers: Sequence[str], sounds: Sequence[Floats]) -> Floats:
    """What the live program makes of the voice at the end of each sound (N,), each speaker's one after another."""
    window_ns = round(Config().window.length_s * NS_PER_S)
    delivery = Delivery("microphone", 0.0, AGE_S, 1.0)
    detectors: dict[str, tuple[SpeechDetector, int]] = {}
    found = []
    for speaker, sound in zip(speakers, sounds, strict=True):
        detector, begin_ns = detectors.get(speaker) or (SpeechDetector(), 0)
        chunk = Chunk(begin_ns, sound)
        since_ns = max(begin_ns, chunk.end_ns - window_ns)
        frames = [frame for frame in detector.feed(chunk) if frame.t_ns >= since_ns]
        found.append(voice_quality(frames, delivery, chunk.end_ns).value)
        detectors[speaker] = detector, chunk.end_ns
    return np.array(found, np.float32)


def faces(pool: expression.Faces, wanted: Sequence[int], group: NDArray[np.str_], home: NDArray[np.int64]) -> Signal:
    """Pair every row with a face that shows the same, and look at it at every level of blur.

    Args:
        pool: all faces.
        wanted: (N,) number of the expression.
        group: (N,) the actor.
        home: (N,) the fold in which a row is tested.
    """
    held = pool.part("held")
    chosen = held[paired(np.array(wanted), group, home, pool.label[held])]
    net, _ = load(WEIGHTS)
    values, trust = [], []
    for sigma in (0.0, *BLURS_PX):
        pictures = [_blurred(picture, sigma) for picture in pool.pictures[chosen]]
        given = torch.from_numpy(np.stack(pictures)).float()
        likely = probabilities(net, given, np.full((len(pictures), SHAPES), np.nan, np.float32))
        odds = np.clip(likely, LEAST_ODDS, 1 - LEAST_ODDS)
        values.append(np.hstack((likely, np.log(odds / (1 - odds)))))
        trust.append([face_trust(picture) for picture in pictures])
    return Signal("blur", BLURS_PX, np.stack(values).astype(np.float32), np.array(trust, np.float32))


def paired(
    wanted: NDArray[np.int64], group: NDArray[np.str_], home: NDArray[np.int64], label: NDArray[np.int64], seed: int = 0
) -> NDArray[np.int64]:
    """Deal each row (N,) a face of its kind: number of a label.

    The faces of a kind are split among the folds, and an actor's rows come one after another in the deal.
    """
    dealt = np.zeros(len(wanted), np.int64)
    random = np.random.default_rng(seed)
    for kind in np.unique(wanted):
        hands = np.array_split(random.permutation(np.flatnonzero(label == kind)), home.max() + 1)
        for fold, hand in enumerate(hands):
            own = np.flatnonzero((wanted == kind) & (home == fold))
            dealt[own[np.argsort(group[own], kind="stable")]] = np.resize(hand, len(own))
    return dealt


def face_trust(picture: Image) -> float:
    """What the live program makes of a face that has looked like this (48, 48) for a second, but for the detector.

    A picture of FER2013 is all face; it is brought to the size at which this program always shows them.
    """
    large = cv2.resize(picture, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    sharpness, brightness = clarity(np.asarray(large, np.uint8))
    frames = [
        FaceFeatures(
            t_ns=at * NS_PER_S // FRAMES_PER_S,
            values=np.zeros(FACE_DIM, np.float32),
            found=True,
            faces=1,
            score=1.0,
            sharpness=sharpness,
            brightness=brightness,
            motion=0.01,
        )
        for at in range(1, FRAMES_PER_S + 1)
    ]
    return face_quality(frames, Delivery("camera", 0.0, AGE_S, 1.0), NS_PER_S).value


def _blurred(picture: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) if sigma else picture
