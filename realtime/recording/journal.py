"""What a window takes, one entry each, as JSON and back: the topics of a recording and their schemas.

Arrays are base64 of little-endian float32, so that a replay gets the same bits. Words are there with consent only;
without it a word is its times, its probability, and the sentiment of the words so far, which gives no word away.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from realtime.errors import SourceError
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.extract.text import MAX_ENDED
from realtime.types import (
    Ended,
    FaceFeatures,
    Opinion,
    SpeechFrame,
    TextFeatures,
    VoiceFeatures,
    Word,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.types import Floats

VERSION = "agfn.recording/1"
Topic = Literal["begin", "seen", "lost", "reset", "face", "voice", "speech", "text", "tick", "paused", "gap"]
"""What the window took, but for `gap`: so many entries and messages before this one did not reach the disk."""
TOPICS: tuple[Topic, ...] = get_args(Topic)
MESSAGES = ("sentiment", "event", "health")
"""Topics that hold the published messages as they went out."""
MAX_WORDS = 256
SPEECH_SAMPLES = np.zeros(512, np.float32)
"""Reliability asks how long a step is, not how it sounds: the sound itself is not kept."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: when the window took it (ns of the recording's clock), its topic, and what it took."""

    at_ns: int
    topic: Topic
    item: Any


def encode(entry: Entry, *, words: bool) -> bytes:
    """Return the JSON of an entry; `words` says whether the words themselves may be kept."""
    body = _body(entry.topic, entry.item, words=words)
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _body(topic: Topic, item: Any, *, words: bool) -> dict[str, Any]:  # noqa: ANN401 - of any topic
    if topic == "text":
        return _text_out(item, words=words)
    return _OUT[topic](item)


def _face_out(face: FaceFeatures) -> dict[str, Any]:
    return {
        "t_ns": face.t_ns,
        "values": _array_out(face.values) if face.found else None,
        "faces": face.faces,
        "score": _number_out(face.score),
        "sharpness": _number_out(face.sharpness),
        "brightness": _number_out(face.brightness),
        "motion": _number_out(face.motion),
        "face_id": face.face_id,
    }


def _text_out(text: TextFeatures, *, words: bool) -> dict[str, Any]:
    return {
        "t_ns": text.t_ns,
        "words": [
            [word.start_ns, word.end_ns, word.text if words else None, _number_out(word.probability), word.committed]
            for word in text.words
        ],
        "values": _array_out(text.values),
        "doubt": text.doubt,
        "decode_s": _number_out(text.decode_s),
        "opinion": text.opinion,
        "ended": [[said.end_ns, _number_out(said.location)] for said in text.ended],
    }


def decode(at_ns: int, topic: str, data: bytes) -> Entry:
    """Read an entry back.

    Raises:
        SourceError: it is not what `encode` writes.
    """
    try:
        body = json.loads(data)
        return Entry(_time(at_ns), topic, _item(topic, body))  # type: ignore[arg-type] # _item refuses other topics
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, binascii.Error) as error:
        raise SourceError(f"damaged entry on {topic!r}: {type(error).__name__} {error}"[:200]) from None


def _item(topic: str, body: Any) -> Any:  # noqa: ANN401 - JSON to any topic
    if topic not in _IN:
        raise ValueError("unknown topic")
    return _IN[topic](body)


def _face_in(body: Any) -> FaceFeatures:  # noqa: ANN401 - JSON
    found = body["values"] is not None
    values = _array_in(body["values"], FACE_DIM) if found else np.zeros(FACE_DIM, np.float32)
    return FaceFeatures(
        t_ns=_time(body["t_ns"]),
        values=values,
        found=found,
        faces=int(body["faces"]),
        score=_number(body["score"]),
        sharpness=_number(body["sharpness"]),
        brightness=_number(body["brightness"]),
        motion=_number(body["motion"]),
        face_id=int(body["face_id"]),
    )


def _speech_out(frame: SpeechFrame) -> dict[str, Any]:
    return {
        "t_ns": frame.t_ns,
        "samples": len(frame.samples),
        "probability": _number_out(frame.probability),
        "level_db": _number_out(frame.level_db),
        "snr_db": None if frame.snr_db is None else _number_out(frame.snr_db),
        "clipped": _number_out(frame.clipped),
    }


