"""Keep the chatter of native libraries off the terminal, and nothing else.

MediaPipe and its runtime write their greetings straight to file descriptor 2, whatever logging is set to. Here that
descriptor becomes a pipe; lines of the known kinds go to the debug log, everything else (a crash, a driver's complaint)
goes on to the real standard error at once. Python's own sys.stderr keeps writing to the real one directly.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading

log = logging.getLogger(__name__)

CHATTER = re.compile(
    rb"(INFO|VERBOSE): |WARNING: (Logging before InitGoogle|All log messages before absl)|[IW]\d{4} \d\d:\d\d:"
)


def tame() -> None:
    """Filter file descriptor 2 from now on; does nothing where there is none."""
    if sys.stderr is None:
        return
    try:
        real = os.dup(2)
        source, sink = os.pipe()
        os.dup2(sink, 2)
        os.close(sink)
    except OSError:
        return
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, encoding=sys.stderr.encoding or "utf-8", errors="replace")
    threading.Thread(target=_forward, args=(source, real), name="native-log", daemon=True).start()


def _forward(source: int, real: int) -> None:
    with os.fdopen(source, "rb") as lines:
        for line in lines:
            if CHATTER.match(line):
                log.debug("%s", line.decode(errors="replace").rstrip())
            else:
                os.write(real, line)
