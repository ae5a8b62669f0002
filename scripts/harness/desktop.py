"""A window that fills the screen with one colour and prints every click: what lies below an overlay."""

import sys

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QWidget


class Desktop(QWidget):
    def mousePressEvent(self, event):  # noqa: N802 - Qt's name
        at = event.position().toPoint()
        print(f"click {at.x()} {at.y()}", flush=True)


def main(colour):
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
