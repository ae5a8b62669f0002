"""Single entries of a recording: what the window took, pictures and sound, and published messages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from realtime.errors import SourceError
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.recording.codec import ITEMS
from realtime.recording.contract import MODELS, check_size, checked
from realtime.recording.journal import MEDIA, Entry, decode, encode
from realtime.recording.media_tap import decode_media
from realtime.types import FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures, Word
from scripts.fuzzing.checks import expect, expect_one_line

TOPICS = (*ITEMS, *MEDIA, *MODELS)
"""The first byte says of which topic the rest is."""
MESSAGES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "messages.jsonl"
AT_NS = 5_000_000_000


def entries() -> list[tuple[str, bytes]]:
    """One valid entry of every topic."""
    words = (Word(AT_NS - 900, AT_NS - 500, "fine", 0.9, committed=True),)
    items = {
        "begin": AT_NS,
        "tick": AT_NS,
        "word": AT_NS,
        "paused": True,
        "reset": None,
        "gap": 3,
        "seen": ("camera", AT_NS),
        "lost": ("camera", "nothing for 2.1 s"),
        "face": FaceFeatures(AT_NS, np.ones(FACE_DIM, np.float32), True, 1, 0.9, 40.5, 0.5, 0.01, 3),
        "voice": VoiceFeatures(AT_NS, np.ones(VOICE_DIM, np.float32)),
        "speech": SpeechFrame(AT_NS, np.zeros(512, np.float32), 0.875, -20.25, None, 0.0),
        "text": TextFeatures(AT_NS, words, np.ones((1, TEXT_DIM), np.float32)),
    }
    media = json.dumps({"timestamp": {"sec": 5, "nsec": 7}, "data": "AAAA", "format": "jpeg"}).encode()
    found = [(topic, encode(Entry(AT_NS, topic, item), words=True)) for topic, item in items.items()]  # type: ignore[arg-type] # topics of ITEMS
    found += [(topic, media) for topic in MEDIA]
    for line in MESSAGES.read_bytes().splitlines():
        kind = json.loads(line)["schema"].removeprefix("agfn.").partition("/")[0]
        found.append((kind, line))
    return [(topic, data) for topic, data in found if topic in TOPICS]


def seeds() -> list[bytes]:
    """Those entries."""
    return [bytes([TOPICS.index(topic)]) + data for topic, data in entries()]


def read(topic: str, data: bytes) -> None:
    """Read an entry of a topic as whoever plays, exports or reports a recording does."""
    if topic in ITEMS:
        entry = decode(AT_NS, topic, data)
        expect(encode(entry, words=True), "an entry that cannot be written again")
    elif topic in MEDIA:
        decode_media(data)
    else:
        json.dumps(checked(topic, data), allow_nan=False)


def run(data: bytes) -> bool:
    """Read an entry."""
    topic, rest = TOPICS[data[0] % len(TOPICS) if data else 0], data[1:]
    try:
        check_size(topic, rest)
    except ValueError:
        return False
    try:
        read(topic, rest)
    except SourceError as refusal:
        expect_one_line(refusal)
        return False
    except ValueError:
        if topic not in MEDIA:  # whose readers expect it
            raise
        return False
    return True
