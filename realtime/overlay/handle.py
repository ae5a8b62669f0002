"""What appears while the overlay may be moved: a bright edge and a strip of buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from realtime.overlay import style
from realtime.overlay.panel import HEIGHT, WIDTH

if TYPE_CHECKING:
    from PySide6.QtCore import QPointF

Action = Literal["pause", "smaller", "larger", "close"]

STRIP = QRectF(2, HEIGHT - 38, WIDTH - 4, 36)
GROUND = QColor(36, 44, 56, 250)
BUTTON = QColor(74, 88, 108)
BUTTONS: dict[Action, QRectF] = {
    "pause": QRectF(WIDTH - 206, HEIGHT - 31, 76, 24),
    "smaller": QRectF(WIDTH - 124, HEIGHT - 31, 24, 24),
    "larger": QRectF(WIDTH - 94, HEIGHT - 31, 24, 24),
    "close": QRectF(WIDTH - 64, HEIGHT - 31, 54, 24),
}


def draw(painter: QPainter, *, paused: bool) -> None:
    """Draw edge and strip over the panel."""
    painter.setPen(QPen(style.POSITIVE, 2))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(QRectF(1, 1, WIDTH - 2, HEIGHT - 2), 12, 12)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(GROUND)
    painter.drawRoundedRect(STRIP, 11, 11)
    style.write(painter, STRIP.adjusted(14, 0, -210, 0), "Drag to move", 12, style.INK)
    words = {"pause": "Resume" if paused else "Pause", "smaller": "A\N{MINUS SIGN}", "larger": "A+", "close": "Close"}
    painter.setPen(Qt.PenStyle.NoPen)
    for action, place in BUTTONS.items():
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(BUTTON)
        painter.drawRoundedRect(place, 5, 5)
        style.write(painter, place, words[action], 12, style.INK, align=style.CENTRE, bold=True)


def hit(at: QPointF) -> Action | None:
    """The button at a point of the panel."""
    return next((action for action, place in BUTTONS.items() if place.contains(at)), None)
