"""Single keys from the terminal, without Enter. Ctrl-C stays a signal."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.2


class KeyReader:
    """A thread that calls `on_key` with each key, until closed; does nothing where standard input is no terminal."""

    def __init__(self, on_key: Callable[[str], None]) -> None:
        self._on_key = on_key
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._read_windows if sys.platform == "win32" else self._read_posix, name="keys", daemon=True
        )

    def start(self) -> None:
        """Begin to read."""
        if sys.stdin is not None and sys.stdin.isatty():
            self._thread.start()

    def close(self) -> None:
        """Stop reading and give the terminal back as it was."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * POLL_S)

    def _read_posix(self) -> None:
        # Imported here: these exist on POSIX only.
        import select  # noqa: PLC0415
        import termios  # noqa: PLC0415
        import tty  # noqa: PLC0415

        before = termios.tcgetattr(sys.stdin)
        try:
            tty.setcbreak(sys.stdin)
            while not self._stop.is_set():
                if select.select([sys.stdin], [], [], POLL_S)[0]:
                    # Not sys.stdin.read: its buffer would hide what select looks for.
                    keys = os.read(sys.stdin.fileno(), 32).decode(errors="ignore")
                    if not keys:
                        return
                    for key in keys:
                        self._on_key(key)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _read_windows(self) -> None:
        import msvcrt  # noqa: PLC0415 - exists on Windows only

        while not self._stop.wait(POLL_S):
            while msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
                self._on_key(msvcrt.getwch())  # type: ignore[attr-defined,unused-ignore]
