"""What every target asks of a parser, and where those that read files find theirs."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

LONGEST_LINE = 1500


class FindingError(Exception):
    """A parser did not raise, but answered wrongly."""


def expect(true: object, what: str) -> None:
    """Make a finding of what does not hold.

    Raises:
        FindingError: `true` is not.
    """
    if not true:
        raise FindingError(what)


def expect_one_line(refusal: Exception) -> None:
    """A refusal is one printable line of bearable length."""
    line = str(refusal)
    expect(line and line.isprintable() and len(line) < LONGEST_LINE, f"a refusal that is no line: {line!r}")


@functools.cache
def scratch() -> Path:
    """Return a folder that goes with the process."""
    folder = tempfile.mkdtemp(prefix="agfn-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
