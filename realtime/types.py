"""What travels between the stages: frozen values with their time and unit in the name.

All times `*_ns` are monotonic nanoseconds of the one clock of the process (see clock.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


SAMPLE_RATE_HZ = 16_000
NS_PER_S = 1_000_000_000

Modality = Literal["text", "voice", "face"]
MODALITIES: tuple[Modality, ...] = ("text", "voice", "face")

Opinion = Literal["listening", "partial", "final"]
"""How much of an utterance is known: nothing yet, a part, all of it."""
ModalityState = Literal["ok", "noisy", "stale", "lost", "off"]
Reason = Literal["hop", "word"]
"""Why a window was closed: its time had come, or an opinion word between two hops."""
EventKind = Literal[
    "started", "lost", "stalled", "frozen", "slow", "recovered", "overload", "paused", "resumed", "ended"
]

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Stage(Protocol[In_contra, Out_co]):
    """An extractor: items in, items out, no threads and no clock of its own.

    Any chunking of the same input gives the same output; `flush` gives what is still held back at the end.
    """

    def feed(self, item: In_contra, /) -> Iterable[Out_co]:
        """Take one item and return what it completes."""
        ...

    def flush(self) -> Iterable[Out_co]:
        """Return what is still pending, at the end of the input or before a pause."""
        ...

    def close(self) -> None:
        """Release models and native handles."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a camera or file. `image` is (H, W, 3) uint8 in OpenCV's BGR order."""

    t_ns: int
    image: Image


@dataclass(frozen=True, slots=True)
class Chunk:
    """Mono sound at 16 kHz, (N,) float32 in [-1, 1]; `t_ns` is the time of the first sample.

    `lost_samples` counts what was dropped just before this chunk (the gap marker).
    """

    t_ns: int
    samples: Floats
    lost_samples: int = 0

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.t_ns + len(self.samples) * NS_PER_S // SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Person:
    """One of the faces of a picture, asked for by `face.people`.

    `id` counts the people seen so far and stays with one who is away for a moment. `box` is left, top, right and bottom
    in shares of the picture. `likely` is (7,) float32, the probabilities of EXPRESSIONS, None where this picture was
    not read for them; `mouth` the opening of the lips in distances from the eyes to the mouth; the others as in
    FaceFeatures.
    """

    id: int
    main: bool
    box: tuple[float, float, float, float]
    mouth: float
    sharpness: float
    brightness: float
    likely: Floats | None = None


@dataclass(frozen=True, slots=True)
class FaceFeatures:
    """What one frame says about the main face.

    `values` is (FACE_DIM,) float32: blendshapes minus the running baseline of this face, head pose, expressions minus
    their baseline; zeros when `found` is false. `score` is the detector's in [0, 1]; `sharpness` the variance of the
    Laplacian on a 112 px crop;
    `brightness` the mean of the crop in [0, 1]; `motion` the mean absolute difference to the previous frame in [0, 1]
    (0 exactly: the same picture again). `face_id` counts the persons followed so far: a new number is another face, or
    one that was away for long, and its baseline starts anew. `likely` is (7,) float32, the probabilities of
    EXPRESSIONS, and `people` all faces, the main one too; both None where they were not asked for.
    """

    t_ns: int
    values: Floats
    found: bool
    faces: int
    score: float
    sharpness: float
    brightness: float
    motion: float
    face_id: int = 0
    likely: Floats | None = None
    people: tuple[Person, ...] | None = None


@dataclass(frozen=True, slots=True)
class VoiceFeatures:
    """One analysis block of the voice. `values` is (VOICE_DIM,) float32, `t_ns` the end of the block."""

    t_ns: int
    values: Floats


@dataclass(frozen=True, slots=True)
class SpeechFrame:
    """One step of the speech detector: 512 samples (32 ms) with what was heard in them.

    `t_ns` is the time of the first sample. `probability` of speech in [0, 1]; `level_db` RMS in dB of full scale
    (floor -120); `snr_db` the running estimate of the signal-to-noise ratio, None until speech and background have
    both been heard; `clipped` the share of samples at full scale; `lost_samples` as in Chunk.
    """

    t_ns: int
    samples: Floats
    probability: float
    level_db: float
    snr_db: float | None
    clipped: float
    lost_samples: int = 0

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.t_ns + len(self.samples) * NS_PER_S // SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word at the time it was spoken; a committed word never changes any more."""

    start_ns: int
    end_ns: int
    text: str
    probability: float
    committed: bool


