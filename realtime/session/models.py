"""The models of the process, loaded once and shared by all streams."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from models import zoo
from models.checkpoint import CheckpointError
from models.textline import LINES, TextLine
from realtime.errors import ModelError
from realtime.extract.models import Extractors
from realtime.extract.text import TextExtractor
from realtime.fuse.worker import fuser_of

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.extract.text import Reader


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
        """The text line that the configuration names."""
        base, weights = LINES[self._config.text.reader]
        try:
            return TextLine.load(zoo.path(base), weights, graphs=zoo.cache().parent / "graphs")
        except (zoo.ZooError, CheckpointError, OSError, ValueError) as error:
            raise ModelError(str(error)) from None

    def text(self) -> TextExtractor:
        """Return a text extractor over the shared reader."""
        return TextExtractor(self.reader)
