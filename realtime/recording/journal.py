"""What a window takes, one entry each, as JSON and back: the topics of a recording.

The fields of each stand in codec.py. Words are there with consent only.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from realtime.errors import SourceError
from realtime.recording.codec import ITEMS, TIME, without_words
from realtime.recording.contract import load_json
from realtime.system.logs import printable

VERSION = "agfn.recording/1"
Topic = Literal["begin", "seen", "lost", "reset", "face", "voice", "speech", "text", "tick", "word", "paused", "gap"]
"""What the window took, in its order. It was closed at `tick`, and for a word at `word`: a replay closes it there, too.
Not of the window is `gap`: so many entries and messages before it did not reach the disk."""
TOPICS: tuple[Topic, ...] = get_args(Topic)
MESSAGES = ("sentiment", "event", "health")
"""Topics that hold the published messages as they went out."""
MEDIA = ("video", "audio")
"""Topics of a recording that holds media. Their schemas are Foxglove's, so that its viewers show them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: when the window took it (ns of the recording's clock), its topic, and what it took."""

    at_ns: int
    topic: Topic
    item: Any


def encode(entry: Entry, *, words: bool) -> bytes:
    """Return the JSON of an entry; `words` says whether the words themselves may be kept."""
    item = without_words(entry.item) if entry.topic == "text" and not words else entry.item
    body = ITEMS[entry.topic].write(item)
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def decode(at_ns: int, topic: str, data: bytes) -> Entry:
    """Read an entry back.

    Raises:
        SourceError: it is not what `encode` writes.
    """
    if topic not in ITEMS:
        raise SourceError(f"damaged entry on {topic!r}: unknown topic"[:200])
    try:
        return Entry(TIME.read(at_ns), topic, ITEMS[topic].read(load_json(data)))  # type: ignore[arg-type] # one of ITEMS
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, binascii.Error) as error:
        raise SourceError(printable(f"damaged entry on {topic!r}: {type(error).__name__} {error}")[:200]) from None
