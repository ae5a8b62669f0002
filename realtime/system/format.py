"""Numbers as people read them."""

from __future__ import annotations


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; what rounds to nothing is +0, never -0."""
    return f"{unsigned_zero(value, digits):+.{digits}f}"


def unsigned_zero(value: float, digits: int = 2) -> float:
    """Round, and leave no minus before a zero."""
    return round(value, digits) + 0.0
