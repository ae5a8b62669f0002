"""The whole panel, drawn from a view: where each part is, and the header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from realtime.overlay import charts, style
from realtime.overlay.gates import ROW, gates

if TYPE_CHECKING:
    from realtime.overlay.watch import Mark, View

WIDTH, HEIGHT = 372, 304
"""Size in device-independent pixels at scale 1."""
PAD = 14.0
INSIDE = WIDTH - 2 * PAD
HEADER = QRectF(PAD, 10, INSIDE, 20)
SCORE = QRectF(PAD, 36, INSIDE, 44)
SCALE = QRectF(PAD, 84, INSIDE, 36)
TRACE = QRectF(PAD, 126, INSIDE, 44)
RECORDING = QRectF(PAD + 40, 163, INSIDE - 40, 15)
"""In the line of the trace's caption."""
GATES = QRectF(PAD, 180, INSIDE, 3 * ROW)

MARKS: dict[Mark, str] = {"analysing": "ANALYSING", "paused": "PAUSED", "unknown": "NO CONTACT"}
PAST = 0.32
"""Opacity of what belongs to the past."""


def draw(painter: QPainter, view: View) -> None:
    """Draw the panel, `WIDTH` x `HEIGHT`; the painter may be scaled."""
    painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.TextAntialiasing)
    painter.setPen(QPen(style.EDGE, 1))
    painter.setBrush(style.PANEL)
    painter.drawRoundedRect(QRectF(0.5, 0.5, WIDTH - 1, HEIGHT - 1), 12, 12)
    past = view.notice is not None and view.notice.waits
    _header(painter, view, past=past)
    if view.notice is not None:
        _notice(painter, view.notice.headline, view.notice.detail)
    elif view.sentiment is not None:
        charts.number(painter, SCORE, view.sentiment)
    if past or view.mark == "paused":
        painter.setOpacity(PAST)
    charts.scale(painter, SCALE, None if view.notice is not None else view.sentiment)
    charts.trace(painter, TRACE, view.trace)
    gates(painter, GATES, view.sentiment)
    painter.setOpacity(1)
    if view.recording:
        _recording(painter, view.recording, failed=view.recording_failed)


def _recording(painter: QPainter, kept: str, *, failed: bool) -> None:
    said = "RECORDING FAILED" if failed else f"REC {kept}"
    ground = QColor(style.NOISY if failed else style.LIVE)
    width = style.width(said, 11, bold=True) + 12
    chip = QRectF(RECORDING.right() - width, RECORDING.top(), width, RECORDING.height())
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(ground)
    painter.drawRoundedRect(chip, 4, 4)
    style.write(painter, chip, said, 11, style.BLACK, align=style.CENTRE, bold=True)


def _header(painter: QPainter, view: View, *, past: bool) -> None:
    centre = QPointF(HEADER.left() + 7, HEADER.center().y())
    _dot(painter, centre, view.mark)
    place = HEADER.adjusted(22, 0, 0, 0)
    width = style.write(painter, place, MARKS[view.mark], 12, style.INK, bold=True)
    style.write(painter, place.adjusted(width + 10, 0, -110, 0), view.stream, 12, style.FAINT)
    if view.sentiment is None or past or view.mark == "paused":
        return
    lag = view.sentiment.latency_ms
    words = "" if lag.text_lag is None else f", words {lag.text_lag / 1000:.1f} s"
    style.write(painter, place, f"lag {lag.total} ms{words}", 12, style.FAINT, align=style.RIGHT)


def _dot(painter: QPainter, centre: QPointF, mark: Mark) -> None:
    if mark == "paused":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(style.INK)
        for x in (-4.5, 1.5):
            painter.drawRect(QRectF(centre.x() + x, centre.y() - 5, 3, 10))
    elif mark == "analysing":
        painter.setPen(QPen(style.faded(style.LIVE, 90), 3))
        painter.setBrush(style.LIVE)
        painter.drawEllipse(centre, 5, 5)
    else:
        painter.setPen(QPen(style.FAINT, 1.6))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(centre, 4.5, 4.5)


def _notice(painter: QPainter, headline: str, detail: str) -> None:
    half = SCORE.height() / 2
    style.write(painter, SCORE.adjusted(0, 0, 0, -half + 4), headline, 21, style.INK, bold=True)
    style.write(painter, SCORE.adjusted(0, half + 2, 0, 0), detail, 12, style.FAINT)
