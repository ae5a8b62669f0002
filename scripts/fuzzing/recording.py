"""Whole recordings: MCAP files, packed and plain."""

from __future__ import annotations

import io
import json

from mcap.writer import CompressionType, Writer

from realtime.errors import SourceError
from realtime.recording.journal import MEDIA, MESSAGES, VERSION
from realtime.recording.reader import open_recordings
from scripts.fuzzing.checks import expect_one_line, scratch
from scripts.fuzzing.entry import AT_NS, entries, read

SMALL = ("begin", "tick", "seen", "paused", "event", "video")
"""Topics of few bytes: the rest of a file is what is tried here, its entries are a target of their own."""


def seeds() -> list[bytes]:
    """A recording as ours are, and one without sums and packing, in which a changed byte still means something."""
    return [
        _written(Writer(target := io.BytesIO(), compression=CompressionType.ZSTD), target),
        _written(Writer(target := io.BytesIO(), use_chunking=False, enable_crcs=False), target),
        _written(Writer(target := io.BytesIO(), compression=CompressionType.NONE, enable_crcs=False), target),
    ]


def _written(writer: Writer, target: io.BytesIO) -> bytes:
    writer.start(profile=VERSION, library="any")
    writer.add_metadata("agfn", {"stream": json.dumps("desk"), "settings": "{}"})
    schema = writer.register_schema("any", "jsonschema", b"{}")
    for topic, data in entries():
        if topic not in SMALL:
            continue
        channel = writer.register_channel(topic, "json", schema)
        writer.add_message(channel, AT_NS, data, AT_NS)
    writer.finish()  # type: ignore[no-untyped-call]
    return target.getvalue()


def run(data: bytes) -> bool:
    """Read a file to its end."""
    path = scratch() / "any.mcap"
    path.write_bytes(data)
    try:
        [recording] = open_recordings(path)
        for _, topic, content in recording.raw():
            if topic in MEDIA:
                _media(topic, content)
        list(recording.entries())
        list(recording.messages(*MESSAGES))
    except SourceError as refusal:
        expect_one_line(refusal)
        return False
    return recording.truncated is None


def _media(topic: str, content: bytes) -> None:
    try:
        read(topic, content)
    except ValueError as error:
        raise SourceError(f"no {topic}") from error
