"""The configuration files that come along, by name: `--config laptop` from a checkout or an installed wheel."""

from __future__ import annotations

import sysconfig
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2] / "configs"
INSTALLED = "share/agfn-live/configs"


def profile(name: Path) -> Path:
    """Return the file that a name stands for; a path that exists, or that is no bare name, is itself."""
    if name.exists() or name.suffix or len(name.parts) != 1:
        return name
    return next((at for folder in _folders() if (at := folder / f"{name}.yaml").is_file()), name)


def _folders() -> list[Path]:
    folders = [CHECKOUT, Path(sysconfig.get_path("data")) / INSTALLED]
    try:
        files = metadata.files("agfn-live") or ()
    except metadata.PackageNotFoundError:
        return folders
    return [*folders, *{Path(str(file.locate())).parent for file in files if file.parent.name == "configs"}]
