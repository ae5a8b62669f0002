"""The models of the process, loaded once and shared by all streams."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from models import zoo
from models.checkpoint import CheckpointError
from models.sentence import SentenceEncoder, SentenceLine
from models.textline import BASE, TextLine
from realtime.errors import ModelError
from realtime.extract.models import Extractors
from realtime.extract.text import TextExtractor
from realtime.fuse.worker import fuser_of

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.extract.text import Reader


TEXT = "text."
"""Prefix of the text encoder's tensors in the weights file."""


class SharedModels(Extractors):
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
