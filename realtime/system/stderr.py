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

from realtime.system.logs import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

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
        write_all(terminal, text)


def _widen(sink: int) -> None:
    """Make room, so that native code that holds Python's lock does not wait for the reader, who needs it."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not everywhere

        with contextlib.suppress(OSError):
            fcntl.fcntl(sink, SET_PIPE_SIZE, ROOM_BYTES)


log = logging.getLogger(__name__)

_CHATTER = re.compile(rb"[IW]\d{4} |INFO: |WARNING: (All log messages|Logging) before ")
LONGEST_S = 10.0
"""Native code that takes longer hangs: it must not take the log along."""


class _Aside:
    """Standard error set aside into a file, once for all who ask for it at the same time.

    Some native libraries set it aside themselves for a while. One that does so in here puts back what it found, which
    may have ended by then: so whoever leaves puts the right one back once more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = self._number = self._late = 0
        self._terminal: int | None = None
        self._said: IO[bytes] | None = None

    def enter(self) -> int:
        """Set it aside, unless it is; returns the number to leave with. Never waits for another one's native code."""
        with self._lock:
            if self._said is None:
                self._begin()
            self._holders += 1
            return self._number

    def leave(self, number: int) -> None:
        """Put it back when nobody needs it aside any more."""
        with self._lock:
            if number == self._number and self._said is not None:
                self._holders -= 1
                if self._holders == 0:
                    self._end()
            elif self._late:  # it has been put back without this one
                self._late -= 1
                if self._said is None:
                    self._put_back()

    def give_up(self, number: int) -> None:
        """Put it back although somebody still needs it aside: native code that hangs."""
        with self._lock:
            if number == self._number and self._said is not None:
                self._late += self._holders
                self._end()

    def _begin(self) -> None:
        self._number += 1
        self._holders = 0
        if sys.stderr is not None:
            sys.stderr.flush()
        if self._terminal is None:
            try:
                self._terminal = os.dup(STDERR)
            except OSError:  # no standard error at all, as in a windowed program
                return
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _end
        os.dup2(self._said.fileno(), STDERR)
        self._timer = threading.Timer(LONGEST_S, self.give_up, (self._number,))
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        said, self._said = self._said, None
        self._timer.cancel()
        self._put_back()
        if said is None:
            return
        with said:
            said.seek(0)
            for line in said:
                if _CHATTER.match(line):
                    log.debug("%s", line.decode(errors="replace").rstrip())
                else:
                    os.write(STDERR, line)

    def _put_back(self) -> None:
        if self._terminal is None:
            return
        os.dup2(self._terminal, STDERR)
        if self._late == 0:
            os.close(self._terminal)
            self._terminal = None


_aside = _Aside()


@contextmanager
def native_lines_to_log() -> Iterator[None]:
    """Keep what native code says at the start of a model or library off the terminal; it goes to the debug log.

    Errors, and what others print meanwhile, are passed on at the end, LONGEST_S later at the latest.
    """
    number = _aside.enter()
    try:
        yield
    finally:
        _aside.leave(number)
