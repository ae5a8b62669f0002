"""A process that dies with its parent, however that happens (Linux; elsewhere the end of a pipe has to tell)."""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the system kill this process when its parent, which has this number, dies.

    Linux takes the thread that started this process for the parent: it must live as long as the process does.
    """
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 - seldom needed

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(1)
