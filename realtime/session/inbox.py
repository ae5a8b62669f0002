"""The inbox of commands: any thread, key or signal puts one in, one owner takes them out."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done with a stream; None means all of them."""

    action: Literal["pause", "resume", "toggle"]
    stream: str | None = None


class Inbox:
    """Orders in the order of their arrival; a clock can wait for the next."""

    def __init__(self) -> None:
        # Unlike a lock or a Queue it may be entered again by a signal's handler that interrupts its owner.
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._next: Order | None = None

    def put(self, order: Order) -> None:
        """Hand in an order; returns at once."""
        self._orders.put(order)

    def take(self) -> Order | None:
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
