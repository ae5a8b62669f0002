"""The three gates: what each modality weighs, how reliable it is, and what is wrong with it.

Each state has a word, a pattern and a colour: noisy is striped, lost is an empty dashed frame with a cross.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPainterPath, QPen

from realtime.overlay import style
from realtime.types import MODALITIES

if TYPE_CHECKING:
    from realtime.publish.messages import ModalityPart, Sentiment
    from realtime.types import ModalityState

ROW = 38.0
BAR = 13.0
NAME = 48.0
PERCENT = 48.0
CHIP = 54.0

CHIPS: dict[ModalityState, tuple[QColor, QColor]] = {
    "noisy": (style.NOISY, style.BLACK),
    "stale": (style.NEUTRAL, style.BLACK),
    "lost": (style.LOST, QColor(255, 255, 255)),
}


def gates(painter: QPainter, place: QRectF, sentiment: Sentiment | None) -> None:
    """All three, one below the other; empty ones before the first message."""
    for row, name in enumerate(MODALITIES):
        at = QRectF(place.left(), place.top() + row * ROW, place.width(), ROW)
        _gate(painter, at, name, None if sentiment is None else sentiment.modalities[name])


def bar_place(place: QRectF, row: int) -> QRectF:
    """Where the bar of a row is drawn in the place of all gates."""
    return QRectF(place.left() + NAME, place.top() + row * ROW + 4, place.width() - NAME - PERCENT - CHIP - 6, BAR)


def _gate(painter: QPainter, row: QRectF, name: str, part: ModalityPart | None) -> None:
    bar = bar_place(row, 0)
    line = QRectF(row.left(), bar.top() - 3, row.width(), BAR + 6)
    style.write(painter, line.adjusted(0, 0, NAME - row.width(), 0), name, 13, style.INK, bold=True)
    if part is None or part.state == "off":
        _track(painter, bar)
        if part is not None:
            _state(painter, line, part.state)
        return
    _bar(painter, bar, part)
    percent = QRectF(bar.right(), line.top(), PERCENT, line.height())
    style.write(painter, percent, f"{part.weight * 100:.0f} %", 13, style.INK, align=style.RIGHT)
    _state(painter, line, part.state)
    _reliability(painter, QRectF(bar.left(), bar.bottom() + 3, row.right() - bar.left(), 14), bar.width(), part)


def _bar(painter: QPainter, bar: QRectF, part: ModalityPart) -> None:
    if part.state == "lost":
        painter.setBrush(style.faded(style.LOST, 56))
        painter.setPen(QPen(style.LOST, 1.5, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(bar.adjusted(0.75, 0.75, -0.75, -0.75), 3, 3)
        painter.setPen(QPen(style.LOST, 2))
        centre, arm = bar.center(), 3.5
        painter.drawLine(centre + QPointF(-arm, -arm), centre + QPointF(arm, arm))
        painter.drawLine(centre + QPointF(-arm, arm), centre + QPointF(arm, -arm))
        return
    _track(painter, bar)
    full = QRectF(bar.left(), bar.top(), bar.width() * part.weight, bar.height())
    clip = QPainterPath()
    clip.addRoundedRect(bar, 3, 3)
    painter.save()
    painter.setClipPath(clip)
    if part.state == "noisy":
        _stripes(painter, bar, style.faded(style.NOISY, 80))
        painter.fillRect(full, style.faded(style.NOISY, 70))
        painter.setClipRect(full, Qt.ClipOperation.IntersectClip)
        _stripes(painter, bar, style.NOISY)
    else:
        painter.fillRect(full, QBrush(style.INK if part.state == "ok" else style.faded(style.NEUTRAL, 130)))
    painter.restore()


def _stripes(painter: QPainter, bar: QRectF, colour: QColor) -> None:
    painter.setPen(QPen(colour, 3.2))
    x = bar.left() - bar.height()
    while x < bar.right():
        painter.drawLine(QPointF(x, bar.bottom() + 1), QPointF(x + bar.height() + 2, bar.top() - 1))
        x += 8


def _track(painter: QPainter, bar: QRectF) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(style.TRACK)
    painter.drawRoundedRect(bar, 3, 3)


def _reliability(painter: QPainter, place: QRectF, width: float, part: ModalityPart) -> None:
    """A thin line as long as the reliability, and in words, with the cause of trouble."""
    painter.setPen(_thin(style.TRACK))
    painter.drawLine(place.topLeft(), place.topLeft() + QPointF(width, 0))
    if part.reliability > 0:
        painter.setPen(_thin(style.FAINT))
        painter.drawLine(place.topLeft(), place.topLeft() + QPointF(width * part.reliability, 0))
    colour = {"noisy": style.NOISY, "lost": style.mixed(style.LOST, style.INK, 0.45)}.get(part.state, style.FAINT)
    cause = f"  {part.cause}" if part.cause and part.state != "ok" else ""
    style.write(painter, place.adjusted(0, 2, 0, 2), f"reliability {part.reliability:.2f}{cause}", 11, colour)


def _thin(colour: QColor) -> QPen:
    return QPen(colour, 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap)


def _state(painter: QPainter, line: QRectF, state: ModalityState) -> None:
    chip = QRectF(line.right() - CHIP, line.top() + 1, CHIP, line.height() - 2)
    if state not in CHIPS:
        style.write(painter, chip, state, 12, style.FAINT, align=style.CENTRE)
        return
    ground, ink = CHIPS[state]
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(ground)
    painter.drawRoundedRect(chip, 4, 4)
    style.write(painter, chip, state.upper(), 12, ink, align=style.CENTRE, bold=True)
