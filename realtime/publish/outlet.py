"""The publish-subscribe hub of one process: every message leaves through it, and privacy is applied once, at its door.

A sink or an observer subscribes to the kinds of message that it wants. Words reach only those who subscribe with
consent; the others get the same message without them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime.publish.messages import EventMessage, Health, Sentiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from realtime.publish.messages import Message

log = logging.getLogger(__name__)

KINDS: tuple[type[Message], ...] = (Sentiment, Health, EventMessage)
"""What a stream says."""


@dataclass(frozen=True, slots=True)
class _Subscriber:
    take: Callable[[Any], None]
    words: bool
    stream: str | None


class Outlet:
    """Hands each message to those who subscribed to its kind, in their order and in the thread of the sender."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Message], tuple[_Subscriber, ...]] = {}

    @classmethod
    def into(cls, take: Callable[[Any], None]) -> Self:
        """Return an outlet with one subscriber, who takes everything, words included: for programs, not for sinks."""
        outlet = cls()
        outlet.subscribe(take, *KINDS, words=True)
        return outlet

    def subscribe(
        self, take: Callable[[Any], None], *kinds: type[Message], words: bool = False, stream: str | None = None
    ) -> None:
        """Have messages handed over.

        Args:
            take: called with each message, from any thread; must not wait.
            kinds: the classes of message that are wanted.
            words: whether there is consent to what was said being handed over.
            stream: only those of this stream; None for all.
        """
        for kind in kinds:
            self._subscribers[kind] = (*self._subscribers.get(kind, ()), _Subscriber(take, words, stream))

    def send(self, message: Message) -> None:
        """Hand a message to its subscribers; one that fails is logged, and the others get theirs."""
        bare = without_words(message)
        for subscriber in self._subscribers.get(type(message), ()):
            if subscriber.stream is not None and subscriber.stream != getattr(message, "stream", None):
                continue
            try:
                subscriber.take(message if subscriber.words else bare)
            except Exception:
                # Whatever a sink raises must end neither the tick nor the other sinks.
                log.exception("a %s message was not taken", type(message).__name__.lower())


def without_words(message: Message) -> Message:
    """Return the message without what was said; the message itself where there is nothing to leave out."""
    return message if getattr(message, "text", None) is None else message.model_copy(update={"text": None})
