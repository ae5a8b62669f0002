"""The window: frameless, translucent, on top, and not there for the mouse unless it is to be moved.

It can't have the keyboard, so it looks ten times a second whether Ctrl+Shift is held with the pointer over it. The
tray icon does the same where there is a tray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, Qt, QTimer
from PySide6.QtGui import QCursor, QGuiApplication, QMouseEvent, QMoveEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from realtime.overlay import handle, panel

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.overlay.place import Place
    from realtime.overlay.watch import View

LOOK_MS = 100
LOOKS_PER_VIEW = 2
SETTLED_MS = 400
KEYS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
FLAGS = (
    Qt.WindowType.Tool
    | Qt.WindowType.FramelessWindowHint
    | Qt.WindowType.WindowStaysOnTopHint
    | Qt.WindowType.WindowDoesNotAcceptFocus
    | Qt.WindowType.NoDropShadowWindowHint
    | Qt.WindowType.WindowTransparentForInput
)


class Window(QWidget):
    """The overlay's window.

    Args:
        view: returns what to show now.
        on_pause: asks the stream to pause or to go on.
        on_close: ends the overlay.
        place: where it stood.
    """

    def __init__(
        self, view: Callable[[], View], on_pause: Callable[[], object], on_close: Callable[[], object], place: Place
    ) -> None:
        super().__init__(None, FLAGS)
        self._get_view, self._on_pause, self._on_close, self._place = view, on_pause, on_close, place
        self._view = view()
        self._movable = self._kept_movable = False
        self._looks = 0
        self._placed = False
        self.setWindowTitle("AGFN Live overlay")
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_MacAlwaysShowToolWindow)
        self.setFixedSize(place.size)
        self.move(place.position())
        self._settled = QTimer(self, singleShot=True, interval=SETTLED_MS)
        self._settled.timeout.connect(lambda: self._place.keep(self.pos()))
        self._look = QTimer(self, interval=LOOK_MS)
        self._look.timeout.connect(self._tick)
        self._look.start()

    def keep_movable(self, on: bool) -> None:  # noqa: FBT001 - the slot of a check box
        """Make it movable until told otherwise."""
        self._kept_movable = on
        self._set_movable(on)

    def resize_by(self, step: int) -> None:
        """Make it larger (1) or smaller (-1); the top right corner stays where it is."""
        right = self.x() + self.width()
        self._place.step(step)
        self.setFixedSize(self._place.size)
        self.move(right - self.width(), self.y())
        self._settled.start()
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the newest view."""
        painter = QPainter(self)
        painter.scale(self._place.scale, self._place.scale)
        panel.draw(painter, self._view)
        if self._movable:
            handle.draw(painter, paused=self._view.mark == "paused")
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Push a button of the strip, or begin to move; met only while movable."""
        action = handle.hit(QPointF(event.position()) / self._place.scale)
        if action is None:
            self.windowHandle().startSystemMove()
        else:
            {
                "pause": self._on_pause,
                "smaller": lambda: self.resize_by(-1),
                "larger": lambda: self.resize_by(1),
                "close": self._on_close,
            }[action]()

    def moveEvent(self, _event: QMoveEvent) -> None:  # noqa: N802 - Qt's name
        """Remember the place once it stands still."""
        if self._placed:
            self._settled.start()

    def _tick(self) -> None:
        if not self._placed:
            self._placed = True
            self._tell_window_manager()
        held = QGuiApplication.queryKeyboardModifiers() & KEYS == KEYS
        wanted = self._kept_movable or (held and self.geometry().contains(QCursor.pos()))
        if wanted != self._movable:
            self._set_movable(wanted)
        self._looks += 1
        if self._looks % LOOKS_PER_VIEW == 0 and (view := self._get_view()) != self._view:
            self._view = view
            self.update()

    def _tell_window_manager(self) -> None:
        """Say again, of the shown window, what one with frames of its own (openbox) got wrong before it had one."""
        self.move(self._place.position())  # Qt was told 0, 0, the place within the frame
        self._let_through(False)
        self._let_through(True)  # the frame takes over only a change

    def _set_movable(self, on: bool) -> None:  # noqa: FBT001 - private, one caller's word
        self._movable = on
        self._let_through(not on)
        self.update()

    def _let_through(self, on: bool) -> None:  # noqa: FBT001 - as above
        # On the window itself: setWindowFlags of the widget would hide and show it again.
        self.windowHandle().setFlag(Qt.WindowType.WindowTransparentForInput, on)
