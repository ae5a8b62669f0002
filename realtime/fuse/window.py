"""The sliding window of one stream: features go in as they come, a view with reliabilities comes out at each hop.

No thread: the caller says when the window ends. A lock makes `add_*` safe from the extractors' threads. The clock
only stamps arrivals, for the latencies.
"""

from __future__ import annotations

import threading
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from realtime.config.languages import MEASURED
from realtime.extract.schema import EMBEDDING_DIM, FACE_DIM, TEXT_DIM, VOICE_DIM, VOICE_INPUT_DIM
from realtime.fuse.due import Due
from realtime.fuse.opinion_word import OpinionWord
from realtime.fuse.people import People
from realtime.fuse.reliability import (
    LOST_AFTER_S,
    Delivery,
    ModalityQuality,
    coverage,
    face_quality,
    settled,
    text_quality,
    voice_quality,
)
from realtime.system.shown import is_shown
from realtime.types import MODALITIES, NS_PER_S, Modality, Segment, WindowView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from realtime.clock import Clock
    from realtime.config.schema import WindowConfig
    from realtime.fuse.channels import Channels
    from realtime.fuse.due import StageName
    from realtime.types import FaceFeatures, Floats, Reason, SpeechFrame, TextFeatures, VoiceFeatures, Word

T = TypeVar("T", "FaceFeatures", "VoiceFeatures", "SpeechFrame")
STEADY_S = 0.8 * LOST_AFTER_S
"""A device whose samples were too far apart counts again when they are at most so far apart: else it would flicker."""
T_NS: Callable[[Any], int] = attrgetter("t_ns")
END_NS: Callable[[Any], int] = attrgetter("end_ns")
DIMS: dict[Modality, int] = {"text": TEXT_DIM, "voice": VOICE_INPUT_DIM, "face": FACE_DIM}


class Timed(Protocol):
    """Anything with a time."""

    @property
    def t_ns(self) -> int:
        """Monotonic nanoseconds."""
        ...


