"""The models of the process, loaded once and shared by all streams; each stream builds its extractors from them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import zoo
from models.checkpoint import CheckpointError
from models.sentence import SentenceEncoder, SentenceLine
from models.textline import BASE, TextLine
from realtime.errors import ModelError
from realtime.extract.asr_pool import DecodeQueue
from realtime.extract.face import FaceExtractor
from realtime.extract.prosody import prosody
from realtime.extract.speech import SpeechDetector
from realtime.extract.text import TextExtractor
from realtime.extract.together import Together
from realtime.extract.transcribe import AsrModel, Transcriber
from realtime.extract.voice import VoiceExtractor
from realtime.fuse.worker import Fuser
from realtime.threads import starting_threads

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config import Config
    from realtime.extract.text import Reader
    from realtime.types import Stage, Transcript

log = logging.getLogger(__name__)
WEIGHTS = Path(__file__).resolve().parent.parent / "models" / "weights" / "agfn.safetensors"
TEXT = "text."
"""Prefix of the text encoder's tensors in the weights file."""


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

        self._voices = Together(prosody())

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


def weights_of(config: Config) -> Path:
    """Return the weights file that the configuration names."""
    return WEIGHTS if config.fusion.weights == "default" else Path(config.fusion.weights)


def fuser_of(config: Config, clock: Clock) -> Fuser:
    """Load AGFN as the configuration says.

    Raises:
        ModelError: the weights file is missing, damaged or of another schema.
    """
    return Fuser(weights_of(config), config.fusion.device, clock, config.fusion.threads, config.fusion.backend)


class Parts(Extractors):
    """Every model of one process: the extractors' and AGFN.

    Args:
        config: of the process.
        clock: for the time a forward pass takes.

    Raises:
        ModelError: a model file is missing, damaged or of another schema.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self.fuser = fuser_of(config, clock)
        super().__init__(config)

    @cached_property
    def reader(self) -> Reader:
        """The text line, or MiniLM with what the weights file carries of it."""
        if self._config.text.reader == "mpnet":
            try:
                return TextLine.load(zoo.path(BASE), graphs=zoo.cache().parent / "graphs")
            except (zoo.ZooError, CheckpointError, OSError, ValueError) as error:
                raise ModelError(str(error)) from None
        extra = self.fuser.checkpoint.extra
        learned = {name.removeprefix(TEXT): tensor for name, tensor in extra.items() if name.startswith(TEXT)}
        try:
            return SentenceLine(SentenceEncoder.load(zoo.path("text"), learned))
        except (zoo.ZooError, OSError, ValueError) as error:
            raise ModelError(str(error)) from None

    def text(self) -> TextExtractor:
        """Return a text extractor over the shared reader."""
        return TextExtractor(self.reader)
