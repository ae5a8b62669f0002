"""What the installed commands start: `agfn-live` and its tools, once it is sure that our packages are ours.

The packages are called `realtime` and `models`; another distribution may bring packages of these names, and a folder of
that name may lie where Python looks first. This file has a name of its own, so that it can say so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = {"realtime": "session/ticks.py", "models": "catalogue.py"}
"""Our packages, and a file that no other package of that name has."""
EXIT_SHADOWED = 2


def shadows() -> list[str]:
    """Say for each of our packages that is missing or another's what is in its place; nothing is imported."""
    found = []
    for name, file in OURS.items():
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or [spec.origin or "built in"]) if spec is not None else []
        if not any((Path(place) / file).is_file() for place in places):
            there = f"{places[0]} is another's" if places else "it is missing"
            found.append(f"package {name}: {there}")
    return found


def _start(module: str) -> None:
    if problems := shadows():
        remedy = "install AGFN Live into an environment of its own (pipx, uvx), without a PYTHONPATH"
        sys.stderr.write(f"agfn-live: {'; '.join(problems)}: {remedy}\n")
        sys.exit(EXIT_SHADOWED)
    main: Callable[[], int] = importlib.import_module(module).main
    from realtime.system.threads import leave  # noqa: PLC0415 - ours, as was just seen

    leave(main())


def live() -> None:
    """Run `agfn-live`."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # for the programs it starts: where the user stands is not ours
    _start("realtime.run")


def overlay() -> None:
    """Run `agfn-live-overlay`."""
    _start("realtime.overlay.__main__")


def report() -> None:
    """Run `agfn-live-report`."""
    _start("realtime.report.__main__")


def export() -> None:
    """Run `agfn-live-export`."""
    _start("realtime.export.__main__")
