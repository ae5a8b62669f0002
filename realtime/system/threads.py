"""Threads of libraries: one for one call, as streams and stages run side by side already; and their names.

More would not make a small call faster: its helper threads wait for it by spinning, which cost a tenth of a core beside
one stream's recogniser. AGFN (`fusion.threads`) and Whisper (`asr.threads`) have settings of their own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

LONGEST_NAME = 15
"""Linux keeps so many characters."""
POOLS = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Read by numpy's BLAS and by OpenCV when they are first imported."""
LOW_PRIORITY = 15
"""Nice value of threads that may wait: beside a busy one of 0 they get about one thirtieth of a core."""


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


def lower_priority() -> None:
    """Let the calling thread, and those it starts, give way to all others; on Linux, else nothing."""
    if hasattr(os, "setpriority") and Path("/proc/self/task").is_dir():  # elsewhere it would be the whole process
        me = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, max(LOW_PRIORITY, os.getpriority(os.PRIO_PROCESS, me)))


def starting_low(make: Callable[[], T]) -> Future[T]:
    """Begin to build what starts threads of its own, such as a model, so that they give way to all others.

    The end of the process does not wait for it.
    """

    def low() -> T:
        lower_priority()
        return make()

    return starting_beside(low)


def starting_beside(make: Callable[[], T]) -> Future[T]:
    """Begin to build something beside what goes on. The end of the process does not wait for it."""
    made: Future[T] = Future()

    def build() -> None:
        try:
            made.set_result(make())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait for the result
            made.set_exception(error)

    threading.Thread(target=build, name="starting", daemon=True).start()
    return made


def leave(code: int) -> NoReturn:
    """End the process with an exit code; at once where a thread has been left behind in native code.

    Python would stop such a thread in the middle of a C++ frame as soon as it asks for the interpreter, and the process
    would end with SIGABRT after its work is done.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
                stream.flush()
        os._exit(code)
    sys.exit(code)