class Window:
    """The last `config.length_s` seconds of one stream.

    Args:
        stream: name of the stream.
        config: length, hop and lateness.
        devices: name of the device behind each modality, for the causes; a modality that isn't named is off.
        clock: of the process.
        people: whether everyone in the picture is told by themselves.
        channels: what tells the optional channels, where they are asked for.

    Attributes:
        on_whole: called, once, when the window that `awaits` was asked about is whole; from any thread, must not wait.
        on_word: called, once until the next window is closed, when an opinion word is committed; likewise.
    """

    def __init__(
        self,
        stream: str,
        config: WindowConfig,
        devices: Mapping[Modality, str],
        clock: Clock,
        *,
        people: bool = False,
        channels: Channels | None = None,
    ) -> None:
        self.stream = stream
        self._tells_people, self._channels = people, channels
        self._clock = clock
        self._devices = dict(devices)
        self._length_ns = int(config.length_s * NS_PER_S)
        self._lock = threading.Lock()
        self._seq = 0
        self._paused = False
        self._due = Due(devices)
        self._opinion = OpinionWord()
        self._awaited_ns: int | None = None
        self._news = False
        self.on_whole: Callable[[], None] = _nobody
        self.on_word: Callable[[], None] = _nobody
        self.reset()

    def reset(self) -> None:
        """Forget all that was seen, as after a pause; the sequence number goes on."""
        with self._lock:
            self._faces: deque[FaceFeatures] = deque()
            self._people = People() if self._tells_people else None
            self._voices: deque[VoiceFeatures] = deque()
            self._speech: deque[SpeechFrame] = deque()
            self._text: TextFeatures | None = None
            self._first_ns: dict[str, int] = {}
            self._seen_ns: dict[str, int] = {}
            self._sparse_s: dict[str, float] = {}
            self._causes: dict[str, str] = {}
            self._capture_ms: dict[str, float] = {}
            self._extract_ms: dict[Modality, float] = {}
            self._newest_word_ns = 0
            self._text_lag_ms: int | None = None
            self._due.reset()
            self._opinion.reset()
            self._tell_if_whole()

    def pause(self) -> None:
        """Forget all that was seen and take nothing in until resumed."""
        with self._lock:
            self._paused = True
        self.reset()

    def resume(self) -> None:
        """Take in again."""
        self.reset()
        with self._lock:
            self._paused = False

    @property
    def seq(self) -> int:
        """Number of the next window."""
        return self._seq

    def go_on_at(self, seq: int) -> None:
        """Give the next window this number: another one has counted so far."""
        self._seq = seq

    def off(self, modality: Modality) -> None:
        """Leave a modality out from now on."""
        with self._lock:
            self._devices.pop(modality, None)
            self._due = Due(self._devices)

    def awaits(self, end_ns: int) -> bool:
        """Whether something that belongs to the window that ends then is on its way; `on_whole` tells when no more."""
        with self._lock:
            waits = not self._paused and not self._due.nothing(end_ns)
            self._awaited_ns = end_ns if waits else None
            return waits

    def worked_off(self, stage: StageName, t_ns: int) -> None:
        """Note that a stage has worked off its input up to this time, and has handed on what came of it."""
        with self._lock:
            if not self._paused:
                self._due.worked_off(stage, t_ns)
                self._tell_if_whole()

    def saw(self, device: str, t_ns: int) -> None:
        """Note that a device delivered a sample, before anything is computed from it; it isn't lost any more."""
        with self._lock:
            if self._paused:
                return
            self._first_ns.setdefault(device, t_ns)
            apart_s = (t_ns - self._seen_ns.get(device, t_ns)) / NS_PER_S
            if apart_s > LOST_AFTER_S:
                self._sparse_s[device] = apart_s
            elif apart_s <= STEADY_S:
                self._sparse_s.pop(device, None)
            self._seen_ns[device] = max(t_ns, self._seen_ns.get(device, t_ns))
            self._causes.pop(device, None)
            self._capture_ms[device] = (self._clock.now_ns() - t_ns) / 1e6
            self._due.saw(device, t_ns)
            self._tell_if_whole()

    def passed_over(self, device: str, t_ns: int) -> None:
        """Note that a picture of this moment is not looked at; those before it that are have been seen."""
        with self._lock:
            if not self._paused:
                self._due.passed_over(device, t_ns)
                self._tell_if_whole()

    def lost(self, device: str, cause: str) -> None:
        """Note that a device is lost, and why; it stays so until it delivers again."""
        with self._lock:
            self._causes[device] = cause
            self._due.lost(device)
            self._tell_if_whole()

    def add_face(self, features: FaceFeatures) -> None:
        """Add the features of a frame."""
        with self._lock:
            if self._paused:
                return
            self._faces.append(features)
            self._extracted("face", features.t_ns)

    def add_voice(self, features: VoiceFeatures) -> None:
        """Add the features of a voice block."""
        with self._lock:
            if self._paused:
                return
            self._voices.append(features)
            self._extracted("voice", features.t_ns)

    def add_speech(self, frame: SpeechFrame) -> None:
        """Add a step of the speech detector."""
        with self._lock:
            if not self._paused:
                self._speech.append(frame)

    def add_text(self, features: TextFeatures) -> None:
        """Replace the words of the recent past."""
        with self._lock:
            if self._paused:
                return
            self._text = features
            if features.words and (end_ns := features.words[-1].end_ns) > self._newest_word_ns:
                self._newest_word_ns = end_ns
                self._text_lag_ms = round((self._clock.now_ns() - end_ns) / 1e6)
            if not self._news and self._opinion.is_news(features):
                self._news = True
                self.on_word()

    def close(self, end_ns: int, reason: Reason = "hop") -> WindowView:
        """Close the window that ends at `end_ns` with whatever has arrived."""
        with self._lock:
            self._awaited_ns, self._news = None, False
            self._opinion.told(self._text)
            start_ns = end_ns - self._length_ns
            self._forget_before(start_ns)
            faces = _until(self._faces, end_ns, T_NS)
            voices = _until(self._voices, end_ns, T_NS)
            speech = _until(self._speech, end_ns, END_NS)
            words, values = self._words(start_ns, end_ns)
            whole = self._text is not None and len(words) == len(self._text.words)
            read = self._text.read if self._text and whole else ()
            asr_warning = self._text.asr_warning if self._text else None
            heard_in = {} if self._text is None else {"language": self._text.language}
            found = [face for face in faces if face.found]
            found = [face for face in found if face.face_id == found[-1].face_id]  # the person who is there now
            known = np.float32(settled(found[0].t_ns, end_ns) if found else 0.0)
            heard = self._embedding(start_ns, end_ns)
            segments: dict[Modality, Segment] = {
                "face": _segment(
                    self._quality("face", lambda d: face_quality(faces, d, end_ns), faces, start_ns, end_ns),
                    _stacked([face.values for face in found], FACE_DIM) * known,
                    [face.t_ns for face in found],
                    end_ns,
                ),
                "voice": _segment(
                    self._quality("voice", lambda d: voice_quality(speech, d, end_ns), voices, start_ns, end_ns),
                    _beside(_stacked([voice.values for voice in voices], VOICE_DIM), heard),
                    [voice.t_ns for voice in voices],
                    end_ns,
                ),
                "text": _segment(
                    self._quality(
                        "text",
                        lambda d: text_quality(read or words, speech, asr_warning, d, end_ns, **heard_in),
                        speech,
                        start_ns,
                        end_ns,
                    ),
                    values,
                    [word.end_ns for word in words],
                    end_ns,
                ),
            }
            view = WindowView(
                stream=self.stream,
                seq=self._seq,
                start_ns=start_ns,
                end_ns=end_ns,
                segments={name: segments[name] for name in MODALITIES},
                words=tuple(words),
                read=read,
                faces=faces[-1].faces if faces else 0,
                opinion=self._text.opinion if words and self._text and self._text.language in MEASURED else "listening",
                language=self._text.language if self._text else None,
                ended=self._text.ended if self._text else (),
                # A face that does not count must not reset anything either.
                face_id=found[-1].face_id if found and segments["face"].reliability > 0 else 0,
                text_lag_ms=self._text_lag_ms if words else None,
                capture_ms=max(self._capture_ms.values(), default=0.0),
                extract_ms=max(self._extract_ms.values(), default=0.0),
                reason=reason,
                people=self._people.close(faces, speech, end_ns) if self._people is not None else None,
                channels=self._channels.of(found, speech, words, segments, end_ns) if self._channels else None,
            )
            self._seq += 1
            return view

    def _words(self, start_ns: int, end_ns: int) -> tuple[list[Word], Floats]:
        """The utterance that reaches into the window: its first words say what its last ones mean."""
        if self._text is None:
            return [], np.zeros((0, TEXT_DIM), np.float32)
        keep = [i for i, word in enumerate(self._text.words) if word.start_ns < end_ns]
        if not keep or self._text.words[keep[-1]].end_ns <= start_ns:
            return [], self._text.values[:0]
        return [self._text.words[i] for i in keep], self._text.values[keep]

    def _embedding(self, start_ns: int, end_ns: int) -> Floats:
        """The newest embedding of the voice that reaches into the window, whether there is one, and its age."""
        found = np.zeros(EMBEDDING_DIM + 2, np.float32)
        text = self._text
        if text is not None and text.embedding is not None and text.t_ns > start_ns:
            found[:EMBEDDING_DIM] = text.embedding
            found[-2:] = 1.0, max(0, end_ns - text.t_ns) / NS_PER_S
        return found

    def _quality(
        self,
        name: Modality,
        judge: Callable[[Delivery], ModalityQuality],
        items: Sequence[Timed],
        start_ns: int,
        end_ns: int,
    ) -> ModalityQuality:
        device = self._devices.get(name)
        if device is None:
            return ModalityQuality(0.0, "off")
        seen_ns = self._seen_ns.get(device)
        times_s = (np.array(list(map(T_NS, items)), np.int64) - end_ns) / 1e9
        begin_ns = max(start_ns, self._first_ns.get(device, start_ns))
        delivery = Delivery(
            device=device,
            device_age_s=None if seen_ns is None else max(0, end_ns - seen_ns) / 1e9,
            age_s=float(-times_s[-1]) if items else None,
            coverage=coverage(times_s, (begin_ns - end_ns) / 1e9, 0.0),
            lost_cause=self._causes.get(device) or self._sparse(device),
            shown=is_shown(device),
        )
        return judge(delivery)

    def _tell_if_whole(self) -> None:
        if self._awaited_ns is not None and (self._paused or self._due.nothing(self._awaited_ns)):
            self._awaited_ns = None
            self.on_whole()

    def _sparse(self, device: str) -> str | None:
        apart_s = self._sparse_s.get(device)
        return None if apart_s is None else f"{device}: delivers only every {apart_s:.1f} s"

    def _extracted(self, name: Modality, t_ns: int) -> None:
        delay_ms = (self._clock.now_ns() - t_ns) / 1e6
        self._extract_ms[name] = max(0.0, delay_ms - self._capture_ms.get(self._devices.get(name, ""), 0.0))

    def _forget_before(self, start_ns: int) -> None:
        _trim(self._faces, start_ns)
        _trim(self._voices, start_ns)
        _trim(self._speech, start_ns)


