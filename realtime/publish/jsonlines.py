"""Messages as JSON lines in a file or on standard output, written by a thread of their own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from realtime.errors import UsageError
from realtime.runtime.channel import Channel, ChannelStats, ClosedError, Policy
from realtime.system.logs import printable_json
from realtime.system.private_file import open_growing

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.publish.messages import Message

log = logging.getLogger(__name__)

WAITING = 4096
CLOSE_S = 2.0


class JsonLines:
    """A line per message, in the order they were sent.

    Args:
        output: a file name (overwritten), or `-` for standard output.
        lossless: make `send` wait for a slow reader instead of dropping the oldest lines: for a replay at full speed.
        ended: called once when no more lines can be written: the reader of a pipe has gone, or the disk is full.

    Attributes:
        failed: why lines could not be written, None while they can, and where a reader has just had enough.

    Raises:
        UsageError: the file can't be written.
    """

    def __init__(self, output: str, *, lossless: bool = False, ended: Callable[[], None] | None = None) -> None:
        self.failed: str | None = None
        self._ended = ended
        self._name = "standard output" if output == "-" else output
        self._file = _open(output)
        self._lines: Channel[str] = Channel(Policy.BLOCK if lossless else Policy.DROP_OLDEST, WAITING)
        self._thread = threading.Thread(target=self._run, name="json-lines", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Take a message; ignored once closed or when the reader has gone."""
        with contextlib.suppress(ClosedError):
            self._lines.push(message.to_json())

    def stats(self) -> ChannelStats:
        """Return the counts of lines taken, written and dropped."""
        return self._lines.stats()

    def close(self) -> None:
        """Write what waits; a reader that does not read is left."""
        self._lines.close()
        self._thread.join(CLOSE_S)
        dropped = self._lines.stats().dropped
        if dropped:
            log.warning("%s was too slow: %d lines dropped", self._name, dropped)

    def _run(self) -> None:
        try:
            while True:
                lines = self._lines.pop_all()
                self._file.write("".join(f"{printable_json(line)}\n" for line in lines))
                self._file.flush()
        except ClosedError:
            log.debug("%s: all lines are written", self._name)
        except (OSError, ValueError) as error:  # ValueError: standard output has been closed
            self._give_up(error)
        finally:
            if self._file is not sys.stdout:
                with contextlib.suppress(OSError):  # a full disk: said above
                    self._file.close()

    def _give_up(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, BrokenPipeError):
            log.warning("no more lines to %s: its reader has gone", self._name)
            if self._file is sys.stdout:  # keep the interpreter from complaining at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            self.failed = f"{self._name}: {reason}; the messages in it end early"
            log.error("no more lines to %s: %s", self._name, reason)
        self._lines.close()
        self._lines.clear()
        if self._ended is not None:
            self._ended()


def _open(output: str) -> TextIO:
    if output == "-":
        return sys.stdout
    try:
        return io.TextIOWrapper(open_growing(Path(output)), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(
            f"--output {output}: {error.strerror or error}; check the folder and its permissions"
        ) from None
