"""A window that fills the screen with one colour and prints every click: what lies below an overlay."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    from PySide6.QtGui import QMouseEvent


class Desktop(QWidget):
    """A window that says where it is clicked."""

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Print the place."""
        at = event.position().toPoint()
        print(f"click {at.x()} {at.y()}", flush=True)


def main(colour: str) -> int:
    """Show the window until it is closed."""
    app = QApplication([])
    window = Desktop()
    window.setWindowTitle("desktop below")
    window.setAutoFillBackground(True)
    palette = window.palette()
    palette.setColor(QPalette.ColorRole.Window, colour)
    window.setPalette(palette)
    window.setWindowFlag(Qt.WindowType.FramelessWindowHint)
    window.showMaximized()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
