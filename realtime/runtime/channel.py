"""A bounded hand-over between two threads, with its policy chosen where it is wired and every drop counted.

Invariant, at any moment: pushed = popped + dropped + pending.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from realtime.clock import MonotonicClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import WaitingClock

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


class _Change:
    """A change of a channel, to be waited for by a clock."""

    def __init__(self, changed: threading.Condition, come: Callable[[], bool]) -> None:
        self._changed, self._come = changed, come

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._come()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has come; whether it has."""
        with self._changed:
            return self._changed.wait_for(self._come, timeout)


class Channel(Generic[T]):
    """A bounded first-in first-out queue between threads.

    Args:
        policy: what to do when `capacity` items wait. LATEST forces a capacity of 1.
        capacity: the most items that may wait.
        clock: what its readers and writers wait by; real time unless told otherwise.
    """

    def __init__(self, policy: Policy, capacity: int = 1, clock: WaitingClock | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.policy = policy
        self.capacity = 1 if policy is Policy.LATEST else capacity
        self._items: deque[T] = deque()
        self._ready = threading.Condition()
        self._clock = clock or MonotonicClock()
        self._room, self._item = _Change(self._ready, self._has_room), _Change(self._ready, self._has_item)
        self._closed = False
        self._pushed = self._popped = self._dropped = 0

    def push(self, item: T, timeout_s: float | None = None) -> T | None:
        """Add an item and return the one that had to go for it, if any.

        Args:
            item: what to hand over.
            timeout_s: how long BLOCK may wait for room; None waits for ever.

        Raises:
            ClosedError: the channel is closed.
            TimeoutError: BLOCK found no room in time; the item counts as dropped.
        """
        until_ns = self._until_ns(timeout_s)
        while True:
            with self._ready:
                if self.policy is not Policy.BLOCK or self._has_room():
                    return self._put(item)
            if not self._clock.wait(self._room, until_ns):
                with self._ready:
                    self._pushed += 1
                    self._dropped += 1
                raise TimeoutError(f"no room in the channel for {timeout_s} s")

    def pop(self, timeout_s: float | None = None) -> T:
        """Take the oldest item.

        Raises:
            TimeoutError: nothing came in time.
            ClosedError: closed and empty.
        """
        return self._taken(timeout_s, 1)[0]

    def pop_all(self, timeout_s: float | None = None) -> list[T]:
        """Take everything that waits, at least one item. Raises as `pop`."""
        return self._taken(timeout_s, self.capacity)

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

    @property
    def pending(self) -> int:
        """How many items wait just now."""
        return len(self._items)

    def stats(self) -> ChannelStats:
        """Return the counts of one moment."""
        with self._ready:
            return ChannelStats(self._pushed, self._popped, self._dropped, len(self._items))

    def _has_room(self) -> bool:
        return self._closed or len(self._items) < self.capacity

    def _has_item(self) -> bool:
        return self._closed or bool(self._items)

    def _until_ns(self, timeout_s: float | None) -> int | None:
        return None if timeout_s is None else self._clock.now_ns() + int(timeout_s * 1e9)

    def _put(self, item: T) -> T | None:
        if self._closed:
            raise ClosedError
        victim = self._items.popleft() if len(self._items) >= self.capacity else None
        self._dropped += victim is not None
        self._items.append(item)
        self._pushed += 1
        self._ready.notify_all()
        return victim

    def _taken(self, timeout_s: float | None, most: int) -> list[T]:
        until_ns = self._until_ns(timeout_s)
        while True:
            with self._ready:
                if self._items:
                    items = [self._items.popleft() for _ in range(min(most, len(self._items)))]
                    self._popped += len(items)
                    self._ready.notify_all()
                    return items
                if self._closed:
                    raise ClosedError
            # Another reader may be quicker than who waits here, so it looks again.
            if not self._clock.wait(self._item, until_ns):
                raise TimeoutError(f"nothing in the channel for {timeout_s} s")
