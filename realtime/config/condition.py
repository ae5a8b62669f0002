"""The condition of a rule: one comparison of one field of a message, such as `score < -1` or `face.state = lost`."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from realtime.types import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS: Final = (
    *("score", "raw", "p_positive", "confidence", "context", "faces"),
    *(f"{name}.{part}" for name in MODALITIES for part in ("weight", "reliability")),
)
"""Fields that are numbers, or missing."""
WORDS: Final = {
    "state": ("ok", "degraded", "no_signal", "paused"),
    "opinion": ("listening", "partial", "final"),
    **{f"{name}.state": ("ok", "noisy", "stale", "lost", "off") for name in MODALITIES},
}
"""Fields that are one of a few words."""
_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SHAPE = re.compile(r"\s*([a-z_.]+)\s*(<=|>=|<|>|!=|=)\s*(\S+)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison: `field` of a message, `<`, `<=`, `>`, `>=` with a number, or `=`, `!=` with a word."""

    field: str
    comparison: str
    limit: float | str

    def holds(self, value: float | str | None) -> bool:
        """Tell whether it is so; what is missing fulfils nothing."""
        if isinstance(value, str):
            return (value == self.limit) == (self.comparison == "=")
        return value is not None and _COMPARISONS[self.comparison](value, float(self.limit))

    def is_over(self, value: float | str | None, hysteresis: float) -> bool:
        """Tell whether it has stopped: a number must have come back beyond the limit by the hysteresis."""
        if value is None or isinstance(value, str):
            return value is not None and not self.holds(value)
        back = hysteresis if self.comparison.startswith("<") else -hysteresis
        return not _COMPARISONS[self.comparison](value, float(self.limit) + back)


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is none; the message says what fits.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError("write FIELD < NUMBER (or <=, >, >=) or FIELD = WORD (or !=), for example score < -1")
    field, comparison, limit = found.groups()
    if field in WORDS:
        if comparison not in {"=", "!="} or limit not in WORDS[field]:
            raise ValueError(f"{field} is compared by = or != with one of {', '.join(WORDS[field])}")
        return Condition(field, comparison, limit)
    if field not in NUMBERS:
        raise ValueError(f"there is no field {field}: known are {', '.join((*NUMBERS, *WORDS))}")
    try:
        number = float(limit)
    except ValueError:
        number = math.nan
    if comparison not in _COMPARISONS or not math.isfinite(number):
        raise ValueError(f"{field} is compared by <, <=, > or >= with a number")
    return Condition(field, comparison, number)
