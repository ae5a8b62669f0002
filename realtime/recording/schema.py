"""The JSON schema of every topic of a recording, registered in the file itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from realtime.publish.messages import EventMessage, Health, Sentiment, json_schema
from realtime.recording.codec import COUNT, ITEMS, TEXT

if TYPE_CHECKING:
    from pydantic import BaseModel

_MODELS: dict[str, type[BaseModel]] = {"sentiment": Sentiment, "event": EventMessage, "health": Health}

_STAMP = {
    "type": "object",
    "title": "time",
    "description": "when it was taken, by the recording's clock",
    "properties": {"sec": COUNT.schema, "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999}},
    "required": ["sec", "nsec"],
}


def _bytes(description: str) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": "base64", "description": description}


_MEDIA: dict[str, tuple[str, dict[str, Any]]] = {
    "video": (
        "foxglove.CompressedImage",
        {"timestamp": _STAMP, "frame_id": TEXT.schema, "data": _bytes("JPEG"), "format": TEXT.schema},
    ),
    "audio": (
        "foxglove.RawAudio",
        {
            "timestamp": _STAMP | {"description": "when its first sample was taken, by the recording's clock"},
            "data": _bytes("little-endian int16"),
            "format": TEXT.schema,
            "sample_rate": COUNT.schema,
            "number_of_channels": COUNT.schema,
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
    fields = ITEMS[topic].fields
    entry = _entry({field.name: field.codec.schema for field in fields})
    entry["required"] = sorted(field.name for field in fields if not field.added)
    return json.dumps(entry).encode()


def _entry(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _message(model: type[BaseModel]) -> dict[str, Any]:
    document = json_schema()
    return {"$schema": document["$schema"], "$defs": document["$defs"], "$ref": f"#/$defs/{model.__name__}"}