def _speech_in(body: Any) -> SpeechFrame:  # noqa: ANN401 - JSON
    return SpeechFrame(
        t_ns=_time(body["t_ns"]),
        samples=SPEECH_SAMPLES[: int(body["samples"])],
        probability=_number(body["probability"]),
        level_db=_number(body["level_db"]),
        snr_db=None if body["snr_db"] is None else _number(body["snr_db"]),
        clipped=_number(body["clipped"]),
    )


def _text_in(body: Any) -> TextFeatures:  # noqa: ANN401 - JSON
    rows = body["words"]
    if len(rows) > MAX_WORDS:
        raise ValueError(f"{len(rows)} words")
    words = tuple(
        Word(_time(begin), _time(end), "" if text is None else str(text), _number(probability), bool(committed))
        for begin, end, text, probability, committed in rows
    )
    values = _array_in(body["values"], None)
    if "opinion" not in body:
        raise SourceError("recorded by an older version, whose words say other things; play it with that version")
    opinion, ended = body["opinion"], body["ended"]
    if values.shape != (len(words), TEXT_DIM) or opinion not in get_args(Opinion) or len(ended) > MAX_ENDED:
        raise ValueError(f"text of shape {values.shape} for {len(words)} words, {opinion!r}, {len(ended)} ended")
    doubt = body["doubt"]
    return TextFeatures(
        _time(body["t_ns"]),
        words,
        values,
        _number(body["decode_s"]),
        None if doubt is None else str(doubt),
        opinion,
        tuple(Ended(_time(end), _number(location)) for end, location in ended),
    )


def _array_out(values: Floats) -> dict[str, Any]:
    return {"shape": list(values.shape), "f32": base64.b64encode(values.astype("<f4").tobytes()).decode()}


def _array_in(body: Any, width: int | None) -> Floats:  # noqa: ANN401 - JSON
    shape = [int(size) for size in body["shape"]]
    flat = np.frombuffer(base64.b64decode(body["f32"], validate=True), "<f4").astype(np.float32)
    values: Floats = flat.reshape(shape) if min(shape, default=0) >= 0 else flat[:0]
    if width is not None and values.shape != (width,):
        raise ValueError(f"shape {values.shape}, wanted ({width},)")
    return values


def _time(value: Any) -> int:  # noqa: ANN401 - JSON
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 62:
        raise ValueError(f"no time: {str(value)[:40]}")
    return value


def _number(value: Any) -> float:  # noqa: ANN401 - JSON
    if isinstance(value, str) and value not in {"nan", "inf", "-inf"}:
        raise ValueError(f"no number: {value[:40]}")
    return float(value)


def _number_out(value: float) -> float | str:
    """JSON has no NaN and no infinity: a broken sound card's are strings, and come back as they were."""
    return value if math.isfinite(value) else str(float(value))


_OUT: dict[Topic, Callable[[Any], dict[str, Any]]] = {
    "begin": lambda t0_ns: {"t0_ns": t0_ns},
    "tick": lambda end_ns: {"end_ns": end_ns},
    "paused": lambda paused: {"paused": paused},
    "reset": lambda _: {},
    "gap": lambda entries: {"entries": entries},
    "seen": lambda item: {"device": item[0], "t_ns": item[1]},
    "lost": lambda item: {"device": item[0], "cause": item[1]},
    "face": _face_out,
    "voice": lambda voice: {"t_ns": voice.t_ns, "values": _array_out(voice.values)},
    "speech": _speech_out,
}
_IN: dict[str, Callable[[Any], Any]] = {
    "begin": lambda body: _time(body["t0_ns"]),
    "tick": lambda body: _time(body["end_ns"]),
    "paused": lambda body: bool(body["paused"]),
    "reset": lambda _: None,
    "gap": lambda body: max(0, _time(body["entries"])),
    "seen": lambda body: (str(body["device"]), _time(body["t_ns"])),
    "lost": lambda body: (str(body["device"]), str(body["cause"])),
    "face": _face_in,
    "voice": lambda body: VoiceFeatures(_time(body["t_ns"]), _array_in(body["values"], VOICE_DIM)),
    "speech": _speech_in,
    "text": _text_in,
}


MEDIA = ("video", "audio")
"""Topics of a recording that holds media. Their schemas are Foxglove's, so that its viewers show them."""
