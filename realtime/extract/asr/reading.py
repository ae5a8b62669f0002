"""Second reading: an utterance that has ended is decoded once more, as a whole and without haste.

While somebody speaks, words are committed from the little that was heard, and committed words never change. A decode
that knows the end of the sentence, by a larger model, reads it better; above all it keeps negations. It gives a Reading
beside the transcripts, for whoever judges the sentence.

Transcriber --Utterance--> [channel, drops the oldest] --> Reader --> Reading

It must not delay the words to come: the model is loaded in threads of low priority, apart from the live one's, while
the stream runs already. Streams share it and take turns. An utterance that ends before the model is there, or whose
turn does not come in time, keeps its first reading.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime.extract.asr import hallucination
from realtime.extract.asr.audio_buffer import SoundBuffer
from realtime.extract.asr.local_agreement import in_order
from realtime.extract.asr.whisper import AsrModel
from realtime.system.threads import starting_low, starting_threads
from realtime.types import NS_PER_S, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from realtime.clock import Clock
    from realtime.config.schema import AsrConfig
    from realtime.extract.asr.whisper import Decoder
    from realtime.types import SpeechFrame

LONGEST_S = 28.0
"""Of a longer utterance the end is read: Whisper takes 30 s."""
BEAM = 5
PATIENCE_S = 5.0
"""So long an utterance waits for those of other streams; less than what a stage may take for an item."""
CONTEXT_S, MARGIN_S = 15.0, 6.0
"""Sound the encoder sees, and the silence in it: with 1.5 s of it some sentences are read twice (docs/asr.md)."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The sound of an utterance that has ended; number and language are those of its transcripts."""

    number: int
    sound: SoundBuffer
    language: str | None = None

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.sound.end_ns


class WholeUtterance:
    """Keeps the sound of an utterance while it goes on; its last 28 s.

    Args:
        ended: takes it when it has ended; must not block.
    """

    def __init__(self, ended: Callable[[Utterance], None]) -> None:
        self._ended = ended
        self._sound = SoundBuffer()

    def append(self, frame: SpeechFrame, *, speech: bool) -> None:
        """Add a frame."""
        self._sound.append(frame, speech=speech)
        if frame.end_ns - self._sound.start_ns > LONGEST_S * NS_PER_S:
            self._sound.cut(frame.end_ns - int(LONGEST_S * NS_PER_S))

    def end(self, number: int | None, language: str | None = None) -> None:
        """Hand the sound over if anything was said in it, and begin anew."""
        sound, self._sound = self._sound, SoundBuffer()
        if number is not None and sound:
            self._ended(Utterance(number, sound, language))


@dataclass(frozen=True, slots=True)
class Shared:
    """A model, perhaps still on its way, that reads for several streams, one after the other."""

    model: Future[Decoder]
    turn: threading.Lock = field(default_factory=threading.Lock)


class Reader:
    """A stage that reads utterances.

    Args:
        shared: what decodes; see `load`.
        clock: measures the decodes.
        language: of the speech where an utterance does not say it, or None for the model to decide.
        patience_s: how long to wait while another stream's utterance is read.
    """

    def __init__(
        self, shared: Shared, clock: Clock, language: str | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self._shared, self._clock, self._language, self._patience_s = shared, clock, language, patience_s

    def feed(self, item: Utterance, /) -> Iterable[Reading]:
        """Decode an utterance as a whole; nothing comes of it when the model or its turn does not come.

        Raises:
            ModelError: the model cannot be found or loaded.
        """
        if not self._shared.model.done() or not self._shared.turn.acquire(timeout=self._patience_s):
            return
        try:
            reading = self._read(item, self._shared.model.result())
        finally:
            self._shared.turn.release()
        yield reading

    def _read(self, item: Utterance, model: Decoder) -> Reading:
        sound = item.sound
        began_ns = self._clock.now_ns()
        # In the language that it was heard in at first: the two would else stand beside each other in different ones.
        language = item.language or self._language
        heard, _ = model.decode(sound.samples(), (), hallucination.max_tokens(sound.duration_s), language)
        evidence = hallucination.Evidence(
            sound.speech(0), sound.end_ns, heard.no_speech, heard.mean_logprob, heard.compression, in_talk=True
        )
        verdict = hallucination.judge(sound.place(heard.words), (), evidence)
        return Reading(
            utterance=item.number,
            start_ns=sound.start_ns,
            end_ns=sound.end_ns,
            words=tuple(word.word(committed=True) for word in in_order(verdict.words, sound.start_ns)),
            decode_s=(self._clock.now_ns() - began_ns) / NS_PER_S,
            asr_warning=verdict.asr_warning,
        )

    def flush(self) -> Iterable[Reading]:
        """Every utterance was read at once."""
        return ()

    def close(self) -> None:
        """Nothing is held; the shared model stays loaded."""


def load(config: AsrConfig, name: str) -> Shared:
    """Begin to load a model for reading: the live one's settings, with threads that give way to all others.

    A model that cannot be found or loaded is a ModelError of its future.
    """

    def model() -> Decoder:
        with starting_threads("reading"):
            own = config.model_copy(update={"model": name, "threads": 1, "workers": 1, "context_s": CONTEXT_S})
            return AsrModel(own, BEAM, MARGIN_S, embeds=False)

    return Shared(starting_low(model))
