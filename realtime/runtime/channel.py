"""A bounded hand-over between two threads, with its policy chosen where it is wired and every drop counted.

Invariant, at any moment: pushed = popped + dropped + pending.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Policy(Enum):
    """What happens when the channel is full."""

    LATEST = "latest"
    """Keep only the newest item: video frames, dropped before any work is done on them."""
    DROP_OLDEST = "drop_oldest"
    """Make room by dropping the oldest: sound (the reader sees the gap) and messages."""
    BLOCK = "block"
    """Make the writer wait: files at full speed."""


class ClosedError(Exception):
    """The channel is closed and, for a reader, empty."""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Counts since the start; `pending` is what waits now."""

    pushed: int
    popped: int
    dropped: int
    pending: int


class Channel(Generic[T]):
    """A bounded first-in first-out queue between threads.

    Args:
        policy: what to do when `capacity` items wait. LATEST forces a capacity of 1.
        capacity: the most items that may wait.
    """

    def __init__(self, policy: Policy, capacity: int = 1) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.policy = policy
        self.capacity = 1 if policy is Policy.LATEST else capacity
        self._items: deque[T] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._pushed = self._popped = self._dropped = 0

    def push(self, item: T, timeout_s: float | None = None) -> T | None:
        """Add an item and return the one that had to go for it, if any.

        Args:
            item: what to hand over.
            timeout_s: how long BLOCK may wait for room; None waits for ever.

        Raises:
            ClosedError: the channel is closed.
            TimeoutError: BLOCK found no room in time.
        """
        with self._ready:
            if self.policy is Policy.BLOCK and not self._ready.wait_for(self._has_room, timeout_s):
                raise TimeoutError(f"no room in the channel for {timeout_s} s")
            if self._closed:
                raise ClosedError
            victim = self._items.popleft() if len(self._items) >= self.capacity else None
            self._dropped += victim is not None
            self._items.append(item)
            self._pushed += 1
            self._ready.notify_all()
            return victim

    def pop(self, timeout_s: float | None = None) -> T:
        """Take the oldest item.

        Raises:
            TimeoutError: nothing came in time.
            ClosedError: closed and empty.
        """
        with self._ready:
            self._wait_for_item(timeout_s)
            self._popped += 1
            item = self._items.popleft()
            self._ready.notify_all()
            return item

    def pop_all(self, timeout_s: float | None = None) -> list[T]:
        """Take everything that waits, at least one item. Raises as `pop`."""
        with self._ready:
            self._wait_for_item(timeout_s)
            items = list(self._items)
            self._items.clear()
            self._popped += len(items)
            self._ready.notify_all()
            return items

    def close(self) -> None:
        """Refuse new items; readers may still empty it."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def clear(self) -> int:
        """Drop all that waits (counted) and return how many."""
        with self._ready:
            count = len(self._items)
            self._items.clear()
            self._dropped += count
            self._ready.notify_all()
            return count

    def stats(self) -> ChannelStats:
        """Return the counts of one moment."""
        with self._ready:
            return ChannelStats(self._pushed, self._popped, self._dropped, len(self._items))

    def _has_room(self) -> bool:
        return self._closed or len(self._items) < self.capacity

    def _wait_for_item(self, timeout_s: float | None) -> None:
        if not self._ready.wait_for(lambda: self._items or self._closed, timeout_s):
            raise TimeoutError(f"nothing in the channel for {timeout_s} s")
        if not self._items:
            raise ClosedError
