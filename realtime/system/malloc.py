"""Memory that is freed goes back to the system: without this a program that runs for days keeps what its peaks needed.

glibc moves the size from which a block is mapped by itself (and returned when freed) up to 32 MB as it goes, and keeps
an arena for every thread. With a recogniser whose buffers have another size at each decode that grew by some megabytes
a minute, at rest; with fixed thresholds it stays flat (docs/reliability.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Numbers of malloc.h."""
RETURNED_BYTES = 1 << 20
ARENAS = 2


def return_freed() -> bool:
    """Set up glibc's allocator, early; False where it is another one, or where the user has set it up."""
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        return all(
            mallopt(option, value) == 1
            for option, value in (
                (ARENA_MAX, ARENAS),
                (MMAP_THRESHOLD, RETURNED_BYTES),
                (TRIM_THRESHOLD, RETURNED_BYTES),
            )
        )
    return False


def trim() -> None:
    """Give back what a part that has just been closed leaves in holes: some megabytes for each model that is let go."""
    with contextlib.suppress(OSError, AttributeError):  # another libc: it looks after itself
        ctypes.CDLL(None).malloc_trim(0)
