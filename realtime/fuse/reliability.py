"""How far each modality of a window can be trusted: r in [0, 1] = freshness x continuity x signal quality.

Pure arithmetic on what the window saw, the same for live streams, replays and damaged training clips. Exactly 0 masks
a modality; the state and the cause say why in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from realtime.config.languages import LANGUAGES, MEASURED
from realtime.system.format import unsigned_zero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from realtime.types import EventKind, FaceFeatures, ModalityState, SpeechFrame, Word

LOST_AFTER_S = 0.5
"""A device without a sample for so long is lost: with hop and lateness it shows within a second."""
LATE_AFTER_S = 2.0
"""An extractor that is so far behind its device says nothing about now."""
FROZEN_AFTER_S = 1.0
"""The same picture for so long is no live picture."""
MUTED_BELOW_DB = -95.0
"""A microphone's own noise is louder than this: below, it is muted or dead."""
GAP_S = 0.25
"""A hole between samples that counts as missing."""
NOISY_BELOW = 0.5
"""A quality below this is called noisy."""
RECENT_S = 1.0
"""What counts as now for signal quality."""
VOICE_SNR_DB = (0.0, 15.0)
"""How a voice sounds is worth nothing where noise is as loud, and all of its worth from the second value on."""
SPEECH_P = 0.5
"""Probability from which a step counts as speech."""
SETTLED_S = 2.0
"""So long a face has to be seen before its expression is worth all that the face is: one picture is no opinion."""


