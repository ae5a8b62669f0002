"""The models of the process, loaded once and shared by all streams; each stream builds its extractors from them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from models import zoo
from models.expression import ExpressionReader
from models.graphs import GraphError
from realtime.config.languages import AUTO
from realtime.errors import ModelError
from realtime.extract.asr import reading
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.extract.asr.transcriber import AsrModel, Transcriber
from realtime.extract.face.extractor import FaceExtractor
from realtime.extract.vad import SpeechDetector
from realtime.extract.voice.batcher import MicroBatcher
from realtime.extract.voice.extractor import VoiceExtractor
from realtime.extract.voice.prosody import prosody
from realtime.system.threads import starting_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.extract.asr.reading import Reader, Utterance
    from realtime.extract.asr.whisper import Decoder
    from realtime.types import Reading, Stage, Transcript

log = logging.getLogger(__name__)


class SharedDecoder(Protocol):
    """What decodes for all streams of the process."""

    def member(self) -> Decoder:
        """Return it as one stream sees it."""
        ...


class Extractors(ABC):
    """The extractors that every stream builds for itself, over models that are shared.

    Args:
        config: of the process.
        remote: puts recognisers elsewhere before the process's own, given that and the number of its tokens; None for
            the own alone.

    Raises:
        ModelError: a model file is missing or damaged; the one that reads utterances again is no such matter.
    """

    def __init__(self, config: Config, remote: Callable[[DecodeQueue, int], SharedDecoder] | None = None) -> None:
        self._config = config
        self._asr: SharedDecoder | None = None
        try:
            self._face_file = zoo.path("face")
        except zoo.ZooError as error:
            raise ModelError(str(error)) from None
        self._expressions = _expressions()
        if config.asr.enabled:
            with starting_threads("whisper"):
                model = AsrModel(config.asr)
            own = DecodeQueue(model, config.asr.workers, lambda: AsrModel(config.asr))
            self._asr = own if remote is None else remote(own, model.vocabulary)
        name = config.asr.reads_with if config.asr.enabled else None
        self._reading = None if name is None else reading.load(config.asr, name)
        self._voices = MicroBatcher(prosody())

    def face(self) -> FaceExtractor:
        """Return a face extractor of its own for a stream."""
        return FaceExtractor(self._config.face, self._face_file, self._expressions)

    def voice(self) -> VoiceExtractor:
        """Return a voice extractor; blocks that several streams complete at the same time are analysed together."""
        return VoiceExtractor(self._voices)

    def speech(self) -> SpeechDetector:
        """Return a speech detector."""
        return SpeechDetector()

    def transcriber(self, clock: Clock, ended: Callable[[Utterance], None] | None = None) -> Transcriber:
        """Return a recogniser over the shared model; `ended` takes each utterance that is to be read again."""
        if self._asr is None:
            raise ModelError("asr.enabled is false: there is no recogniser")
        return Transcriber(self._config.asr, self._asr.member(), clock, ended=ended)

    @property
    def reads_again(self) -> bool:
        """Whether utterances that have ended are read a second time."""
        return self._reading is not None

    def await_reading(self) -> str | None:
        """Wait until the model that reads again is there; return why it isn't. Without it nothing is read again."""
        if self._reading is None:
            return None
        try:
            self._reading.model.result()
        except ModelError as error:
            self._reading = None
            return str(error)
        return None

    def reader_again(self, clock: Clock) -> Reader:
        """Return what reads utterances again, over the shared model."""
        if self._reading is None:
            raise ModelError("asr.reading_model is none: nothing is read again")
        language = self._config.asr.language
        return reading.Reader(self._reading, clock, None if language == AUTO else language)

    @abstractmethod
    def text(self) -> Stage[Transcript | Reading, Any]:
        """Return what transcripts and second readings go through."""


def _expressions() -> ExpressionReader:
    """Load the reader of expressions."""
    try:
        return ExpressionReader()
    except GraphError as error:
        raise ModelError(str(error)) from None
