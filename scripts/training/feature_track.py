"""What the live extractors gave for one clip, with the time each item arrived: saved once, replayed into windows.

Of the voice's embedding a track keeps the pooled states: `embedded` projects them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.recording.codec import FACE, SPEECH, SPEECH_SAMPLES
from realtime.types import FaceFeatures, Reading, SpeechFrame, Transcript, VoiceFeatures, Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from realtime.clock import Clock

FACE_QUALITY = ("found", *(field.name for field in FACE.fields if field.meaning and field.name != "face_id"))
SPEECH_QUALITY = tuple(field.name for field in SPEECH.fields if field.meaning)
"""Columns of the quality arrays: the scalars of a recorded item."""


READINGS = "readings"


class FeatureTrack:
    """Stands where a window stands in the wiring, and keeps what comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.items: list[tuple[int, Any]] = []
        self.seen: dict[str, list[int]] = {}

    def saw(self, device: str, t_ns: int) -> None:
        """Note the samples of a device."""
        self.seen.setdefault(device, []).append(t_ns)

    def add(self, item: Any) -> None:  # noqa: ANN401 - features of any modality, a Transcript or a Reading
        """Note features."""
        self.items.append((self._clock.now_ns(), item))

    def worked_off(self, stage: str, t_ns: int) -> None:
        """Nothing waits for a track."""

    add_face = add_voice = add_speech = add_text = add

    def save(self, path: Path) -> None:
        """Write to an .npz without pickled objects."""
        faces = [(at, item) for at, item in self.items if isinstance(item, FaceFeatures)]
        voices = [(at, item) for at, item in self.items if isinstance(item, VoiceFeatures)]
        speech = [(at, item) for at, item in self.items if isinstance(item, SpeechFrame)]
        heard = [(at, item) for at, item in self.items if isinstance(item, Transcript)]
        read = [(at, item) for at, item in self.items if isinstance(item, Reading)]
        arrays: dict[str, Any] = {
            "face_at": np.array([at for at, _ in faces], np.int64),
            "face_t": np.array([face.t_ns for _, face in faces], np.int64),
            "face_values": np.array([face.values for _, face in faces], np.float32),
            "face_quality": _rows(faces, FACE_QUALITY),
            "voice_at": np.array([at for at, _ in voices], np.int64),
            "voice_t": np.array([voice.t_ns for _, voice in voices], np.int64),
            "voice_values": np.array([voice.values for _, voice in voices], np.float32),
            "speech_at": np.array([at for at, _ in speech], np.int64),
            "speech_t": np.array([frame.t_ns for _, frame in speech], np.int64),
            "speech_quality": _rows(speech, SPEECH_QUALITY),
            "transcripts": _bytes([[at, _transcript_out(item)] for at, item in heard]),
            "embeddings": _embeddings([item for _, item in heard]),
            READINGS: readings_array(read),
            "seen": _bytes(self.seen),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **arrays)
        part.replace(path)


def load(path: Path) -> tuple[list[tuple[int, Any]], dict[str, list[int]]]:
    """Read a tape: items in order of arrival, and the sample times of each device."""
    with np.load(path, allow_pickle=False) as arrays:
        items = sorted(_items(arrays), key=lambda pair: pair[0])
        if not any(getattr(item, "ended", False) is True for _, item in items):
            items = _with_ends(items)
        return items, json.loads(arrays["seen"].tobytes())


def embedded(
    items: Iterable[tuple[int, Any]], project: Callable[[int, np.ndarray], np.ndarray]
) -> list[tuple[int, Any]]:
    """Return items whose transcripts hold embeddings instead of pooled states.

    Args:
        items: of a track.
        project: is given the number of a transcript and its pooled states (3 D,), and returns (EMBEDDING_DIM,).
    """
    found, number = [], 0
    for at, item in items:
        if isinstance(item, Transcript):
            if item.embedding is not None:
                item = replace(item, embedding=project(number, item.embedding))  # noqa: PLW2901
            number += 1
        found.append((at, item))
    return found


