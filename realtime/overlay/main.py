"""The program with its window; imported only when Qt is known to be there."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt, QTimer
from PySide6.QtWidgets import QApplication

from realtime.overlay.feed import Feed
from realtime.overlay.place import Place
from realtime.overlay.tray import tray
from realtime.overlay.watch import Watch
from realtime.overlay.window import Window

if TYPE_CHECKING:
    from realtime.publish.access import Access

PARENT_LOOK_MS = 250


def show(access: Access, base: str, stream: str | None, *, follow_stdin: bool) -> int:
    """Show the overlay until it is closed.

    Args:
        access: the broker.
        base: first part of every topic.
        stream: whom to follow, or None.
        follow_stdin: end when standard input does: the program that started this one holds its other end.
    """
    app = QApplication(["agfn-overlay"])
    app.setQuitOnLastWindowClosed(False)
    feed = Feed(access, base, Watch(access.url, stream))
    window = Window(feed.view, feed.toggle_pause, QCoreApplication.quit, Place())
    icon = tray(window, feed.toggle_pause, QCoreApplication.quit)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN if follow_stdin else lambda *_: over.set())
    if follow_stdin:
        threading.Thread(target=_read_to_end, args=(over,), name="parent", daemon=True).start()
    # The timer also gives Python a turn, in which it sees signals.
    look = QTimer(app, interval=PARENT_LOOK_MS, timerType=Qt.TimerType.CoarseTimer)
    look.timeout.connect(lambda: over.is_set() and QCoreApplication.quit())
    look.start()
    feed.start()
    window.show()
    code = app.exec()
    feed.close()
    icon.hide()
    return code


def _read_to_end(over: threading.Event) -> None:
    sys.stdin.buffer.read()
    over.set()
