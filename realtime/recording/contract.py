"""A recorded message or entry as a stranger may have written it: small, of the contract, every number in its bounds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from realtime.errors import SourceError
from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.system.logs import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS: Mapping[str, type[Sentiment | EventMessage | Health]] = {
    "sentiment": Sentiment,
    "event": EventMessage,
    "health": Health,
}
MAX_BYTES = 64 * 1024
"""Of a message or an entry; those of BULKY may have more."""
BULKY = {"text": 1 << 20, "video": 4 << 20, "audio": 1 << 20}
MOST = 1 << 53
"""Beyond, a whole number is none any more where it becomes a float, and no count or time gets there."""
LONGEST_S = 1e9
"""No session lasts thirty years."""


def check_size(topic: str, data: bytes) -> None:
    """See that an entry is not larger than any of ours.

    Raises:
        ValueError: it is.
    """
    if len(data) > BULKY.get(topic, MAX_BYTES):
        raise ValueError(f"{topic[:20]!r} of {len(data)} bytes")


def load_json(data: bytes, most: int = 1 << 62) -> Any:  # noqa: ANN401 - JSON
    """Read JSON whose numbers are finite and at most `most`.

    Raises:
        ValueError: it is no such JSON; of endless nesting too.
    """

    def whole(text: str) -> int:
        if len(text) > 20 or abs(int(text)) > most:
            raise ValueError("a number out of bounds")
        return int(text)

    def broken(text: str) -> float:
        if not abs(value := float(text)) <= most:
            raise ValueError("a number out of bounds")
        return value

    def none(text: str) -> float:
        raise ValueError(f"{text} is no number of JSON")

    try:
        return json.loads(data, parse_int=whole, parse_float=broken, parse_constant=none)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def checked(topic: str, data: bytes) -> dict[str, Any]:
    """Return a message of the contract as JSON values; keys that the contract does not know are left out.

    Raises:
        SourceError: it is none.
    """
    try:
        check_size(topic, data)
        message = MODELS[topic].model_validate(load_json(data, MOST), extra="ignore")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = printable(".".join(str(part) for part in problem["loc"]))
        raise SourceError(f"damaged {topic} message: {place}: {problem['msg']}"[:200]) from None
    except ValueError as error:
        raise SourceError(printable(f"damaged {topic} message: {error}")[:200]) from None
    if any(abs(time_s) > LONGEST_S for time_s in _times_s(message)):
        raise SourceError(f"damaged {topic} message: a time beyond all sessions")
    return message.model_dump(mode="json")


def _times_s(message: Sentiment | EventMessage | Health) -> tuple[float, ...]:
    if isinstance(message, Sentiment):
        return message.window.start_s, message.window.end_s
    if isinstance(message, EventMessage):
        return message.time_s, message.since_s or 0.0
    return (message.uptime_s,)
