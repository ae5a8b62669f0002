"""A recording played round and round as a stream, from any place of it: what its window took, at the times it did.

The items are read once and shared by all streams; each stream gets them with its own times.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from realtime.recording.reader import open_recordings
from realtime.types import FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realtime.fuse.window import Window
    from realtime.types import Word

PAIRS = {"seen": "saw", "lost": "lost"}
TAKEN = PAIRS | {topic: f"add_{topic}" for topic in ("face", "voice", "speech", "text")}
"""What of a recording a window takes, and by which of its methods; of PAIRS two values at once."""
ALL_OF = {
    kind: attrgetter(*(field.name for field in fields(kind))) for kind in (FaceFeatures, VoiceFeatures, SpeechFrame)
}
"""Gives out the values of an item, its time first: `replace` takes several times as long, a hundred times a window."""
FPS = 5
"""Pictures a second of the recording that is made where none is given, as in `bench streams`."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Something that a window takes: when, in ns since the begin of the recording, and what."""

    at_ns: int
    topic: str
    item: Any


class Loop:
    """The entries of a recording, again and again without end.

    Args:
        path: of a recording.
    """

    def __init__(self, path: Path) -> None:
        recording = open_recordings(path)[0]
        entries = list(recording.entries())
        begin_ns = next(entry.item for entry in entries if entry.topic == "begin")
        self.devices = {str(key): str(value) for key, value in recording.about["devices"].items()}
        self._beats = [
            Beat(entry.at_ns - begin_ns, entry.topic, shifted(entry.topic, entry.item, -begin_ns))
            for entry in entries
            if entry.topic in TAKEN and entry.at_ns >= begin_ns
        ]
        self.length_ns = max(entry.at_ns for entry in entries) - begin_ns

    def beats(self, at_ns: int, phase_ns: int = 0) -> Iterator[tuple[int, Beat]]:
        """Give out what comes from a time of the stream on, with the time by which each item is to be moved.

        The stream is at `phase_ns` of the recording when its own time is 0.
        """
        turn = (at_ns + phase_ns) // self.length_ns
        while True:
            moved_ns = turn * self.length_ns - phase_ns
            for beat in self._beats:
                if beat.at_ns + moved_ns >= at_ns:
                    yield moved_ns, beat
            turn += 1


class Player:
    """Feeds one window from a loop.

    Args:
        loop: what is played.
        window: of the stream.
        t0_ns: begin of the stream, by the clock of the window.
        phase_ns: where the recording is then.
        from_ns: what came before this is not fed.
    """

    def __init__(self, loop: Loop, window: Window, t0_ns: int, phase_ns: int, from_ns: int) -> None:
        self._t0_ns = t0_ns
        self._take = {topic: getattr(window, TAKEN[topic]) for topic in TAKEN}
        self._beats = loop.beats(from_ns - t0_ns, phase_ns)
        self._next = next(self._beats)

    def feed(self, until_ns: int) -> Iterator[int]:
        """Feed all that comes until then, giving out the time of each item just before it is fed."""
        while True:
            moved_ns, beat = self._next
            at_ns = beat.at_ns + moved_ns + self._t0_ns
            if at_ns > until_ns:
                return
            yield at_ns
            item = shifted(beat.topic, beat.item, moved_ns + self._t0_ns)
            if beat.topic in PAIRS:
                self._take[beat.topic](*item)
            else:
                self._take[beat.topic](item)
            self._next = next(self._beats)


def shifted(topic: str, item: Any, by_ns: int) -> Any:  # noqa: ANN401 - of any topic
    """Return an item with all its times moved."""
    if topic == "seen":
        return item[0], item[1] + by_ns
    if (all_of := ALL_OF.get(type(item))) is not None:
        t_ns, *rest = all_of(item)
        return type(item)(t_ns + by_ns, *rest)
    if isinstance(item, TextFeatures):
        return replace(
            item,
            t_ns=item.t_ns + by_ns,
            words=_words(item.words, by_ns),
            read=_words(item.read, by_ns),
            ended=tuple(replace(said, end_ns=said.end_ns + by_ns) for said in item.ended),
        )
    return item


def _words(words: tuple[Word, ...], by_ns: int) -> tuple[Word, ...]:
    return tuple(replace(word, start_ns=word.start_ns + by_ns, end_ns=word.end_ns + by_ns) for word in words)


def made(folder: Path) -> Path:
    """Record the demo at full speed into a folder, unless that was done before; return the recording.

    Raises:
        RuntimeError: the program fails; its last words are in the message.
    """
    if not folder.is_dir():
        part = folder.with_suffix(f".{os.getpid()}.part")
        options = ["--demo", "--pace", "fast", "--mqtt", "off", "--no-view", "--record", str(part)]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "realtime.run",
                *options,
                "--set",
                f"camera.max_fps={FPS}",
                "--set",
                f"camera.idle_fps={FPS}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-1000:])
        part.rename(folder)
    return folder