def _items(arrays: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - numpy's NpzFile
    for at, t, values, quality in zip(
        arrays["face_at"], arrays["face_t"], arrays["face_values"], arrays["face_quality"], strict=True
    ):
        scalars = dict(zip(FACE_QUALITY, quality.tolist(), strict=True))
        scalars |= {"found": bool(scalars["found"]), "faces": int(scalars["faces"])}
        yield int(at), FaceFeatures(int(t), values, **scalars)
    for at, t, values in zip(arrays["voice_at"], arrays["voice_t"], arrays["voice_values"], strict=True):
        yield int(at), VoiceFeatures(int(t), values)
    for at, t, quality in zip(arrays["speech_at"], arrays["speech_t"], arrays["speech_quality"], strict=True):
        scalars = dict(zip(SPEECH_QUALITY, quality.tolist(), strict=True))
        scalars["snr_db"] = None if np.isnan(scalars["snr_db"]) else scalars["snr_db"]
        yield int(at), SpeechFrame(int(t), SPEECH_SAMPLES, **scalars)
    for (at, fields), embedding in zip(json.loads(arrays["transcripts"].tobytes()), arrays["embeddings"], strict=True):
        yield at, _transcript_in(fields, embedding)
    if READINGS in arrays:  # an older track has none
        for at, *fields in json.loads(arrays[READINGS].tobytes()):
            yield at, _reading_in(fields)


def _rows(items: list[tuple[int, Any]], names: tuple[str, ...]) -> np.ndarray:
    """Scalars of items, (len(items), len(names)) float32; NaN for what is not known."""
    values = [[getattr(item, name) for name in names] for _, item in items]
    return np.array([[np.nan if value is None else value for value in row] for row in values], np.float32)


def _with_ends(items: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Say which transcripts of an older track end an utterance: those after which its number grows, and the last."""
    heard = [index for index, (_, item) in enumerate(items) if isinstance(item, Transcript)]
    for index, following in zip(heard, [*heard[1:], None], strict=False):
        at, item = items[index]
        if following is None or items[following][1].utterance > item.utterance:
            items[index] = (at, replace(item, ended=True))
    return items


def read_again(path: Path, items: list[tuple[int, Any]]) -> None:
    """Put second readings into a track that has none."""
    with np.load(path, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **kept | {READINGS: readings_array(items)})
    part.replace(path)


def is_read_again(path: Path) -> bool:
    """Whether a track has second readings."""
    with np.load(path, allow_pickle=False) as arrays:
        return READINGS in arrays.files


def readings_array(items: list[tuple[int, Any]]) -> np.ndarray:
    """Lay out second readings with their arrival."""
    return _bytes(
        [
            [at, item.utterance, item.start_ns, item.end_ns, _words_out(item.words), item.decode_s, item.asr_warning]
            for at, item in items
        ]
    )


def _reading_in(fields: list[Any]) -> Reading:
    utterance, start_ns, end_ns, rows, decode_s, asr_warning = fields
    return Reading(utterance, start_ns, end_ns, tuple(Word(*row) for row in rows), decode_s, asr_warning)


def _words_out(words: Sequence[Word]) -> list[list[Any]]:
    return [[w.start_ns, w.end_ns, w.text, w.probability, w.committed] for w in words]


def _transcript_out(item: Transcript) -> list[Any]:
    words = _words_out((*item.committed, *item.tentative))
    return [item.t_ns, words, item.decode_s, item.asr_warning, item.utterance, item.ended, item.language]


def _transcript_in(fields: list[Any], embedding: np.ndarray) -> Transcript:
    t_ns, rows, decode_s, asr_warning, utterance, ended, language = fields
    words = [Word(*row) for row in rows]
    return Transcript(
        t_ns,
        tuple(word for word in words if word.committed),
        tuple(word for word in words if not word.committed),
        decode_s,
        asr_warning,
        utterance,
        ended,
        language,
        None if np.isnan(embedding).any() else embedding.astype(np.float32),
    )


def _embeddings(heard: Sequence[Transcript]) -> np.ndarray:
    """Embeddings of transcripts, (N, D) float16; a row of NaN where there is none."""
    known = [item.embedding for item in heard if item.embedding is not None]
    width = len(known[0]) if known else 1
    rows = [np.full(width, np.nan) if item.embedding is None else item.embedding for item in heard]
    return np.array(rows, np.float16).reshape(len(heard), width)


def _bytes(value: Any) -> np.ndarray:  # noqa: ANN401 - anything JSON can hold
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
