"""Incremental speech recognition: words while they are spoken, committed once, with a lag that never grows.

SpeechFrame -> endpoint (speech or not) -> sound buffer -> whisper (one decode) -> guards -> agreement -> Transcript

- Decoded is at a step that adapts to the machine, at once in a pause, and never in silence.
- What waits is taken in as a whole and decoded once (`feed_batch`): a slow machine makes updates rarer, never later.
- The end of speech commits what is pending.
- The buffer is trimmed at committed words; those that stay in it are the forced prefix of the next decode.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from realtime.config.languages import AUTO
from realtime.extract.asr import hallucination
from realtime.extract.asr.audio_buffer import SoundBuffer, silence
from realtime.extract.asr.decode_schedule import DecodeSchedule, Measures
from realtime.extract.asr.endpointer import Endpointer, EndpointRules
from realtime.extract.asr.local_agreement import LocalAgreement, Spoken
from realtime.extract.asr.reading import WholeUtterance
from realtime.extract.asr.repeats import LONGEST_PHRASE, RUN
from realtime.extract.asr.voice_mean import VoiceMean
from realtime.extract.asr.whisper import AsrModel
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from realtime.clock import Clock
    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.reading import Utterance
    from realtime.extract.asr.whisper import Decoder
    from realtime.types import SpeechFrame

__all__ = ["AsrModel", "Transcriber"]

log = logging.getLogger(__name__)

PRE_ROLL_FRAMES = 10
"""Frames (0.32 s) before the onset that are decoded too: the detector needs some sound to be sure."""
LEAST_SPEECH_S = 0.09
"""Less speech than this is a click."""
SETTLED_S = 0.1
"""Sound after the end of speech that a decode must have seen to be the last one of an utterance."""
FILLED_GAP_S = 0.25
"""A shorter gap is bridged with silence, a longer one ends the utterance."""
BREAK_S = 0.06
"""Silence in which a pause seems to begin."""
COMMIT_AGE_S = 0.25
"""Sound that must follow a word before agreement commits it: at the edge two hypotheses can share one error."""
CERTAIN_SPEECH_S = 1.25
"""Speech the buffer must hold before agreement commits anything: with less, Whisper agrees with itself on nonsense."""
OVERDUE_S = 0.9
"""A word with so much sound after it is committed without a second hypothesis: those to come know hardly more of it."""
TRIM_S = 5.0
"""A longer buffer is trimmed at a committed word."""
KEEP_S = 2.0
"""Sound that a trim leaves at least."""
RESET_S = 5.0
"""After so much silence nothing of the past counts any more."""
ALARM_S = 20.0
"""So much speech without a word is an alarm."""
LANGUAGE_SPEECH_S = 2.0
LANGUAGE_P = 0.7
"""Speech and probability that are needed before a detected language is believed, and kept: with less it changes from
decode to decode, so that no word is committed before."""
SAID_WORDS = RUN * LONGEST_PHRASE
"""Committed words of the utterance that a loop is looked for in."""
WARN_EVERY_S = 30.0


class Transcriber:
    """Turns the frames of one stream into transcripts.

    `feed` decodes exactly when a decode is due, so any chunking gives the same words; `feed_batch` is for a live
    thread, takes all that waits and decodes at most once for it.

    Args:
        config: step and buffer.
        model: shared by all streams.
        clock: measures the decodes; with a virtual clock they take no time and the step stays as configured.
        rules: when speech begins and ends.
        ended: takes the sound of each utterance in which words were said, to be read again (reading.py).

    Attributes:
        memory: how this stream's voice is embedded on average.
    """

    def __init__(
        self,
        config: AsrConfig,
        model: Decoder,
        clock: Clock,
        rules: EndpointRules | None = None,
        ended: Callable[[Utterance], None] | None = None,
    ) -> None:
        self._model, self._clock = model, clock
        self.memory = VoiceMean()
        self._embedding: tuple[float, ...] | None = None
        self._whole = None if ended is None else WholeUtterance(ended)
        self._buffer_s = config.buffer_s
        self._pace = DecodeSchedule(config.step_s)
        self._endpointer = Endpointer(rules)
        self._agreement = LocalAgreement()
        self._buffer = SoundBuffer()
        self._pre_roll: deque[SpeechFrame] = deque(maxlen=PRE_ROLL_FRAMES)
        self._prefix: list[Spoken] = []
        self._said: deque[Spoken] = deque(maxlen=SAID_WORDS)
        self._in_talk = False
        self._language = None if config.language == AUTO else config.language
        self._utterance = 0
        self._words = 0
        self._shown = 0
        self._open = False
        """Whether the last update held tentative words: somebody shows them."""
        self._decoded_ns = 0
        self._wordless_s = 0.0
        self._alarmed = False
        self._warned_ns: int | None = None

    def feed(self, frame: SpeechFrame, /) -> Iterable[Transcript]:
        """Take a frame; return a transcript if a decode was due or speech ended."""
        return [*self._hear(frame), *self._act()]

    def feed_batch(self, frames: Sequence[SpeechFrame], /) -> Iterable[Transcript]:
        """Take all frames that wait and decode once for all of them; more often only if they overfill the buffer."""
        updates: list[Transcript] = []
        for frame in frames:
            updates += self._hear(frame)
            if self._full:
                updates += self._act()
        return [*updates, *self._act()]

    def flush(self) -> Iterable[Transcript]:
        """End the utterance and commit its words."""
        self._endpointer.stop()
        return self._act()

    def close(self) -> None:
        """Forget the sound; the shared model stays loaded."""
        self._buffer.clear()
        self._pre_roll.clear()
        if self._whole is not None:
            self._whole.end(None)

    @property
    def overload(self) -> str | None:
        """Why the words come late, None while they don't."""
        return self._pace.overload

    def measures(self) -> Measures:
        """Step, decode time, real-time factor, lags and the cause of an overload, measured up to now."""
        return self._pace.measures()

    @property
    def _full(self) -> bool:
        return self._buffer.duration_s >= self._buffer_s

    def _hear(self, frame: SpeechFrame) -> list[Transcript]:
        updates: list[Transcript] = []
        self._pace.heard(len(frame.samples) / SAMPLE_RATE_HZ)
        if frame.lost_samples:
            updates = self._bridge(frame.lost_samples)
        speech = self._endpointer.feed(frame)
        if speech:
            self._wordless_s += len(frame.samples) / SAMPLE_RATE_HZ
        if self._buffer:
            self._append(frame, speech=speech)
        elif speech:
            for before in self._pre_roll:
                self._append(before, speech=False)
            self._append(frame, speech=True)
            self._decoded_ns = frame.t_ns
        else:
            self._pre_roll.append(frame)
            if self._endpointer.silence_s(frame.end_ns) >= RESET_S:
                self._in_talk = False
                self._wordless_s = 0.0
        return updates

    def _append(self, frame: SpeechFrame, *, speech: bool) -> None:
        self._buffer.append(frame, speech=speech)
        if self._whole is not None:
            self._whole.append(frame, speech=speech)

    def _bridge(self, lost_samples: int) -> list[Transcript]:
        if self._buffer and lost_samples <= FILLED_GAP_S * SAMPLE_RATE_HZ:
            self._append(silence(self._buffer.end_ns, lost_samples), speech=False)
            return []
        self._endpointer.stop()
        updates = self._act()
        self._pre_roll.clear()
        return updates

    def _act(self) -> list[Transcript]:
        if not self._buffer:
            return []
        if not self._endpointer.active:
            return self._end()
        if self._endpointer.paused:
            due = not self._settled and self._buffer.speech_s(0) >= LEAST_SPEECH_S
        else:
            waited_s = (self._buffer.end_ns - self._decoded_ns) / NS_PER_S
            # Where a pause seems to begin, wait for its own decode: it comes soon and hears the last word in full.
            due = waited_s >= self._pace.step_s and self._endpointer.silence_s(self._buffer.end_ns) < BREAK_S
        if not (due or self._full):
            return []
        committed, asr_warning, decode_s = self._decode()
        committed += self._make_room()
        return [self._update(committed, asr_warning, decode_s)]

    @property
    def _settled(self) -> bool:
        """Whether the last decode has heard the end of the speech and a little more."""
        return self._decoded_ns >= (self._endpointer.speech_end_ns or 0) + SETTLED_S * NS_PER_S

    def _end(self) -> list[Transcript]:
        committed: tuple[Spoken, ...] = ()
        asr_warning, decode_s = None, 0.0
        enough = self._buffer.speech_s(0) >= LEAST_SPEECH_S
        if enough and not self._settled:
            committed, asr_warning, decode_s = self._decode()
        committed += self._keep(self._agreement.commit_all())
        taken_back = self._open
        update = self._update(committed, asr_warning, decode_s, ended=True)
        spoken = self._words > 0
        self._pre_roll.extend(self._buffer.tail(PRE_ROLL_FRAMES))
        self._buffer.clear()
        if self._whole is not None:
            # In which language it is to be read again must be known.
            self._whole.end(self._utterance if spoken and self._language else None, self._language)
        self._prefix.clear()
        self._said.clear()
        if spoken and self._embedding is not None:
            self.memory.learn(self._embedding)
        self._embedding = None
        self._utterance += spoken
        self._words = self._shown = 0
        return [update] if spoken or asr_warning or taken_back else []

    def _decode(self) -> tuple[tuple[Spoken, ...], str | None, float]:
        """Decode the buffer once; return the words committed by it, a warning, and the time it took."""
        buffer = self._buffer
        committed_ns = self._prefix[-1].end_ns if self._prefix else buffer.start_ns
        began_ns = self._clock.now_ns()
        hypothesis, language = self._model.decode(
            buffer.samples(),
            self._prefix_tokens(),
            hallucination.max_tokens((buffer.end_ns - committed_ns) / NS_PER_S),
            self._language,
        )
        decode_s = (self._clock.now_ns() - began_ns) / NS_PER_S
        self._pace.decoded(decode_s)
        self._decoded_ns = buffer.end_ns
        self._embedding = hypothesis.embedding or self._embedding
        if hypothesis.language_p >= LANGUAGE_P and buffer.speech_s(0) >= LANGUAGE_SPEECH_S:
            self._language = language
        evidence = hallucination.Evidence(
            buffer.speech(committed_ns),
            buffer.end_ns,
            hypothesis.no_speech,
            hypothesis.mean_logprob,
            hypothesis.compression,
            self._in_talk,
        )
        verdict = hallucination.judge(buffer.place(hypothesis.words), tuple(self._said), evidence)
        if verdict.refused:
            self._agreement.drop()
            return (), verdict.asr_warning, decode_s
        overdue_ns = self._buffer.end_ns - int(OVERDUE_S * NS_PER_S)
        committed = self._agreement.update(verdict.words, self._certain_ns(), overdue_ns)
        return self._keep(committed), verdict.asr_warning, decode_s

    def _certain_ns(self) -> int | None:
        """Words that end later are not committed; None: all may be."""
        if self._language is None:
            return self._buffer.start_ns  # the next decode may take them for another language
        if self._endpointer.paused:
            return None
        if self._buffer.speech_s(0) < CERTAIN_SPEECH_S:
            return self._buffer.start_ns
        return self._buffer.end_ns - int(COMMIT_AGE_S * NS_PER_S)

    def _prefix_tokens(self) -> list[int]:
        """Tokens of the committed words in the buffer; not the last mark, which the words to come may refute."""
        tokens: list[int] = []
        for index, word in enumerate(self._prefix, start=1):
            tokens += word.tokens
            if index < len(self._prefix):
                tokens += word.marks
        return tokens

    def _keep(self, committed: tuple[Spoken, ...]) -> tuple[Spoken, ...]:
        self._prefix += committed
        self._said.extend(committed)
        self._words += len(committed)
        self._in_talk = self._in_talk or bool(committed)
        return committed

    def _make_room(self) -> tuple[Spoken, ...]:
        """Trim the buffer at a committed word; if it is full without one, commit what is old and cut hard."""
        if self._buffer.duration_s < TRIM_S:
            return ()
        before_ns = self._buffer.end_ns - int(KEEP_S * NS_PER_S)
        forced: tuple[Spoken, ...] = ()
        if self._full and not any(word.end_ns <= before_ns for word in self._prefix):
            old = sum(word.end_ns <= before_ns for word in self._agreement.tentative)
            forced = self._keep(self._agreement.commit(old))
        settled = [index for index, word in enumerate(self._prefix) if word.end_ns <= before_ns]
        if settled:
            last = settled[-1]
            self._buffer.cut(self._prefix[last].end_ns)
            del self._prefix[: last + 1]
        elif self._full:
            self._buffer.cut(before_ns)
            self._agreement.drop()
        return forced

    def _update(
        self, committed: tuple[Spoken, ...], asr_warning: str | None, decode_s: float, *, ended: bool = False
    ) -> Transcript:
        tentative = self._agreement.tentative
        self._measure(committed, tentative)
        self._open = bool(tentative)
        if committed or tentative:
            self._wordless_s, self._alarmed = 0.0, False
        elif self._wordless_s >= ALARM_S:
            asr_warning = asr_warning or f"{self._wordless_s:.0f} s of speech without a word"
            if not self._alarmed:
                log.warning("%s: wrong language or model, or no speech at all?", asr_warning)
            self._alarmed = True
        self._warn()
        return Transcript(
            t_ns=self._buffer.end_ns,
            committed=tuple(word.word(committed=True) for word in committed),
            tentative=tuple(word.word(committed=False) for word in tentative),
            decode_s=decode_s,
            asr_warning=asr_warning,
            utterance=self._utterance,
            ended=ended,
            language=self._language,
            embedding=None if self._embedding is None else self.memory.subtract(self._embedding),
        )

    def _measure(self, committed: tuple[Spoken, ...], tentative: tuple[Spoken, ...]) -> None:
        now_ns = self._clock.now_ns()
        before = self._words - len(committed)
        for index, word in enumerate((*committed, *tentative), start=before):
            if index >= self._shown:
                self._pace.lag((now_ns - word.end_ns) / NS_PER_S, committed=False)
            if index < self._words:
                self._pace.lag((now_ns - word.end_ns) / NS_PER_S, committed=True)
        self._shown = max(self._shown, self._words + len(tentative))

    def _warn(self) -> None:
        cause, now_ns = self._pace.overload, self._buffer.end_ns
        if cause and (self._warned_ns is None or now_ns - self._warned_ns >= WARN_EVERY_S * NS_PER_S):
            self._warned_ns = now_ns
            log.warning("speech recognition is behind: %s", cause)