@dataclass(frozen=True, slots=True)
class ModalityQuality:
    """The verdict on one modality. `idle` means healthy, with nothing to judge (silence); the others as in Segment."""

    value: float
    state: ModalityState
    cause: str | None = None
    idle: bool = False
    trouble: EventKind | None = None
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the samples of a modality came in: all ages in seconds at the end of the window.

    `device_age_s` is the age of the newest sample of the device (None: never one), `age_s` of the newest features.
    `coverage` is the share of the window without holes; `lost_cause` what the supervisor knows about a lost device.
    `shown`: it is what a computer plays or shows, where a silence or a picture that stands still is nothing wrong.
    """

    device: str
    device_age_s: float | None
    age_s: float | None
    coverage: float
    lost_cause: str | None = None
    shown: bool = False


def ramp(value: float, low: float, high: float) -> float:
    """0 at or below `low`, 1 at or above `high`, straight in between."""
    return float(min(1.0, max(0.0, (value - low) / (high - low))))


def settled(first_ns: int, end_ns: int) -> float:
    """How far a face that has been seen since then is known, 0 to 1."""
    return ramp((end_ns - first_ns) / 1e9, 0.0, SETTLED_S)


def coverage(times_s: NDArray[np.float64], start_s: float, end_s: float, gap_s: float = GAP_S) -> float:
    """Share of [start, end] without holes longer than `gap_s` between the sorted sample times; 0 without samples."""
    if end_s <= start_s or times_s.size == 0:
        return 0.0
    edges = np.empty(times_s.size + 2)
    edges[0], edges[1:-1], edges[-1] = start_s, times_s, end_s
    holes = np.add.reduce(np.maximum(0.0, edges[1:] - edges[:-1] - gap_s))
    return float(max(0.0, 1.0 - holes / (end_s - start_s)))


def mean(values: Sequence[float]) -> float:
    """The mean as np.mean has it, to the last bit, without its overhead, which is most of it for a few values."""
    return float(np.add.reduce(np.array(values)) / len(values))


def delivered(delivery: Delivery) -> ModalityQuality | None:
    """The verdict when nothing usable comes in: the device is lost or the extractor far behind; else None."""
    if delivery.lost_cause is not None:
        return ModalityQuality(0.0, "lost", delivery.lost_cause)
    if delivery.device_age_s is None:
        return ModalityQuality(0.0, "lost", f"{delivery.device}: nothing yet")
    if delivery.device_age_s > LOST_AFTER_S:
        return ModalityQuality(0.0, "lost", f"{delivery.device}: nothing for {delivery.device_age_s:.1f} s")
    if delivery.age_s is None or delivery.age_s > LATE_AFTER_S:
        return ModalityQuality(0.0, "stale", f"{delivery.device}: analysis is behind")
    return None


def freshness(age_s: float) -> float:
    """1 while samples are at most 0.2 s old, falling to 0 where the analysis counts as far behind."""
    return 1.0 - ramp(age_s, 0.2, LATE_AFTER_S)


def face_quality(faces: Sequence[FaceFeatures], delivery: Delivery, end_ns: int) -> ModalityQuality:
    """Judge the face: found, detector score, sharpness, exposure, frame rate, and a picture that moves.

    Args:
        faces: the features in the window, in order of time.
        delivery: how they came in.
        end_ns: end of the window.
    """
    if (bad := delivered(delivery)) is not None:
        return bad
    still_since = end_ns
    for face in reversed(faces):
        if face.motion > 0:
            break
        still_since = face.t_ns
    still_s = (end_ns - still_since) / 1e9
    if still_s >= FROZEN_AFTER_S and delivery.shown:
        return ModalityQuality(0.0, "stale", f"{delivery.device}: stands still for {still_s:.1f} s")
    if still_s >= FROZEN_AFTER_S:
        return ModalityQuality(0.0, "lost", f"{delivery.device}: frozen picture for {still_s:.1f} s", trouble="frozen")
    recent = [face for face in faces if end_ns - face.t_ns <= RECENT_S * 1e9]
    found = [face for face in recent if face.found]
    if not recent:
        return ModalityQuality(0.0, "stale", f"{delivery.device}: analysis is behind")
    if not found:
        brightness = mean([face.brightness for face in recent])
        return ModalityQuality(
            0.0, "stale", f"{delivery.device}: no face" if brightness > 0.04 else f"{delivery.device}: dark picture"
        )
    parts = {
        "face found in {:.0%} of the frames": (len(found) / len(recent), 0.2, 0.9),
        "detector score {:.2f}": (mean([face.score for face in found]), 0.3, 0.7),
        "blurred, sharpness {:.0f}": (mean([face.sharpness for face in found]), 2.0, 20.0),
        "dark, brightness {:.2f}": (mean([face.brightness for face in found]), 0.03, 0.15),
        "{:.1f} frames/s": (len(recent) / RECENT_S, 0.0, 4.0),
    }
    return _weigh(parts, freshness(delivery.age_s or 0.0) * delivery.coverage)


def snr_quality(snr_db: float | None, low_db: float, high_db: float) -> float:
    """Trust in sound by its signal-to-noise ratio; 1 while it isn't known."""
    return 1.0 if snr_db is None else ramp(snr_db, low_db, high_db)


def recent_snr_db(speech: Sequence[SpeechFrame]) -> float | None:
    """Newest estimate of the signal-to-noise ratio in dB."""
    return next((frame.snr_db for frame in reversed(speech) if frame.snr_db is not None), None)


def muted(speech: Sequence[SpeechFrame], delivery: Delivery, end_ns: int) -> ModalityQuality | None:
    """The verdict when the microphone delivers digital silence: its mute key, or a device that was pulled out."""
    newest = speech[-1] if speech else None
    if newest is not None and end_ns - newest.t_ns <= RECENT_S * 1e9 and newest.level_db >= MUTED_BELOW_DB:
        return None  # as nearly always: the others need not be looked at
    recent = [frame for frame in speech if end_ns - frame.t_ns <= RECENT_S * 1e9]
    if not delivery.shown and len(recent) > 8 and max(frame.level_db for frame in recent) < MUTED_BELOW_DB:
        return ModalityQuality(0.0, "lost", f"{delivery.device}: muted, no sound at all", trouble="frozen")
    return None


