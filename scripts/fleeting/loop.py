"""A recording played round and round as a stream, from any place of it: what its window took, at the times it did.

Its turns follow each other on one axis of time, on which each stream has its own place: so the items of a turn are made
once, and shared by all streams that are in it. What it costs to make them is the extractors', not the window's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from realtime.recording.reader import open_recordings
from realtime.types import NS_PER_S, FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from realtime.clock import Clock
    from realtime.fuse.window import Window
    from realtime.types import Word

PAIRS = {"seen": "saw", "lost": "lost"}
TAKEN = PAIRS | {topic: f"add_{topic}" for topic in ("face", "voice", "speech", "text")}
"""What of a recording a window takes, and by which of its methods; of PAIRS two values at once."""
ALL_OF = {
    kind: attrgetter(*(field.name for field in fields(kind))) for kind in (FaceFeatures, VoiceFeatures, SpeechFrame)
}
"""Gives out the values of an item, its time first: `replace` takes several times as long, for thousands of items."""
TURNS = 3
"""Turns that are kept: of all streams that play at one moment none is more than one turn ahead of another."""
FPS = 5
"""Pictures a second of the recording that is made where none is given, as in `bench streams`."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Something that a window takes: when, in ns since the first turn of the recording began, and what."""

    at_ns: int
    topic: str
    item: Any


class Loop:
    """The entries of a recording, again and again without end.

    Args:
        path: of a recording.
        pause_s: whole seconds after each turn in which camera and microphone go on and nobody says anything.

    Attributes:
        devices: behind the modalities.
        speaks_ns: length of the recording.
        length_ns: of a turn.
    """

    def __init__(self, path: Path, pause_s: int = 0) -> None:
        recording = open_recordings(path)[0]
        entries = list(recording.entries())
        begin_ns = next(entry.item for entry in entries if entry.topic == "begin")
        self.devices = {str(key): str(value) for key, value in recording.about["devices"].items()}
        self._beats = [
            Beat(entry.at_ns - begin_ns, entry.topic, shifted(entry.topic, entry.item, -begin_ns))
            for entry in entries
            if entry.topic in TAKEN and entry.at_ns >= begin_ns
        ]
        self.speaks_ns = max(entry.at_ns for entry in entries) - begin_ns
        self._beats += _pause(self._beats, self.speaks_ns, pause_s)
        self.length_ns = self.speaks_ns + pause_s * NS_PER_S
        self._turns: dict[int, Sequence[Beat]] = {}
        self._making = threading.Lock()

    def beats(self, from_ns: int) -> Iterator[Beat]:
        """Give out what comes from a time on."""
        number = from_ns // self.length_ns
        while True:
            for beat in self._turn(number):
                if beat.at_ns >= from_ns:
                    yield beat
            number += 1

    def _turn(self, number: int) -> Sequence[Beat]:
        with self._making:
            if (found := self._turns.get(number)) is None:
                by_ns = number * self.length_ns
                found = [
                    Beat(beat.at_ns + by_ns, beat.topic, shifted(beat.topic, beat.item, by_ns)) for beat in self._beats
                ]
                if len(self._turns) == TURNS:
                    del self._turns[min(self._turns)]
                self._turns[number] = found
            return found


class Player:
    """Feeds one window from a loop.

    Args:
        loop: what is played.
        window: of the stream; its clock goes by the time of the loop.
        from_ns: what came before this is not fed.
    """

    def __init__(self, loop: Loop, window: Window, from_ns: int) -> None:
        self._take = {topic: getattr(window, TAKEN[topic]) for topic in TAKEN}
        self._beats = loop.beats(from_ns)
        self._next = next(self._beats)

    def feed(self, until_ns: int) -> Iterator[int]:
        """Feed all that comes until then, giving out the time of each item just before it is fed."""
        while (beat := self._next).at_ns <= until_ns:
            yield beat.at_ns
            if beat.topic in PAIRS:
                self._take[beat.topic](*beat.item)
            else:
                self._take[beat.topic](beat.item)
            self._next = next(self._beats)


class PlayedClock:
    """Real time, moved so that a stream is at its place of the loop; while an item is fed, the time at which it came.

    Args:
        real: time.

    Attributes:
        ahead_ns: of real time.
        at_ns: when what is fed just now came; None at other times.
    """

    def __init__(self, real: Clock, ahead_ns: int = 0) -> None:
        self._real, self.ahead_ns = real, ahead_ns
        self.at_ns: int | None = None

    def now_ns(self) -> int:
        """See Clock."""
        return self._real.now_ns() + self.ahead_ns if self.at_ns is None else self.at_ns


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


def _pause(beats: Sequence[Beat], from_ns: int, pause_s: int) -> list[Beat]:
    """Of the last second but one what is seen and measured, again and again, as if nobody spoke."""
    last = [
        beat
        for beat in beats
        if from_ns - 2 * NS_PER_S <= beat.at_ns < from_ns - NS_PER_S and beat.topic not in {"text", "lost"}
    ]
    quiet = [
        replace(beat, item=replace(beat.item, probability=0.0)) if beat.topic == "speech" else beat for beat in last
    ]
    return [
        Beat(beat.at_ns + by_ns, beat.topic, shifted(beat.topic, beat.item, by_ns))
        for by_ns in range(2 * NS_PER_S, (pause_s + 2) * NS_PER_S, NS_PER_S)
        for beat in quiet
    ]


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
