"""What the overlay needs, looked at without importing it."""

from __future__ import annotations

import importlib.util
import os
import sys

from realtime.errors import UsageError


def check_needs() -> None:
    """Say what is missing, and what to do about it.

    Raises:
        UsageError: Qt is not installed, or there is no screen.
    """
    if importlib.util.find_spec("PySide6") is None:
        raise UsageError(
            "the overlay needs PySide6, which is not installed; in the program's folder: "
            "python -m pip install -c constraints.txt -e '.[overlay]'"
        )
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux") and not named:  # Qt itself would abort with a core dump
        raise UsageError("no screen for the overlay: neither DISPLAY nor WAYLAND_DISPLAY is set")