@dataclass(frozen=True, slots=True)
class Transcript:
    """An update of the recogniser: the words newly committed since the last one, and all that are tentative now.

    `t_ns` is the end of the sound that was heard for it; `decode_s` the time the decoder took (0 when nothing was
    decoded); `asr_warning` a reason to trust the words less (a guard that fired), else None; `utterance` grows by one
    at each end of speech, so that a reader knows which words belong together; `ended` says that this is one. `language`
    is the code of the one that is spoken, None as long as it isn't known. `embedding` (EMBEDDING_DIM,) float32 is of
    the voice in the utterance so far, minus the speaker's mean; None where there is none.
    """

    t_ns: int
    committed: tuple[Word, ...]
    tentative: tuple[Word, ...]
    decode_s: float = 0.0
    asr_warning: str | None = None
    utterance: int = 0
    ended: bool = False
    language: str | None = "en"
    embedding: Floats | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """An utterance that has ended: the time of its last word, and the sentiment that its words were read as."""

    end_ns: int
    location: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A second look at an utterance that has ended: its words as they read when it is decoded as a whole.

    `utterance` is that of its transcripts, whose committed words stay what they were. It covers the sound from
    `start_ns` to `end_ns`: of a very long utterance only the end. `decode_s` and `asr_warning` as in Transcript.
    """

    utterance: int
    start_ns: int
    end_ns: int
    words: tuple[Word, ...]
    decode_s: float = 0.0
    asr_warning: str | None = None


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """The words of the present utterance, each with what it and those before it say together.

    `values` is (len(words), TEXT_DIM) float32: location and log scale of the sentiment. Replaces the features before
    it. `t_ns` is the end of the sound that was heard for them. `opinion` says how much of the utterance is known, and
    `ended` are the utterances before it, the newest last. `read` are the words as a second reading has them, empty
    where none was made; the last row of `values` is then what these say, and `words` stay what they were. `language` as
    in Transcript: in one that nobody measured, or knows yet, nothing is read, and `values` are zeros. `embedding` as in
    Transcript.
    """

    t_ns: int
    words: tuple[Word, ...]
    values: Floats
    decode_s: float = 0.0
    asr_warning: str | None = None
    opinion: Opinion = "partial"
    ended: tuple[Ended, ...] = ()
    read: tuple[Word, ...] = ()
    language: str | None = "en"
    embedding: Floats | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person should know: a component, what happened to it, why, and since when."""

    t_ns: int
    component: str
    kind: EventKind
    cause: str | None = None
    since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One modality in one window.

    `values` is (T, D) float32 and `times_s` (T,) float32, seconds relative to the end of the window (<= 0, rising).
    `reliability` in [0, 1]; exactly 0 masks the segment; `idle`: healthy, but nothing to judge (silence). `age_ms` is
    the age of the newest sample, None if there never was one. `trouble` is what a person should be told of a device
    that delivers, but nothing alive: `frozen` for the same picture over and over, or no sound at all. `unsupported`:
    there is something, and no measured model that could judge it.
    """

    values: Floats
    times_s: Floats
    reliability: float
    state: ModalityState
    cause: str | None
    age_ms: int | None
    idle: bool = False
    trouble: EventKind | None = None
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """One optional channel of a window: an estimate (None where there is nothing to tell it from), and its worth."""

    value: float | None
    reliability: float


@dataclass(frozen=True, slots=True)
class Presence:
    """One person in a window: where the face is, how it comes across by itself, and whether it speaks.

    `valence` is in [-1, 1], `expression` the likeliest one; both None, and `reliability` 0, until the face has been
    seen for a while. `speaking` is the probability that the voice that is heard is this person's, 0 in silence; None
    where there is no sound to tell by.
    """

    id: int
    main: bool
    box: tuple[float, float, float, float]
    expression: str | None
    valence: float | None
    reliability: float
    speaking: float | None


@dataclass(frozen=True, slots=True)
class WindowView:
    """A closed window of one stream: what AGFN sees.

    `text_lag_ms` is the time from the end of the newest word to its appearance; `face_id` counts the persons followed
    so far; `capture_ms` from a sample to its hand-over by the device; `extract_ms` from there to its features (the
    slowest modality's newest). `opinion` says how much of the present utterance is known, `ended` are those before it.
    `context` is the mean of what was said before, None for nothing, `expected` what it lets expect of silence. `read`
    are the words as a second reading has them, where the window holds the whole utterance; else empty. `language` is
    that of the words, None as long as it isn't known. `reason` is why it was closed. `people` and
    `channels` are None where they were not asked for; AGFN sees neither.
    """

    stream: str
    seq: int
    start_ns: int
    end_ns: int
    segments: dict[Modality, Segment]
    words: tuple[Word, ...] = ()
    text_lag_ms: int | None = None
    faces: int = 0
    face_id: int = 0
    capture_ms: float = 0.0
    extract_ms: float = 0.0
    opinion: Opinion = "listening"
    ended: tuple[Ended, ...] = ()
    context: float | None = None
    expected: float = 0.0
    read: tuple[Word, ...] = ()
    language: str | None = None
    reason: Reason = "hop"
    people: tuple[Presence, ...] | None = None
    channels: Mapping[str, Channel] | None = None


def item_end_ns(item: Any) -> int:  # noqa: ANN401 - any of the frozen values of types.py
    """Time at which an item was complete: the end of sound, the moment of a picture."""
    return int(item.end_ns) if hasattr(item, "end_ns") else int(item.t_ns)
