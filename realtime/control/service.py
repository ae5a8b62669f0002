"""Does what is asked about the streams, one request after the other, and answers each in one line."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from realtime.control.messages import Answer, Request, StreamLine, parse_request
from realtime.errors import AgfnError, UsageError
from realtime.system.logs import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import StreamConfig

log = logging.getLogger(__name__)


class Streams(Protocol):
    """The streams of a running program."""

    def add(self, stream: StreamConfig, state: dict[str, Any] | None) -> None:
        """Take a stream in.

        Raises:
            AgfnError: it can't be.
        """
        ...

    def remove(self, name: str) -> dict[str, Any]:
        """Let a stream go, and return what it remembers.

        Raises:
            AgfnError: it can't be.
        """
        ...

    def lines(self) -> Sequence[StreamLine]:
        """What there is."""
        ...


class Control:
    """Answers requests; from any thread, one at a time.

    Args:
        streams: of the program.
        host: what the program calls its machine; None for nothing.
    """

    def __init__(self, streams: Streams, host: str | None) -> None:
        self._streams, self.host = streams, host
        self._one_at_a_time = threading.Lock()

    def answer(self, text: str | bytes) -> Answer:
        """Do what a text asks."""
        try:
            request = parse_request(text)
        except UsageError as error:
            return Answer(id="", host=self.host, error=printable(str(error)))
        return self.do(request)

    def do(self, request: Request) -> Answer:
        """Do what is asked."""
        with self._one_at_a_time:
            try:
                return self._done(request)
            except AgfnError as error:
                why = printable(str(error))
                log.warning("streams: %s was refused: %s", request.action, why)
                return Answer(id=request.id, host=self.host, error=why)
            except Exception:
                # Whatever goes wrong in a device or a model must not leave who asked without an answer.
                log.exception("streams: %s failed", request.action)
                return Answer(id=request.id, host=self.host, error="it failed: the log of the program says how")

    def _done(self, request: Request) -> Answer:
        if request.stream is not None:
            self._streams.add(request.stream, request.state)
            log.info("stream %s was added, as was asked", request.stream.name)
        elif request.name is not None:
            state = self._streams.remove(request.name)
            log.info("stream %s was removed, as was asked", request.name)
            return Answer(id=request.id, host=self.host, state=state if request.keep else None)
        else:
            return Answer(id=request.id, host=self.host, streams=tuple(self._streams.lines()))
        return Answer(id=request.id, host=self.host)
