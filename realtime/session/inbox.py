"""The inbox of the tick: any thread, key or signal puts an order in, one owner takes them out."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done with a stream; None means all of them.

    `look`: its window is whole; `word`: an opinion word was committed.
    """

    action: Literal["pause", "resume", "toggle", "look", "word"]
    stream: str | None = None


class Change:
    """Something to be done between two ticks: once, by the tick, or not at all.

    Args:
        do: what is to be done.
    """

    def __init__(self, do: Callable[[], None]) -> None:
        self.done = threading.Event()
        self.error: Exception | None = None
        self._do = do
        self._taken = threading.Lock()

    def claim(self) -> bool:
        """Take it for oneself, to do it or so that nobody does; False where another has."""
        return self._taken.acquire(blocking=False)

    def run(self) -> None:
        """Do it, unless it was given up."""
        if not self.claim():
            return
        try:
            self._do()
        except Exception as error:  # noqa: BLE001 - for who asked, not for the tick
            self.error = error
        finally:
            self.done.set()


T = TypeVar("T")


class Inbox(Generic[T]):
    """Orders in the order of their arrival; a clock can wait for the next."""

    def __init__(self) -> None:
        # Unlike a lock or a Queue it may be entered again by a signal's handler that interrupts its owner.
        self._orders: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._next: T | None = None

    def put(self, order: T) -> None:
        """Hand in an order; returns at once."""
        self._orders.put(order)

    def take(self) -> T | None:
        """Return the oldest order; None when there is none."""
        if self._next is None and not self.wait(0):
            return None
        order, self._next = self._next, None
        return order

    def is_set(self) -> bool:
        """Whether there is an order."""
        return self._next is not None or not self._orders.empty()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until there is an order, for `timeout` seconds at most; whether there is one. By its owner only."""
        if self._next is None:
            try:
                self._next = self._orders.get(block=timeout != 0, timeout=timeout)
            except queue.Empty:
                return False
        return True
