"""Files that hold what was seen and said: nobody else reads them, no link leads them astray, none is half written."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PART = ".part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def create_private(path: Path) -> int:
    """Create a file that is not there yet, readable by its owner only, and return its descriptor.

    Raises:
        OSError: it can't be, or something of this name is there, be it a link to nowhere.
    """
    return os.open(path, _NEW, 0o600)


@contextmanager
def private_file(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Write a file that appears under its name once it is complete; if writing fails, nothing of it is left.

    Args:
        path: of the file. A device or a pipe (/dev/stdout) is written to as it is.
        overwrite: whether it may take the place of a file, or of a link: of the link itself, not of what it leads to.

    Raises:
        OSError: it can't be written, or is there already (FileExistsError).
    """
    if _is_device(path):
        with path.open("wb") as device:
            yield device
        return
    part = path.with_name(f".{secrets.token_hex(8)}{PART}")
    descriptor = create_private(part)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        if overwrite:
            os.replace(part, path)  # noqa: PTH105 - overwrites on Windows too
        else:
            _give_name(part, path)
    finally:
        part.unlink(missing_ok=True)


def open_growing(path: Path) -> IO[bytes]:
    """Open a file that others read while it grows: a new one in place of a file of this name, or a device as it is.

    Raises:
        OSError: it can't be written, or is a link to a file: what it leads to may be anybody's.
    """
    if _is_device(path):
        return path.open("wb")
    if path.is_symlink():
        raise OSError(None, "it is a link; name the file itself")
    if path.is_file():
        path.unlink()
    return os.fdopen(create_private(path), "wb")


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _give_name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # unlike a rename it never takes the place of another
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(None, "File exists") from None
        part.rename(path)
