"""The score: as a number, on its scale with the 90 % interval, and over the last minute."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QLinearGradient, QPainter, QPen, QPolygonF

from realtime.overlay import style
from realtime.overlay.watch import TRACE_S, Point
from realtime.system.format import signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.publish.messages import Sentiment

BAR = 8.0
MARKER = 8.0
MINUS = "\N{MINUS SIGN}"
"""As wide as a plus, so that the figures stand still."""


def across(score: float, place: QRectF) -> float:
    """The x of a score on a scale from -3 to 3."""
    return place.left() + (score + 3) / 6 * place.width()


def down(score: float, place: QRectF) -> float:
    """The y of a score in a chart from 3 to -3."""
    return place.bottom() - (score + 3) / 6 * place.height()


def number(painter: QPainter, place: QRectF, sentiment: Sentiment) -> None:
    """The score in figures with its class, interval and confidence."""
    assert sentiment.score is not None  # noqa: S101 - the caller shows a notice otherwise
    assert sentiment.interval is not None  # noqa: S101 - as above
    low, high = sentiment.interval
    colour = style.tone(sentiment.score)
    figures = signed(sentiment.score).replace("-", MINUS)
    style.write(painter, QRectF(place.left(), place.top(), 106, place.height()), figures, 34, colour)
    right = place.adjusted(110, 0, 0, 0)
    half = right.height() / 2
    style.write(painter, right.adjusted(0, 1, 0, -half), sentiment.label or "", 17, style.INK, bold=True)
    said = f"90 %: {signed(low)} to {signed(high)}".replace("-", MINUS)
    below = right.adjusted(0, half, 0, -2)
    width = style.write(painter, below, said, 12)
    sure = f"confidence {sentiment.confidence * 100:.0f} %"
    style.write(painter, below.adjusted(width + 4, 0, 0, 0), sure, 11, style.FAINT, align=style.RIGHT)


def scale(painter: QPainter, place: QRectF, sentiment: Sentiment | None) -> None:
    """The scale from -3 to 3; with a score also its 90 % interval (whiskers), 68 % band and place (a diamond)."""
    bar = QRectF(place.left(), place.top() + 8, place.width(), BAR)
    shades = QLinearGradient(bar.topLeft(), bar.topRight())
    for at, colour in ((0.0, style.NEGATIVE), (0.5, style.NEUTRAL), (1.0, style.POSITIVE)):
        shades.setColorAt(at, style.faded(colour, 150))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(shades)
    painter.drawRoundedRect(bar, BAR / 2, BAR / 2)
    painter.setPen(QPen(style.faded(style.INK, 150), 1))
    for score in range(-3, 4):
        x = min(max(across(score, bar), bar.left() + 0.5), bar.right() - 0.5)
        painter.drawLine(QPointF(x, bar.bottom() + 2), QPointF(x, bar.bottom() + (6 if score in (-3, 0, 3) else 4)))
        words = {-3: f"{MINUS}3 negative", 0: "0", 3: "positive +3"}.get(score)
        if words:
            align = style.LEFT if score < 0 else style.CENTRE if score == 0 else style.RIGHT
            style.write(
                painter, QRectF(place.left(), bar.bottom() + 6, place.width(), 14), words, 10, style.FAINT, align=align
            )
            painter.setPen(QPen(style.faded(style.INK, 150), 1))
    if sentiment is not None and sentiment.score is not None and sentiment.interval is not None:
        _interval(painter, bar, *sentiment.interval)
        if sentiment.band is not None:
            _band(painter, bar, *sentiment.band)
        _diamond(painter, QPointF(across(sentiment.score, bar), bar.center().y()), sentiment.score)


def trace(painter: QPainter, place: QRectF, points: Sequence[Point | None]) -> None:
    """The last minute: the score as a line, its interval as a band; the newest is at the right edge."""
    painter.setPen(QPen(style.faded(style.INK, 60), 1, Qt.PenStyle.DotLine))
    zero = down(0, place)
    painter.drawLine(QPointF(place.left(), zero), QPointF(place.right(), zero))
    style.write(painter, QRectF(place.left(), place.bottom() - 12, 60, 14), "60 s", 10, style.FAINT)
    for is_point, group in groupby(points, key=lambda point: point is not None):
        if is_point:
            _run(painter, place, [point for point in group if point is not None])
    newest = points[-1] if points else None
    if newest is not None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(style.tone(newest.score))
        painter.drawEllipse(_at(newest.age_s, newest.score, place), 2.5, 2.5)


def _run(painter: QPainter, place: QRectF, points: list[Point]) -> None:
    upper = [_at(point.age_s, point.high, place) for point in points]
    lower = [_at(point.age_s, point.low, place) for point in reversed(points)]
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(style.faded(style.INK, 34))
    painter.drawPolygon(QPolygonF([*upper, *lower]))
    shades = QLinearGradient(QPointF(0, down(-1.5, place)), QPointF(0, down(1.5, place)))
    for at, colour in ((0.0, style.NEGATIVE), (0.5, style.NEUTRAL), (1.0, style.POSITIVE)):
        shades.setColorAt(at, colour)
    painter.setPen(QPen(shades, 1.8, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolyline(QPolygonF([_at(point.age_s, point.score, place) for point in points]))


def _at(age_s: float, score: float, place: QRectF) -> QPointF:
    return QPointF(place.right() - age_s / TRACE_S * place.width(), down(score, place))


def _interval(painter: QPainter, bar: QRectF, low: float, high: float) -> None:
    left, right = across(low, bar), across(high, bar)
    painter.setPen(QPen(style.INK, 2))
    y = bar.center().y()
    painter.drawLine(QPointF(left, y), QPointF(right, y))
    for x in (left, right):
        painter.drawLine(QPointF(x, y - 6), QPointF(x, y + 6))


def _band(painter: QPainter, bar: QRectF, low: float, high: float) -> None:
    left, right = across(low, bar), across(high, bar)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(style.INK)
    painter.drawRoundedRect(QRectF(left, bar.center().y() - 3, right - left, 6), 3, 3)


def _diamond(painter: QPainter, centre: QPointF, score: float) -> None:
    corners = [QPointF(0, -MARKER), QPointF(MARKER, 0), QPointF(0, MARKER), QPointF(-MARKER, 0)]
    painter.setPen(QPen(style.BLACK, 1.5))
    painter.setBrush(style.tone(score))
    painter.drawPolygon(QPolygonF([centre + corner for corner in corners]))