def voice_quality(speech: Sequence[SpeechFrame], delivery: Delivery, end_ns: int) -> ModalityQuality:
    """Judge the voice: speech present, signal-to-noise ratio, clipping, and a microphone that isn't muted.

    Args:
        speech: the steps of the speech detector in the window, in order of time.
        delivery: how they came in.
        end_ns: end of the window.
    """
    if (bad := delivered(delivery) or muted(speech, delivery, end_ns)) is not None:
        return bad
    spoken = [frame for frame in speech if frame.probability >= SPEECH_P]
    spoken_s = sum(len(frame.samples) for frame in spoken) / 16_000
    snr_db = _known(recent_snr_db(speech), 30.0)
    clipped = mean([f.clipped for f in spoken]) if spoken else 0.0
    parts = {
        _snr(snr_db): (snr_db, *VOICE_SNR_DB),
        f"clipped in {clipped:.0%} of the samples": (-clipped, -0.1, -0.005),
    }
    trust = _weigh(parts, freshness(delivery.age_s or 0.0) * delivery.coverage)
    if spoken_s < 0.1:
        return (
            ModalityQuality(0.0, trust.state, trust.cause)
            if trust.state == "noisy"
            else ModalityQuality(0.0, "stale", "silence", idle=True)
        )
    return ModalityQuality(trust.value * ramp(spoken_s, 0.0, 0.8), trust.state, trust.cause)


def text_quality(
    words: Sequence[Word],
    speech: Sequence[SpeechFrame],
    asr_warning: str | None,
    delivery: Delivery,
    end_ns: int,
    language: str | None = "en",
) -> ModalityQuality:
    """Judge the words of the window: their probability, the recogniser's warnings, the noise they were heard in, age.

    Args:
        words: the words in the window, in order of time.
        speech: the steps of the speech detector in the window.
        asr_warning: the guard that fired last, if any.
        delivery: how sound came in.
        end_ns: end of the window.
        language: of the words; None as long as it isn't known.
    """
    if (bad := delivered(delivery) or muted(speech, delivery, end_ns)) is not None:
        return bad
    if language is not None and language not in MEASURED:
        cause = f"unsupported: the sentiment of {LANGUAGES[language]} words was never measured"
        return ModalityQuality(0.0, "off", cause, unsupported=True)
    snr_db = recent_snr_db(speech)
    if not words:
        spoken_s = sum(len(f.samples) for f in speech if f.probability >= SPEECH_P) / 16_000
        if snr_quality(snr_db, -5.0, 10.0) < NOISY_BELOW:
            return ModalityQuality(0.0, "noisy", f"{_snr(_known(snr_db, 30.0))}, no words")
        return ModalityQuality(0.0, "stale", "no words yet" if spoken_s >= 0.3 else "silence", idle=True)
    if language is None:
        return ModalityQuality(0.0, "stale", "the language is not known yet", idle=True)
    age_s = max(0.0, (end_ns - words[-1].end_ns) / 1e9)
    probability, snr_db = mean([word.probability for word in words]), _known(snr_db, 30.0)
    parts = {
        f"word probability {probability:.2f}": (probability, 0.2, 0.7),
        _snr(snr_db): (snr_db, -5.0, 10.0),
    }
    trust = _weigh(parts, (1.0 - 0.5 * ramp(age_s, 1.0, 4.0)) * (0.5 if asr_warning else 1.0))
    return ModalityQuality(trust.value, trust.state, trust.cause or asr_warning)


def _known(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _snr(snr_db: float) -> str:
    return f"snr {unsigned_zero(snr_db, 0):.0f} dB"


def _weigh(parts: dict[str, tuple[float, float, float]], delivery: float) -> ModalityQuality:
    """Multiply the quality ramps; below NOISY_BELOW the worst of them is the cause."""
    ramps = {cause.format(measured[0]): ramp(*measured) for cause, measured in parts.items()}
    quality = math.prod(ramps.values())
    value = quality * delivery
    if quality < NOISY_BELOW:
        return ModalityQuality(value, "noisy", min(ramps, key=lambda cause: ramps[cause]))
    if delivery < NOISY_BELOW:
        return ModalityQuality(value, "stale", f"{1 - delivery:.0%} of the window is missing or late")
    return ModalityQuality(value, "ok")
