"""A process that keeps one core busy for a while."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def busy_core(after_s: float, length_s: float) -> Iterator[None]:
    """Within the context, from `after_s` on and for `length_s`, another process computes without pause."""
    spin = f"import time\nend = time.monotonic() + {length_s}\nwhile time.monotonic() < end: sum(range(10_000))"
    process: list[subprocess.Popen[bytes]] = []
    timer = threading.Timer(after_s, lambda: process.append(subprocess.Popen([sys.executable, "-c", spin])))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for each in process:
            each.kill()
            each.wait()
