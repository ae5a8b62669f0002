"""The models of the process, loaded once and shared by all streams; each stream builds its extractors from them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from models import zoo
from realtime.errors import ModelError
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.extract.asr.transcriber import AsrModel, Transcriber
from realtime.extract.face.extractor import FaceExtractor
from realtime.extract.vad import SpeechDetector
from realtime.extract.voice.batcher import MicroBatcher
from realtime.extract.voice.extractor import VoiceExtractor
from realtime.extract.voice.prosody import prosody
from realtime.system.threads import starting_threads

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.types import Stage, Transcript

log = logging.getLogger(__name__)


class Extractors(ABC):
    """The extractors that every stream builds for itself, over models that are shared.

    Args:
        config: of the process.

    Raises:
        ModelError: a model file is missing or damaged.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        try:
            self._face_file = zoo.path("face")
        except zoo.ZooError as error:
            raise ModelError(str(error)) from None
        with starting_threads("whisper"):
            self._asr = (
                DecodeQueue(AsrModel(config.asr), config.asr.workers, lambda: AsrModel(config.asr))
                if config.asr.enabled
                else None
            )

        self._voices = MicroBatcher(prosody())

    def face(self) -> FaceExtractor:
        """Return a face extractor of its own for a stream."""
        return FaceExtractor(self._config.face, self._face_file)

    def voice(self) -> VoiceExtractor:
        """Return a voice extractor; blocks that several streams complete at the same time are analysed together."""
        return VoiceExtractor(self._voices)

    def speech(self) -> SpeechDetector:
        """Return a speech detector."""
        return SpeechDetector()

    def transcriber(self, clock: Clock) -> Transcriber:
        """Return a recogniser over the shared model."""
        if self._asr is None:
            raise ModelError("asr.enabled is false: there is no recogniser")
        return Transcriber(self._config.asr, self._asr.member(), clock)

    @abstractmethod
    def text(self) -> Stage[Transcript, Any]:
        """Return what transcripts go through."""
