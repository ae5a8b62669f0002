"""Where log lines go and how they look: plain for a person, or one JSON object a line for a log collector."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import TextIO

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
PLAIN = "%(levelname)s %(message)s"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, thread, message, and exception where there is one.

    Whatever a message holds, line breaks included, stays inside its string: a line is always one record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return printable_json(json.dumps(line, ensure_ascii=False))


class PlainFormatter(logging.Formatter):
    """A record as a line for a person; what a terminal would obey is written out, whoever put it into the message."""

    def __init__(self) -> None:
        super().__init__(PLAIN)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback keeps its own."""
        first = printable(self.formatMessage(_with_message(record)))
        more = [self.formatException(record.exc_info)] if record.exc_info else []
        more += [self.formatStack(record.stack_info)] if record.stack_info else []
        return "\n".join([first, *(printable(line) for text in more for line in text.split("\n"))])


def _with_message(record: logging.LogRecord) -> logging.LogRecord:
    record.message = record.getMessage()
    return record


def write_all(number: int, data: bytes) -> None:
    """Write all of the data to an open file's number.

    Raises:
        OSError: it was closed.
    """
    while data:
        data = data[os.write(number, data) :]


class OwnStderr:
    """Standard error as it was at the start: lines reach it while native code has set the number 2 aside.

    sounddevice does so whenever it looks for devices, and what others log meanwhile would vanish.

    Raises:
        OSError: there is no standard error with a number, as in a windowed program.
    """

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr
        self._number = os.dup(stderr.fileno())

    def write(self, text: str) -> int:
        """Write all of the text."""
        self._stderr.flush()  # what was printed before comes before
        write_all(self._number, text.encode(self._stderr.encoding or "utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def set_up(level: str, style: Format) -> None:
    """Log to standard error from `level` (debug, info, ...) on, in a format."""
    stream: TextIO | OwnStderr = sys.stderr
    with contextlib.suppress(OSError, AttributeError, ValueError):
        stream = OwnStderr(sys.stderr)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def printable(text: str) -> str:
    """Return the text with what a terminal would obey (line breaks, escapes) written as Python writes it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_json(text: str) -> str:
    """Return a line of JSON with the same value, in which nothing is left that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def say_error(error: Exception) -> None:
    """Say why the program ends: a plain line, or a JSON line where log lines are."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, JsonFormatter) for handler in handlers):
        logging.getLogger("realtime").error("%s", error)
    else:
        print(f"error: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - the one line a person must see
