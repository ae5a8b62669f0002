"""The JSON schema of every topic of a recording, registered in the file itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from realtime.extract.schema import FACE_COLUMNS, TEXT_COLUMNS, VOICE_COLUMNS
from realtime.publish.messages import EventMessage, Health, Sentiment, json_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

_MODELS: dict[str, type[BaseModel]] = {"sentiment": Sentiment, "event": EventMessage, "health": Health}

_TIME = {"type": "integer", "description": "monotonic nanoseconds of the recording's clock"}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(description: str, columns: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description + (f": {', '.join(columns)}" if columns else ""),
        "properties": {
            "shape": {"type": "array", "items": _COUNT},
            "f32": {"type": "string", "contentEncoding": "base64", "description": "little-endian float32, row by row"},
        },
        "required": ["shape", "f32"],
    }


_WORD = {
    "type": "array",
    "description": "start_ns, end_ns, the word or null without consent, its probability, whether it is committed",
    "prefixItems": [_TIME, _TIME, _maybe(_TEXT), _NUMBER, {"type": "boolean"}],
    "minItems": 5,
    "maxItems": 5,
}

_ENTRIES: dict[str, dict[str, Any]] = {
    "begin": {"t0_ns": _TIME | {"description": "the time that the seconds of the messages count from"}},
    "tick": {"end_ns": _TIME | {"description": "a window that ends there was closed now"}},
    "paused": {"paused": {"type": "boolean"}},
    "reset": {},
    "gap": {"entries": _COUNT | {"description": "what did not reach the disk before this"}},
    "seen": {"device": _TEXT, "t_ns": _TIME},
    "lost": {"device": _TEXT, "cause": _TEXT},
    "face": {
        "t_ns": _TIME,
        "values": _maybe(_array("the face, null when there is none", FACE_COLUMNS)),
        "faces": _COUNT,
        "score": _NUMBER,
        "sharpness": _NUMBER,
        "brightness": _NUMBER,
        "motion": _NUMBER,
        "face_id": _COUNT,
    },
    "voice": {"t_ns": _TIME, "values": _array("the voice", VOICE_COLUMNS)},
    "speech": {
        "t_ns": _TIME,
        "samples": _COUNT,
        "probability": _NUMBER,
        "level_db": _NUMBER,
        "snr_db": _maybe(_NUMBER),
        "clipped": _NUMBER,
    },
    "text": {
        "t_ns": _TIME,
        "words": {"type": "array", "items": _WORD},
        "values": _array("a row a word: what the utterance says up to it", TEXT_COLUMNS),
        "opinion": _TEXT,
        "ended": {"type": "array", "items": {"type": "array", "prefixItems": [_TIME, _NUMBER]}},
        "doubt": _maybe(_TEXT),
        "decode_s": _NUMBER,
    },
}

_STAMP = {
    "type": "object",
    "title": "time",
    "description": "when it was taken, by the recording's clock",
    "properties": {"sec": _COUNT, "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999}},
    "required": ["sec", "nsec"],
}


def _bytes(description: str) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64", "description": description}


_MEDIA: dict[str, tuple[str, dict[str, Any]]] = {
    "video": (
        "foxglove.CompressedImage",
        {"timestamp": _STAMP, "frame_id": _TEXT, "data": _bytes("JPEG"), "format": _TEXT},
    ),
    "audio": (
        "foxglove.RawAudio",
        {
            "timestamp": _STAMP | {"description": "when its first sample was taken, by the recording's clock"},
            "data": _bytes("little-endian int16"),
            "format": _TEXT,
            "sample_rate": _COUNT,
            "number_of_channels": _COUNT,
        },
    ),
}
"""Foxglove's schemas (docs.foxglove.dev/docs/visualization/message-schemas): its viewers show what has their names."""


def name_of(topic: str) -> str:
    """Return the name of a topic's schema."""
    return _MEDIA[topic][0] if topic in _MEDIA else f"agfn.{topic}"


def schema_of(topic: str) -> bytes:
    """Return the JSON schema (2020-12) of a topic, entry or message.

    Raises:
        KeyError: there is no such topic.
    """
    if topic in _MODELS:
        return json.dumps(_message(_MODELS[topic])).encode()
    if topic in _MEDIA:
        name, properties = _MEDIA[topic]
        return json.dumps({"title": name} | _entry(properties)).encode()
    return json.dumps(_entry(_ENTRIES[topic])).encode()


def _entry(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _message(model: type[BaseModel]) -> dict[str, Any]:
    document = json_schema()
    return {"$schema": document["$schema"], "$defs": document["$defs"], "$ref": f"#/$defs/{model.__name__}"}
