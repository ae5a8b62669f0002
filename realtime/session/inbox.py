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
    """Orders in the order of their arrival."""

    def __init__(self) -> None:
        # Unlike a lock or a Queue it may be entered again by a signal's handler that interrupts its owner.
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()

    def put(self, order: Order) -> None:
        """Hand in an order; returns at once."""
        self._orders.put(order)

    def take(self, timeout_s: float) -> Order | None:
        """Wait for the next order; None when none came in time."""
        try:
            return self._orders.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
