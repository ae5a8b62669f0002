"""A live session on a mock clock: devices, file and extractors that deliver what a test says, everything else as it is.

Threads, channels, windows, AGFN, pauses and messages are the program's own. Pictures and sound hold nothing: the
features are made of their times, so that they are the same in every run.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from realtime.config.schema import Config, StreamConfig
from realtime.errors import DeviceError
from realtime.extract.asr.decode_schedule import DecodeSchedule, Measures
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.devices import Devices
from realtime.session.live import Live
from realtime.types import (
    NS_PER_S,
    SAMPLE_RATE_HZ,
    Chunk,
    FaceFeatures,
    Frame,
    SpeechFrame,
    TextFeatures,
    Transcript,
    VoiceFeatures,
    Word,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from realtime.capture.media import Gate, MediaFile
    from realtime.publish.messages import Message
    from realtime.session.models import SharedModels
    from realtime.types import Opinion
    from scripts.harness.mock_clock import MockClock

MS = 1_000_000
FRAME_NS = 100 * MS
BLOCK_NS = 100 * MS
PICTURE = np.zeros((2, 2, 3), np.uint8)
BLOCK = np.zeros(BLOCK_NS * SAMPLE_RATE_HZ // NS_PER_S, np.float32)


@dataclass
class MockDevice:
    """A camera or a microphone that knows how often it was opened and who holds it.

    Without `plugged` it can't be opened and a read fails; while `hangs` is unset a read doesn't return.
    """

    name: str
    make: Callable[[int], Frame | Chunk]
    clock: MockClock
    step_ns: int = FRAME_NS
    plugged: bool = True
    opened: int = 0
    held: int = 0
    most_held: int = 0
    reads: int = 0
    hangs: bool = False
    goes_on: threading.Event = field(default_factory=threading.Event)

    def open(self) -> None:
        """Open it at once."""
        self.held += 1
        self.opened += self.plugged
        self.most_held = max(self.most_held, self.held)
        if not self.plugged:
            raise DeviceError(f"{self.name}: cannot be opened")

    def read(self) -> Frame | Chunk:
        """Wait for the next item of its grid of times."""
        if self.hangs:
            self.clock.wait(self.goes_on)
        self.clock.sleep_until((self.clock.now_ns() // self.step_ns + 1) * self.step_ns)
        if not self.plugged:
            raise DeviceError(f"{self.name}: went away")
        self.reads += 1
        return self.make(self.clock.now_ns())

    def close(self) -> None:
        """Let go of it."""
        self.held -= 1


class MockFile:
    """A file of so many seconds, with picture and sound."""

    has_picture = has_sound = True
    path = Path("made.mp4")
    on_warning: Any = None

    def __init__(self, seconds: float) -> None:
        self.length_ns = int(seconds * NS_PER_S)

    def pictures(self, start_ns: int, gate: Gate, _threads: int) -> Iterator[Frame]:
        """Pictures of the file's own times, those that the gate lets through."""
        for t_ns in range(start_ns, self.length_ns, FRAME_NS):
            if gate.decodes(t_ns, key=True, key_ahead=lambda _: True) and gate.admits(t_ns):
                yield Frame(t_ns, PICTURE)

    def sound(self) -> Iterator[Chunk]:
        """Sound of the file's own times."""
        return (Chunk(t_ns, BLOCK) for t_ns in range(0, self.length_ns, BLOCK_NS))


