"""The sha256 of every wheel that constraints.txt pins: `python -m scripts.hashes` lists them anew in hashes.txt.

The list has the format of `sha256sum`, one wheel a line, and says nothing of where a wheel was found: it fits every
index that serves the same files. Nothing but the standard library is needed, because the list is read before anything
is installed; only making it takes more: `.venv/bin/python -m pip install -c constraints.txt -e '.[audit]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
LIST = ROOT / "hashes.txt"
OTHER_BUILDS = {"torch", "torchaudio"}
"""Their makers serve builds for one kind of processor from indexes of their own, told apart by a local label: +cpu."""
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.+!-]+\.whl)")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!]+)")
_PYTHONS = re.compile(r"py[23]|py3\d*|cp3[6-9]|cp31[0-3]")
_ABIS = re.compile(r"none|abi3|cp31[0-3]")
_PLATFORMS = re.compile(r"any|manylinux\w*_(x86_64|aarch64)|macosx\w+_(x86_64|arm64|universal2)|win_(amd64|arm64)")


class HashError(Exception):
    """A wheel is not what hashes.txt lists, or the list cannot be made; one line for each, with what to do."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that pip means to install: name and version as its metadata say, file name and sha256 as the index."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that takes this very file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def is_other_build(self) -> bool:
        """Whether it is a build for one kind of processor, which only an index of its maker has."""
        return normal(self.name) in OTHER_BUILDS and "+" in self.version


def normal(name: str) -> str:
    """Return a package's name as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_of(file: str) -> tuple[str, str]:
    """Return the normal name and the version that a wheel's file name holds."""
    name, version, *_ = file.split("-")
    return normal(name), version


def listed(path: Path = LIST) -> dict[str, str]:
    """Return the sha256 of every listed wheel by its file name."""
    found = (_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {line[2]: line[1] for line in found if line}


def pins(path: Path = PINS) -> set[tuple[str, str]]:
    """Return normal name and version of everything that is pinned, for any Python."""
    found = (_PIN.match(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {(normal(pin[1]), pin[2]) for pin in found if pin}


def planned(report: Mapping[str, Any]) -> list[Wheel]:
    """Read the report of `pip install --dry-run --report`: every file it would take from an index.

    Raises:
        HashError: the report is of another kind than expected.
    """
    try:
        return [
            Wheel(
                item["metadata"]["name"],
                item["metadata"]["version"],
                unquote(urlsplit(item["download_info"]["url"]).path.rsplit("/", 1)[-1]),
                item["download_info"]["archive_info"]["hashes"]["sha256"],
            )
            for item in report["install"]
            if "dir_info" not in item["download_info"]  # the project itself
        ]
    except (KeyError, TypeError) as error:
        raise HashError(f"pip's report of what it would install lacks {error}: a newer pip may help") from None


def requirements(wheels: Iterable[Wheel], known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the requirements with their hashes, and what is to be said about builds that cannot be listed.

    A build for one kind of processor is taken as its index describes it now, and nothing else is: whoever serves a
    file under another name, or an archive that would have to be built, would get round the list.

    Raises:
        HashError: a file is not listed, or is not what is listed under its name.
    """
    lines, notes, wrong = [], [], []
    for wheel in wheels:
        known_as = known.get(wheel.file)
        if known_as == wheel.sha256:
            lines.append(wheel.requirement)
        elif known_as is None and wheel.is_other_build:
            lines.append(wheel.requirement)
            notes.append(f"{wheel.file} is a build that hashes.txt cannot list; taken with sha256 {wheel.sha256}")
        elif known_as is None:
            wrong.append(f"{wheel.file} is not listed")
        else:
            wrong.append(f"{wheel.file} has sha256 {wheel.sha256[:12]}..., listed is {known_as[:12]}...")
    if wrong:
        raise HashError(
            "; ".join(wrong) + ": the package index serves other files than hashes.txt lists. Nothing was installed. "
            "If this index builds its own wheels and you trust it, set AGFN_HASHES=off"
        )
    return lines, notes


def first(names: Iterable[str], known: Mapping[str, str], pinned: set[tuple[str, str]]) -> list[str]:
    """Return the requirements of packages that are needed before there can be a plan, each with all its hashes."""
    lines = []
    for name, version in sorted(pin for pin in pinned if pin[0] in set(names)):
        hashes = [digest for file, digest in known.items() if package_of(file) == (name, version)]
        lines.append(" ".join([f"{name}=={version}", *(f"--hash=sha256:{digest}" for digest in hashes)]))
    return lines


def is_for_us(file: str) -> bool:
    """Whether a wheel fits a Python and a system that PyTorch, too, has wheels for."""
    python, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    return all(
        any(pattern.fullmatch(tag) for tag in tags.split("."))
        for pattern, tags in ((_PYTHONS, python), (_ABIS, abi), (_PLATFORMS, platform))
    )


def index() -> str | None:
    """Return the address of the package index that pip is set to use; None for the usual one."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    return os.environ.get("PIP_INDEX_URL") or asked.stdout.strip() or None


def make() -> str:
    """Return the list, made anew from the package index.

    Raises:
        HashError: the index does not answer, or has no wheel of a pin.
    """
    # Only here, because the rest runs before anything is installed.
    from pypi_simple import NoSuchProjectError, PyPISimple, UnsupportedRepoVersionError  # noqa: PLC0415

    pinned = pins()
    address = index()
    with PyPISimple(address) if address else PyPISimple() as client, ThreadPoolExecutor(8) as pool:
        try:
            pages = list(pool.map(client.get_project_page, sorted({name for name, _ in pinned})))
        except (OSError, NoSuchProjectError, UnsupportedRepoVersionError) as error:
            raise HashError(f"the package index does not answer as one: {error}") from None
    found = {
        package.filename: package.digests["sha256"]
        for page in pages
        for package in page.packages
        if package.package_type == "wheel" and package_of(package.filename) in pinned and is_for_us(package.filename)
    }
    if missing := pinned - {package_of(file) for file in found}:
        raise HashError("no wheel of " + ", ".join(sorted("==".join(pin) for pin in missing)))
    return "".join(f"{digest}  {file}\n" for file, digest in sorted(found.items(), key=lambda item: item[0].lower()))


def main(argv: list[str] | None = None) -> int:
    """Make the list, or say on stdout what pip has to be given; the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m scripts.hashes", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--first", nargs="+", metavar="NAME", help="print the requirements of these, with hashes")
    parser.add_argument("--plan", type=Path, metavar="REPORT", help="print the requirements of pip's report, checked")
    options = parser.parse_args(argv)
    try:
        if options.first:
            print("\n".join(first(options.first, listed(), pins())))
        elif options.plan:
            lines, notes = requirements(planned(json.loads(options.plan.read_text(encoding="utf-8"))), listed())
            print("\n".join(lines), end="\n" if lines else "")
            print("".join(f"{note}\n" for note in notes), end="", file=sys.stderr)
        else:
            LIST.write_text(make(), encoding="utf-8")
            print(f"{LIST.name}: {len(listed())} wheels of {len(pins())} pins")
    except HashError as error:
        print(f"scripts.hashes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
