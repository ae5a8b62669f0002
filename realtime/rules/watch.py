"""A rule on one stream: when it begins, and when it is over. No I/O, and no clock but the stream's own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from realtime.config.condition import parse_condition

if TYPE_CHECKING:
    from realtime.config.rule import RuleConfig
    from realtime.publish.messages import Sentiment

GAP_S = 2.0
"""After so long without a window nobody knows whether it held meanwhile."""


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that has begun, or is over.

    `held_s` is how long it has held, `value` what the field is now, `message` the one that made it so.
    """

    kind: Literal["begin", "end"]
    held_s: float
    value: float | str
    message: Sentiment


class Watch:
    """One rule on one stream.

    Args:
        rule: its settings.
    """

    def __init__(self, rule: RuleConfig) -> None:
        self._rule = rule
        self._condition = parse_condition(rule.when)
        self._seen_s: float | None = None
        self._since_s: float | None = None
        self._began_s: float | None = None
        self._on = False

    def feed(self, message: Sentiment) -> Firing | None:
        """Look at the next window of the stream and return what is to be told, if anything."""
        now_s = message.window.end_s
        value = field_of(message, self._condition.field)
        if self._seen_s is None or not 0 <= now_s - self._seen_s <= GAP_S:
            self._since_s = None if not self._on else self._since_s
        self._seen_s = now_s
        return self._wait_for_end(message, value, now_s) if self._on else self._wait_for_begin(message, value, now_s)

    def _wait_for_begin(self, message: Sentiment, value: float | str | None, now_s: float) -> Firing | None:
        if value is None or not self._condition.holds(value):
            self._since_s = None
            return None
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < self._rule.for_s:
            return None
        if self._began_s is not None and 0 <= now_s - self._began_s < self._rule.every_s:
            return None  # as soon as it may, if it holds on
        self._on, self._began_s = True, now_s
        return Firing("begin", now_s - self._since_s, value, message)

    def _wait_for_end(self, message: Sentiment, value: float | str | None, now_s: float) -> Firing | None:
        if value is None or not self._condition.is_over(value, self._rule.hysteresis):
            return None
        held_s = now_s - (self._since_s if self._since_s is not None else now_s)
        self._on, self._since_s = False, None
        return Firing("end", held_s, value, message) if self._rule.tell_end else None


def field_of(message: Sentiment, field: str) -> float | str | None:
    """Return a field of a message by its name in a condition; None where it has no value."""
    name, _, key = field.partition(".")
    found = getattr(message.modalities[name], key) if key else getattr(message, name)  # type: ignore[index]
    return found if found is None or isinstance(found, str) else float(found)
