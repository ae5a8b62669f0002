"""The rights of the folder that holds the models: whoever may write there decides what the program runs.

Every file is hashed before it is used, but the libraries that read it open it once more by its name. In between nobody
else may be able to put another one there.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)
_warned: set[int] = set()


def make(folder: Path) -> None:
    """Make a folder and those above it, writable by their owner only, whatever the umask says.

    Raises:
        OSError: it can't be made.
    """
    for missing in reversed([at for at in (folder, *folder.parents) if not at.exists()]):
        missing.mkdir(mode=0o755, exist_ok=True)


def problem(at: Path) -> str | None:
    """Say who else may change a file or folder, and what to do; None where nobody may.

    A folder that belongs to another user, such as a cache that all of a machine share, is warned of and not refused:
    that user may change it, and was chosen by whoever set it up. Windows has no such rights.
    """
    if os.name == "nt":
        return None
    try:
        found = at.stat()
    except OSError:
        return None  # what is missing or closed is said by whoever opens it
    if found.st_mode & stat.S_IWOTH:
        return f"{at} can be changed by everybody on this machine: chmod o-w {at}"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in _own_groups():
        return f"{at} can be changed by everybody in group {found.st_gid}: chmod g-w {at}"
    if found.st_uid not in {os.geteuid(), 0} and found.st_uid not in _warned:
        _warned.add(found.st_uid)
        _log.warning("%s belongs to another user (%d), who can change the models: is that meant?", at, found.st_uid)
    return None


def _own_groups() -> set[int]:
    """Return the groups that hold nobody else: root's, and the one a user has to himself by the same number."""
    return {0, *({os.getegid()} if os.getegid() == os.geteuid() else set())}
