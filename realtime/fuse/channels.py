"""Further estimates of a window for research: valence, arousal, expressions, facial actions, speech rate, pitch ...

Pure arithmetic on what the window holds already; the fusion sees none of it. Each is worth what its modality is worth
(its reliability), and nothing before there is enough to tell it from. docs/channels.md has what they were measured at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.affect import EXPRESSIONS, VALENCE
from models.arousal import ArousalReader
from models.weightsfile import CheckpointError
from realtime.errors import ModelError
from realtime.extract.schema import FACE_COLUMNS, VOICE_COLUMNS, VOICE_DIM
from realtime.extract.voice.prosody import PITCH_PRIOR_OCT
from realtime.fuse.channel_names import ACTIONS, CHANNELS
from realtime.fuse.reliability import RECENT_S, SPEECH_P, ramp, settled
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.types import FaceFeatures, Floats, Modality, Segment, SpeechFrame, Word


LEAST_VOICED_S: Final = 0.3
LEAST_SPAN_S: Final = 1.0
"""Of speech, below which neither its rate nor its pauses say anything."""
ENOUGH_SPAN_S: Final = 3.0
PITCH_SPREAD: Final = (10, 90)
"""Percentiles of the pitch between which its range lies."""

NOTHING: Final = Channel(None, 0.0)
_VALENCE: Final = np.array([VALENCE[name] for name in EXPRESSIONS], np.float32)


class Channels:
    """Tells the channels of windows.

    Raises:
        ModelError: the weights of the arousal are missing or damaged.
    """

    def __init__(self) -> None:
        try:
            self._arousal = ArousalReader.load(VOICE_DIM)
        except CheckpointError as error:
            raise ModelError(str(error)) from None

    def of(
        self,
        faces: Sequence[FaceFeatures],
        speech: Sequence[SpeechFrame],
        words: Sequence[Word],
        segments: Mapping[Modality, Segment],
        end_ns: int,
    ) -> dict[str, Channel]:
        """Return every channel of a window.

        Args:
            faces: the main face in the pictures of the window, in order of time.
            speech: the steps of the speech detector.
            words: of the utterance that reaches into the window.
            segments: the modalities of the window with their reliability.
            end_ns: end of the window.
        """
        found = dict.fromkeys(CHANNELS, NOTHING)
        found |= _face(faces, segments["face"].reliability, end_ns)
        found |= _voice(segments["voice"], self._arousal)
        found["speech_rate"] = _rate(words, segments["text"].reliability)
        found["pause_ratio"] = _pauses(speech, segments["voice"].reliability)
        return found


def valence(likely: Floats) -> float:
    """Valence that is to be expected by the probabilities (7,) of the expressions."""
    return float(likely @ _VALENCE / likely.sum())


def _face(faces: Sequence[FaceFeatures], reliability: float, end_ns: int) -> dict[str, Channel]:
    recent = [face for face in faces if end_ns - face.t_ns <= RECENT_S * NS_PER_S]
    if not recent or not reliability:
        return {}
    worth = reliability * settled(faces[0].t_ns, end_ns)
    values = np.mean([face.values for face in recent], axis=0)
    found = {name: Channel(_above_rest(values, shapes), worth) for name, (_, shapes) in ACTIONS.items()}
    if read := [face.likely for face in recent if face.likely is not None]:
        likely = np.mean(read, axis=0)
        found["valence"] = Channel(valence(likely), worth)
        found |= {name: Channel(float(share), worth) for name, share in zip(EXPRESSIONS, likely, strict=True)}
    return found


def _above_rest(values: Floats, shapes: Sequence[str]) -> float:
    mean = np.mean([values[FACE_COLUMNS.index(name)] for name in shapes])
    return float(np.clip(mean, 0.0, 1.0))


def _voice(segment: Segment, reader: ArousalReader) -> dict[str, Channel]:
    if not len(segment.values) or not segment.reliability:
        return {}
    pitch, voiced = (segment.values[:, VOICE_COLUMNS.index(name)] for name in ("f0_mean", "voiced_share"))
    kept = voiced > 0.5
    voiced_s = 0.1 * float(voiced.sum())
    if voiced_s < LEAST_VOICED_S or not kept.any():
        return {}
    worth = segment.reliability * ramp(voiced_s, LEAST_VOICED_S, 1.0)
    mean = float(np.average(pitch[kept], weights=voiced[kept]))
    excited = reader.read(segment.values[:, :VOICE_DIM], voiced)
    low, high = np.percentile(pitch[kept], PITCH_SPREAD)
    return {
        "pitch_mean": Channel(2.0 ** (PITCH_PRIOR_OCT + mean), worth),
        "pitch_range": Channel(12.0 * float(high - low), worth),
        "arousal": NOTHING if excited is None else Channel(excited, worth),
    }


def _rate(words: Sequence[Word], reliability: float) -> Channel:
    span_s = (words[-1].end_ns - words[0].start_ns) / NS_PER_S if words else 0.0
    if span_s < LEAST_SPAN_S:
        return NOTHING
    return Channel(len(words) / span_s, reliability * ramp(span_s, 0.0, ENOUGH_SPAN_S))


def _pauses(speech: Sequence[SpeechFrame], reliability: float) -> Channel:
    spoken = [index for index, frame in enumerate(speech) if frame.probability >= SPEECH_P]
    if not spoken:
        return NOTHING
    stretch = speech[spoken[0] : spoken[-1] + 1]
    span_s = sum(len(frame.samples) for frame in stretch) / SAMPLE_RATE_HZ
    if span_s < LEAST_SPAN_S:
        return NOTHING
    silent = 1.0 - len(spoken) / len(stretch)
    return Channel(silent, reliability * ramp(span_s, 0.0, ENOUGH_SPAN_S))
