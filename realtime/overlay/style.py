"""Colours, fonts and text of the overlay.

The colours are those of Okabe and Ito (2008), which people of any colour vision tell apart. And none of them stands
alone: sign, place, pattern and word say the same.
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter

PANEL = QColor(14, 18, 24, 212)
EDGE = QColor(255, 255, 255, 46)
TRACK = QColor(255, 255, 255, 34)
INK = QColor(244, 246, 248)
FAINT = QColor(176, 185, 196)
NEGATIVE = QColor(230, 159, 0)  # orange
NEUTRAL = QColor(196, 202, 210)
POSITIVE = QColor(86, 180, 233)  # sky blue
NOISY = QColor(240, 228, 66)  # yellow
LOST = QColor(213, 94, 0)  # vermillion
LIVE = QColor(235, 64, 52)
BLACK = QColor(10, 12, 16)

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter


def tone(score: float) -> QColor:
    """The colour of a score in [-3, 3]: orange, grey, sky blue."""
    end = POSITIVE if score > 0 else NEGATIVE
    share = min(1.0, abs(score) / 1.5)
    return mixed(NEUTRAL, end, share)


def mixed(first: QColor, second: QColor, share: float) -> QColor:
    """Go a share in [0, 1] of the way from one colour to another."""
    parts = [
        round(a + (b - a) * share)
        for a, b in zip(first.getRgb()[:3], second.getRgb()[:3], strict=True)  # type: ignore[index] # a tuple
    ]
    return QColor(*parts)


def faded(colour: QColor, alpha: int) -> QColor:
    """The same colour, `alpha` of 255 opaque."""
    other = QColor(colour)
    other.setAlpha(alpha)
    return other


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> QFont:
    """The sans-serif font of the desktop, `size` pixels high; figures of one width, so that numbers stand still."""
    made = QFont()
    made.setStyleHint(QFont.StyleHint.SansSerif)
    made.setPixelSize(size)
    made.setBold(bold)
    return made


def width(text: str, size: int, *, bold: bool = False) -> float:
    """How wide a line is when written, in the painter's pixels."""
    return QFontMetricsF(font(size, bold=bold)).horizontalAdvance(text)


def write(
    painter: QPainter,
    place: QRectF,
    text: str,
    size: int,
    colour: QColor = INK,
    *,
    align: Qt.AlignmentFlag = LEFT,
    bold: bool = False,
) -> float:
    """Write one line, cut with an ellipsis where it does not fit; returns its width."""
    chosen = font(size, bold=bold)
    metrics = QFontMetricsF(chosen)
    shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, place.width())
    painter.setFont(chosen)
    painter.setPen(colour)
    painter.drawText(place, int(align), shown)
    return metrics.horizontalAdvance(shown)
