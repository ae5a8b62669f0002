"""The models of the process, loaded once and shared by all streams."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from models import zoo
from models.textline import LINES, TextLine
from models.weightsfile import CheckpointError
from realtime.errors import ModelError
from realtime.extract.models import Extractors
from realtime.extract.text import TextExtractor
from realtime.fuse.worker import fuser_of
from realtime.system.threads import lower_priority, starting_beside

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.extract.asr.decode_queue import DecodeQueue
    from realtime.extract.models import SharedDecoder
    from realtime.extract.text import Reader

log = logging.getLogger(__name__)


class SharedModels(Extractors):
    """Every model of one process: the extractors' and AGFN.

    Args:
        config: of the process.
        clock: for the time a forward pass takes.
        remote: recognisers elsewhere, see Extractors.

    Raises:
        ModelError: a model file is missing, damaged or of another schema.
    """

    def __init__(
        self, config: Config, clock: Clock, remote: Callable[[DecodeQueue, int], SharedDecoder] | None = None
    ) -> None:
        self.fuser = fuser_of(config, clock)
        self._line: Future[Reader] | None = None
        self._lock = threading.Lock()
        self._known = threading.Event()
        if config.asr.enabled:
            self._config = config
            self._begin()
        super().__init__(config, remote)

    @property
    def reader(self) -> Reader:
        """The text line that the configuration names; waits until it is there."""
        return self._begin().result()

    def text(self) -> TextExtractor:
        """Return a text extractor over the shared reader; while its graph has to be made, words count for nothing."""
        line = self._begin()
        self._known.wait()
        return TextExtractor(line.result() if line.done() else line)

    def await_reading(self) -> str | None:
        """Wait until all that reads is there, the text line too; return why nothing is read again."""
        if self._config.asr.enabled:
            self._begin().result()
        return super().await_reading()

    def _begin(self) -> Future[Reader]:
        """Return the line, perhaps still on its way; one that could not be loaded is tried again."""
        with self._lock:
            if self._line is None or (self._line.done() and self._line.exception() is not None):
                self._known.clear()
                self._line = starting_beside(self._load)
            return self._line

    def _load(self) -> Reader:
        base, weights = LINES[self._config.text.reader]
        try:
            folder = zoo.path(base, only=("tokenizer.json",))
            return TextLine.load(folder, weights, graphs=zoo.cache().parent / "graphs", verify=self._makes)
        except (zoo.ZooError, CheckpointError, OSError, ValueError) as error:
            raise ModelError(str(error)) from None
        finally:
            self._known.set()

    def _makes(self) -> None:
        """Say that a graph has to be made: once on a machine, beside the streams, and giving way to them."""
        zoo.path(LINES[self._config.text.reader][0])
        log.info("the text line is made ready for this machine, once: words count in half a minute")
        self._known.set()
        lower_priority()
