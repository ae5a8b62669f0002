"""The icon in the tray, where the desktop has one: move, size, pause, quit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from realtime.overlay import style

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.overlay.window import Window

SIDE = 64


def icon() -> QIcon:
    """Three bars of different height on a dark ground: the gates."""
    pixmap = QPixmap(SIDE, SIDE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(style.PANEL)
    painter.drawRoundedRect(QRectF(0, 0, SIDE, SIDE), 14, 14)
    for left, height, colour in ((12, 40, style.POSITIVE), (27, 26, style.INK), (42, 14, style.NEGATIVE)):
        painter.setBrush(colour)
        painter.drawRoundedRect(QRectF(left, 52 - height, 10, height), 3, 3)
    painter.end()
    return QIcon(pixmap)


def tray(window: Window, on_pause: Callable[[], object], on_close: Callable[[], object]) -> QSystemTrayIcon:
    """Show the icon; it is the caller's to keep alive."""
    menu = QMenu(window)
    move = menu.addAction("Move (or hold Ctrl+Shift over it)")
    move.setCheckable(True)
    move.toggled.connect(window.keep_movable)
    menu.addAction("Larger").triggered.connect(lambda: window.resize_by(1))
    menu.addAction("Smaller").triggered.connect(lambda: window.resize_by(-1))
    menu.addSeparator()
    menu.addAction("Pause or resume the analysis").triggered.connect(on_pause)
    menu.addAction("Close the overlay").triggered.connect(on_close)
    made = QSystemTrayIcon(icon(), window)
    made.setToolTip("AGFN Live")
    made.setContextMenu(menu)
    made.show()
    return made
