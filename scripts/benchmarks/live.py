"""A live stream without the wait: sound arrives at its own time, decoding takes the CPU time it really takes.

Idle time is skipped, so a stream that needs a fifth of the CPU runs five times faster than in real life, with the lags
it would have there. CPU time, not the clock on the wall: what else the machine does must not change the words.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime.clock import VirtualClock
from realtime.extract.asr.transcriber import Transcriber
from realtime.extract.vad import SpeechDetector
from realtime.types import NS_PER_S, Chunk, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.reading import Utterance
    from realtime.extract.asr.whisper import Decoder, Hypothesis
    from realtime.types import Floats, SpeechFrame, Word


@dataclass
class Run:
    """What came out of a stream: each transcript with the second at which it was there."""

    sound_s: float
    speech_s: float
    updates: list[tuple[float, Transcript]] = field(default_factory=list)
    decode_s: float = 0.0
    decodes: int = 0
    step_s: float = 0.0

    @property
    def committed(self) -> list[Word]:
        """All committed words."""
        return [word for _, update in self.updates for word in update.committed]

    @property
    def text(self) -> str:
        """The committed text."""
        return " ".join(word.text for word in self.committed)


def speech_frames(sound: Floats) -> list[SpeechFrame]:
    """Run the speech detector over a whole recording that begins at time 0."""
    detector = SpeechDetector()
    return [*detector.feed(Chunk(0, sound)), *detector.flush()]


class Metered:
    """A decoder that adds up the CPU time it takes."""

    def __init__(self, model: Decoder) -> None:
        self._model = model
        self.spent_s = 0.0

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode as the model does."""
        began = time.process_time()
        heard = self._model.decode(sound, prefix, max_tokens, language)
        self.spent_s += time.process_time() - began
        return heard


class Timed:
    """A decoder that moves a clock, which stands still otherwise, by the CPU time it takes, or by a fixed time."""

    def __init__(self, model: Decoder, decode_s: float | None) -> None:
        self._model, self._decode_s = model, decode_s
        self.clock = VirtualClock()

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode as the model does."""
        began_s = time.process_time()
        heard = self._model.decode(sound, prefix, max_tokens, language)
        spent_s = time.process_time() - began_s if self._decode_s is None else self._decode_s
        self.clock.advance_to(self.clock.now_ns() + int(spent_s * NS_PER_S))
        return heard


class WaitingClock:
    """Real time since the start."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the start."""
        return time.monotonic_ns() - self._began_ns

    def sleep_until(self, t_ns: int) -> None:
        """Sleep until `t_ns`."""
        time.sleep(max(0, t_ns - self.now_ns()) / NS_PER_S)


def run(
    sound: Floats,
    config: AsrConfig,
    model: Decoder,
    *,
    wall: bool = False,
    decode_s: float | None = None,
    ended: Callable[[Utterance], None] | None = None,
) -> Run:
    """Feed a recording to a recogniser as a live thread does.

    Args:
        sound: the recording, (N,) float32 at 16 kHz.
        config: of the recogniser.
        model: of the recogniser.
        wall: wait for the sound in real time instead of skipping the idle time.
        decode_s: let every decode take this simulated time instead of the one it takes.
        ended: takes the sound of each utterance.
    """
    frames = speech_frames(sound)
    clock: VirtualClock | WaitingClock = WaitingClock()
    if not wall:
        model = Timed(model, decode_s)
        clock = model.clock
    transcriber = Transcriber(config, model, clock, ended=ended)
    result = Run(len(sound) / 16_000, sum(frame.probability >= 0.5 for frame in frames) * 0.032)

    def note(updates: list[Transcript]) -> None:
        for update in updates:
            result.updates.append((clock.now_ns() / NS_PER_S, update))
            result.decode_s += update.decode_s
            result.decodes += update.decode_s > 0

    at = 0
    while at < len(frames):
        clock.sleep_until(frames[at].end_ns)
        now_ns = clock.now_ns()
        upto = at
        while upto < len(frames) and frames[upto].end_ns <= now_ns:
            upto += 1
        note(list(transcriber.feed_batch(frames[at:upto])))
        at = upto
    note(list(transcriber.flush()))
    result.step_s = transcriber.measures().step_s
    return result
