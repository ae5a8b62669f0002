"""Where the overlay stands and how large it is, kept in a file of the user's config folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect, QSettings, QSize
from PySide6.QtGui import QGuiApplication

from realtime.overlay.panel import HEIGHT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

MARGIN = 24
SCALES = (0.75, 1.0, 1.25, 1.5, 2.0)
VISIBLE = 48
"""So many pixels of it must be on a screen, or it is put back into the corner."""


class Place:
    """Position and scale, remembered from run to run."""

    def __init__(self) -> None:
        self._kept = QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "agfn-live", "overlay")
        scale = self._number("scale", 1.0)
        self.scale = scale if scale in SCALES else 1.0

    @property
    def size(self) -> QSize:
        """Size of the window in device-independent pixels."""
        return QSize(round(WIDTH * self.scale), round(HEIGHT * self.scale))

    def position(self) -> QPoint:
        """Where it stood, or the top right corner where that is on no screen any more."""
        kept = QPoint(round(self._number("x", -1e6)), round(self._number("y", -1e6)))
        screens = [screen.availableGeometry() for screen in QGuiApplication.screens()]
        return kept if is_visible(QRect(kept, self.size), screens) else self._corner()

    def keep(self, position: QPoint) -> None:
        """Remember a position, and the scale."""
        for key, value in (("x", position.x()), ("y", position.y()), ("scale", self.scale)):
            self._kept.setValue(key, value)
        self._kept.sync()

    def step(self, by: int) -> None:
        """Take the next larger (1) or smaller (-1) scale."""
        index = min(max(SCALES.index(self.scale) + by, 0), len(SCALES) - 1)
        self.scale = SCALES[index]

    def _corner(self) -> QPoint:
        screen = QGuiApplication.primaryScreen().availableGeometry()
        return QPoint(screen.right() + 1 - self.size.width() - MARGIN, screen.top() + MARGIN)

    def _number(self, key: str, default: float) -> float:
        try:
            return float(str(self._kept.value(key, default)))
        except ValueError:
            return default


def is_visible(window: QRect, screens: Sequence[QRect]) -> bool:
    """Whether enough of a window is on some screen to find and grab it."""
    parts = [screen.intersected(window) for screen in screens]
    return any(part.width() >= VISIBLE and part.height() >= VISIBLE for part in parts)
