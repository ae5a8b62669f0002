"""The publish-subscribe hub of one process: every message leaves through it, and privacy is applied once, at its door.

A sink or an observer subscribes to the kinds of message that it wants. Words reach only those who subscribe with
consent; the others get the same message without them.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from realtime.publish.messages import EventMessage, Health, Sentiment

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from realtime.publish.messages import Message, Origin

log = logging.getLogger(__name__)

KINDS: tuple[type[Message], ...] = (Sentiment, Health, EventMessage)
"""What a stream says."""


class Follower(Protocol):
    """A sink that holds something for each stream, and is told of those that come and go while the program runs."""

    def stream_came(self, stream: str, origin: Origin) -> None:
        """Prepare for a stream; before its first message. May take a while, and may raise: it is logged."""
        ...

    def stream_went(self, stream: str) -> None:
        """Let go of a stream; after its last message."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Subscriber:
    take: Callable[[Any], None]
    words: bool
    stream: str | None


class Outlet:
    """Hands each message to those who subscribed to its kind, in their order and in the thread of the sender."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Message], tuple[_Subscriber, ...]] = {}
        self._followers: tuple[Follower, ...] = ()
        self._changing = threading.Lock()

    @classmethod
    def into(cls, take: Callable[[Any], None]) -> Self:
        """Return an outlet with one subscriber, who takes everything, words included: for programs, not for sinks."""
        outlet = cls()
        outlet.subscribe(take, *KINDS, words=True)
        return outlet

    def subscribe(
        self, take: Callable[[Any], None], *kinds: type[Message], words: bool = False, stream: str | None = None
    ) -> Callable[[], None]:
        """Have messages handed over.

        Args:
            take: called with each message, from any thread; must not wait.
            kinds: the classes of message that are wanted.
            words: whether there is consent to what was said being handed over.
            stream: only those of this stream; None for all.

        Returns:
            What ends the subscription.
        """
        subscriber = _Subscriber(take, words, stream)
        with self._changing:
            for kind in kinds:
                self._subscribers[kind] = (*self._subscribers.get(kind, ()), subscriber)

        def end() -> None:
            with self._changing:
                for kind in kinds:
                    self._subscribers[kind] = tuple(each for each in self._subscribers[kind] if each is not subscriber)

        return end

    def follow(self, follower: Follower) -> None:
        """Have a sink told of streams that come and go from now on."""
        with self._changing:
            self._followers = (*self._followers, follower)

    def came(self, stream: str, origin: Origin) -> None:
        """Tell that a stream is about to speak."""
        for follower in self._followers:
            try:
                follower.stream_came(stream, origin)
            except Exception:  # as in `send`: one sink that can't take it must not keep it from the others
                log.exception("stream %s: %s did not take it", stream, type(follower).__name__)

    def went(self, stream: str) -> None:
        """Tell that a stream has said its last."""
        for follower in reversed(self._followers):
            try:
                follower.stream_went(stream)
            except Exception:
                log.exception("stream %s: %s did not let go of it", stream, type(follower).__name__)

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
