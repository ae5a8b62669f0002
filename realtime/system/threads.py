"""Threads of libraries: one for one call, as streams and stages run side by side already; and their names.

More would not make a small call faster: its helper threads wait for it by spinning, which cost a tenth of a core beside
one stream's recogniser. AGFN (`fusion.threads`) and Whisper (`asr.threads`) have settings of their own.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_NAME = 15
"""Linux keeps so many characters."""
POOLS = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Read by numpy's BLAS and by OpenCV when they are first imported."""


def limit_pools() -> None:
    """Tell the libraries that are imported later; what the user has set stays."""
    for name in POOLS:
        os.environ.setdefault(name, "1")


def name_thread(name: str) -> None:
    """Show the calling thread, and those it starts, under a name in `top -H` and `py-spy`; on Linux, else nothing."""
    with suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name[:LONGEST_NAME], encoding="ascii")


@contextmanager
def starting_threads(name: str) -> Iterator[None]:
    """Give a name to the threads that a library starts meanwhile."""
    file = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    try:
        before = file.read_text(encoding="ascii").strip()
    except OSError:
        before = None
    name_thread(name)
    try:
        yield
    finally:
        if before is not None:
            name_thread(before)