def _nobody() -> None:
    """Tell nobody."""


def _trim(items: deque[T], start_ns: int) -> None:
    while items and items[0].t_ns < start_ns:
        items.popleft()


def _until(items: deque[T], end_ns: int, when: Callable[[T], int]) -> list[T]:
    """The items up to a time, which are nearly all: only the newest are looked at."""
    found = list(items)
    while found and when(found[-1]) > end_ns:
        found.pop()
    return found


def _stacked(values: list[Floats], dim: int) -> Floats:
    return np.array(values, np.float32) if values else np.zeros((0, dim), np.float32)


def _beside(values: Floats, heard: Floats) -> Floats:
    """Put the same columns beside every row: (T, D), (E,) to (T, D + E)."""
    found = np.empty((len(values), values.shape[1] + len(heard)), np.float32)
    found[:, : values.shape[1]], found[:, values.shape[1] :] = values, heard
    return found


def _segment(trust: ModalityQuality, values: Floats, times_ns: list[int], end_ns: int) -> Segment:
    newest_ns = times_ns[-1] if times_ns else None
    return Segment(
        values=values.astype(np.float32, copy=False),
        times_s=np.minimum(0.0, (np.array(times_ns, np.int64) - end_ns) / 1e9).astype(np.float32),
        reliability=trust.value if len(values) else 0.0,
        state=trust.state,
        cause=trust.cause,
        age_ms=None if newest_ns is None else max(0, round((end_ns - newest_ns) / 1e6)),
        idle=trust.idle,
        trouble=trust.trouble,
        unsupported=trust.unsupported,
    )