def wave(t_ns: int, dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers that move slowly with time, another way in each column, (dim,)."""
    t_s = t_ns / NS_PER_S
    return np.array([math.sin(0.9 * t_s + 1.7 * column) for column in range(dim)], np.float32)


class _Stage:
    """A stage that holds nothing back."""

    def flush(self) -> list[Any]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Release nothing: it holds nothing."""


class MockFace(_Stage):
    """A face in every picture."""

    def feed(self, frame: Frame) -> list[FaceFeatures]:
        """Give the features of a picture."""
        values = 0.1 * wave(frame.t_ns, FACE_DIM)
        return [FaceFeatures(frame.t_ns, values, True, 1, 0.9, 300.0, 0.5, 0.02, 1)]


class MockVoice(_Stage):
    """A voice in every block."""

    def feed(self, chunk: Chunk) -> list[VoiceFeatures]:
        """Give the features of a block."""
        return [VoiceFeatures(chunk.end_ns, 0.5 * wave(chunk.end_ns, VOICE_DIM))]


class MockSpeech(_Stage):
    """Speech in every block."""

    def feed(self, chunk: Chunk) -> list[SpeechFrame]:
        """Give the step of a block."""
        return [SpeechFrame(chunk.t_ns, chunk.samples, 0.9, -20.0, 20.0, 0.0, chunk.lost_samples)]


@dataclass(frozen=True)
class Spoken:
    """A word of the script: when it is spoken, in ns of the clock, and the sentiment that it makes of its sentence."""

    start_ns: int
    text: str
    location: float
    ends: bool = False

    @property
    def end_ns(self) -> int:
        """When the word ends."""
        return self.start_ns + 250 * MS


def script_of(sentences: Sequence[tuple[float, str, float]]) -> list[Spoken]:
    """Spread sentences over time: each begins at a second, with a word every 0.3 s, and comes to a sentiment."""
    script = []
    for begin_s, sentence, location in sentences:
        words = sentence.split()
        for number, text in enumerate(words):
            start_ns = int(begin_s * NS_PER_S) + number * 300 * MS
            script.append(Spoken(start_ns, text, location * (number + 1) / len(words), number == len(words) - 1))
    return script


class MockTranscriber(_Stage):
    """A recogniser that hears the words of a script when their time has come; the newest stays open for a step."""

    def __init__(self, script: Sequence[Spoken]) -> None:
        self._script = script
        self._committed = 0
        self._utterance = 0
        self._schedule = DecodeSchedule(0.5)
        self._heard_ns: int | None = None

    def feed_batch(self, frames: Sequence[SpeechFrame]) -> list[Transcript]:
        """Hear so much more of the sound."""
        now_ns = frames[-1].end_ns
        self._schedule.heard(sum(len(frame.samples) for frame in frames) / SAMPLE_RATE_HZ)
        if self._heard_ns is None:
            self._heard_ns = frames[0].t_ns
            self._committed = sum(word.start_ns < self._heard_ns for word in self._script)
        heard = [word for word in self._script if word.end_ns <= now_ns][self._committed :]
        if not heard:
            return []
        self._schedule.decoded(0.2)
        if heard[0].end_ns > now_ns - BLOCK_NS:
            return [Transcript(now_ns, (), (_word(heard[0], committed=False),), 0.2, utterance=self._utterance)]
        self._committed += 1
        made = Transcript(now_ns, (_word(heard[0], committed=True),), (), 0.2, None, self._utterance, heard[0].ends)
        self._utterance += heard[0].ends
        return [made]

    def measures(self) -> Measures:
        """What it measured of itself."""
        return self._schedule.measures()


def _word(spoken: Spoken, *, committed: bool) -> Word:
    return Word(spoken.start_ns, spoken.end_ns, spoken.text, 0.9, committed)


class MockText(_Stage):
    """A reader to whom each word says what the script says."""

    def __init__(self, script: Sequence[Spoken]) -> None:
        self._location = {word.start_ns: word.location for word in script}
        self._words: tuple[Word, ...] = ()
        self._utterance = 0

    def feed(self, transcript: Transcript) -> list[TextFeatures]:
        """Give the features of the utterance so far."""
        if transcript.utterance != self._utterance:
            self._utterance, self._words = transcript.utterance, ()
        self._words += transcript.committed
        words = self._words + transcript.tentative
        values = np.zeros((len(words), TEXT_DIM), np.float32)
        values[:, 0] = [self._location[word.start_ns] for word in words]
        opinion: Opinion = "final" if transcript.ended else "partial"
        return [TextFeatures(transcript.t_ns, words, values, transcript.decode_s, None, opinion)]


class MockModels:
    """AGFN itself, and extractors that make features of times and words of a script."""

    reads_again = False

    def __init__(self, clock: MockClock, script: Sequence[Spoken] = ()) -> None:
        self.fuser = Fuser(WEIGHTS, "cpu", clock)
        self._script = script
        self.face, self.voice, self.speech = MockFace, MockVoice, MockSpeech

    def transcriber(self, _clock: MockClock, _ended: Callable[[Any], None] | None) -> MockTranscriber:
        """Return a recogniser of the script."""
        return MockTranscriber(self._script)

    def text(self) -> MockText:
        """Return a reader of the script."""
        return MockText(self._script)


class MockSession:
    """Live streams on a mock clock: named streams with a camera and a microphone, and files by their length.

    Args:
        clock: made by the thread that will drive it.
        names: of the streams with devices.
        files: seconds of the files by the name of their stream.
        script: what is said.
        settings: further ones, as in the configuration.
        stays: whether the session goes on without a stream.
    """

    def __init__(
        self,
        clock: MockClock,
        names: Sequence[str] = ("desk",),
        files: dict[str, float] | None = None,
        script: Sequence[Spoken] = (),
        settings: dict[str, Any] | None = None,
        *,
        stays: bool = False,
    ) -> None:
        self.clock, self.sent = clock, cast("list[Message]", [])
        self.cameras, self.microphones = dict[str, MockDevice](), dict[str, MockDevice]()
        for name in names:
            self.plug(name)
        self.files = {name: MockFile(seconds) for name, seconds in (files or {}).items()}
        devices = Devices(
            lambda address, *_: self.cameras[address],
            lambda name, *_: self.microphones[name],
            lambda stream, _: cast("MediaFile | None", self.files.get(stream.name)),
        )
        streams: list[dict[str, Any]] = [{"name": name, "camera": name, "mic": name} for name in names]
        streams += [{"name": name, "source": "made.mp4"} for name in self.files]
        config = Config.model_validate((settings or {}) | {"streams": streams, "control": {"stay": stays}})
        self.outlet = Outlet.into(self.sent.append)
        self.models = MockModels(clock, script)
        self.live = Live(config, cast("SharedModels", self.models), clock, self.outlet, devices=devices, stays=stays)
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None

    def plug(self, name: str) -> StreamConfig:
        """Put a camera and a microphone there, and return a stream that uses them."""
        self.cameras[name] = MockDevice(f"camera {name}", _frame, self.clock)
        self.microphones[name] = MockDevice(f"microphone {name}", _chunk, self.clock, BLOCK_NS)
        return StreamConfig(name=name, camera=name, mic=name)

    def run(self, seconds: float | None = None) -> None:
        """Run the session in the caller's thread."""
        self.live.run(self.stop, seconds)

    def start(self) -> None:
        """Run the session in a thread, until its devices are open."""
        self.thread = self.clock.start(lambda: self.live.run(self.stop), "session")
        self.clock.settle()

    def close(self) -> None:
        """End the session that was started."""
        assert self.thread is not None
        for device in (*self.cameras.values(), *self.microphones.values()):
            device.goes_on.set()
        self.stop.set()
        while self.thread.is_alive():
            self.clock.advance_s(0.1)

    def windows(self, name: str = "desk") -> list[Sentiment]:
        """The sentiment messages of a stream."""
        return [message for message in self.sent if isinstance(message, Sentiment) and message.stream == name]

    def healths(self, name: str = "desk") -> list[Health]:
        """The health messages of a stream."""
        return [message for message in self.sent if isinstance(message, Health) and message.stream == name]

    def events(self, name: str = "desk", component: str | None = None) -> list[EventMessage]:
        """The events of a stream, or of one component of it."""
        events = [message for message in self.sent if isinstance(message, EventMessage) and message.stream == name]
        return [event for event in events if component is None or event.component == component]


def _frame(t_ns: int) -> Frame:
    return Frame(t_ns, PICTURE)


def _chunk(t_ns: int) -> Chunk:
    return Chunk(t_ns - BLOCK_NS, BLOCK)
