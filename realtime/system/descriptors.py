"""How many files and sockets this process may have open: a host of many streams has some for each."""

from __future__ import annotations

import contextlib
import sys


def allow_many() -> None:
    """Allow this process as many as the system lets it, where that is a matter of limits (not on Windows)."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
