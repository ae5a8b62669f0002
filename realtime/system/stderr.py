"""What PortAudio and ALSA print by themselves when a sound system dies, kept off the terminal and out of JSON logs.

An event and the log say the same in words. PortAudio offers no switch against it and prints from a thread of its own at
any time, so standard error goes through a pipe while the program runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHATTER = re.compile(rb"Expression '.*' failed in '.*', line: \d+\s*$|ALSA lib \S+\.c:\d+:|Cannot connect to server")
STDERR = 2
ROOM_BYTES = 1 << 20
"""What fits into the pipe while nobody reads (Linux)."""
SET_PIPE_SIZE = 1031
END_S = 1.0


@contextmanager
def filtered_stderr() -> Iterator[None]:
    """Pass on what is written to standard error, but not what native sound libraries say."""
    try:
        terminal = os.dup(STDERR)
    except OSError:  # no standard error at all, as in a windowed program
        yield
        return
    source, sink = os.pipe()
    _widen(sink)
    os.dup2(sink, STDERR)
    os.close(sink)
    reader = threading.Thread(target=_pass_on, args=(source, terminal), name="stderr", daemon=True)
    reader.start()
    try:
        yield
    finally:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(terminal, STDERR)  # the pipe's last end, unless a child process still has it
        reader.join(END_S)
        if not reader.is_alive():
            os.close(terminal)


def _pass_on(source: int, terminal: int) -> None:
    with open(source, "rb", buffering=0) as pipe:
        rest = b""
        while data := pipe.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            _write(terminal, b"".join(line + b"\n" for line in lines if not CHATTER.match(line)))
        _write(terminal, rest)


def _write(terminal: int, text: bytes) -> None:
    with contextlib.suppress(OSError):  # the terminal was closed
        while text:
            text = text[os.write(terminal, text) :]


def _widen(sink: int) -> None:
    """Make room, so that native code that holds Python's lock does not wait for the reader, who needs it."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not everywhere

        with contextlib.suppress(OSError):
            fcntl.fcntl(sink, SET_PIPE_SIZE, ROOM_BYTES)


log = logging.getLogger(__name__)


_STDERR = 2
_CHATTER = re.compile(rb"[IW]\d{4} |INFO: |WARNING: (All log messages|Logging) before ")
_one_at_a_time = threading.Lock()


@contextmanager
def native_lines_to_log() -> Iterator[None]:
    """Keep what native code says at the start of a model off the terminal; it goes to the debug log.

    Errors, and what others print meanwhile, are passed on at the end.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as said:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            terminal = os.dup(_STDERR)
        except OSError:  # no standard error at all, as in a windowed program
            yield
            return
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, _STDERR)
            os.close(terminal)
            said.seek(0)
            for line in said:
                if _CHATTER.match(line):
                    log.debug("%s", line.decode(errors="replace").rstrip())
                else:
                    os.write(_STDERR, line)
