"""When the windows of many streams are due, taken in batches: those that come due soon after the first go with it.

A forward pass, a wake-up of the links and cold caches cost the same for one window as for ten. A window that nobody
follows soon is not held up. No thread and no clock.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Together:
    """Streams whose windows are closed together, in the order in which they are due, and when the last of them is."""

    due_ns: int
    streams: tuple[str, ...]


class Dues:
    """When the next window of each stream is due.

    Args:
        gather_ns: a window waits for others for so long at most.
        most: streams of a batch.
    """

    def __init__(self, gather_ns: int, most: int) -> None:
        self._gather_ns, self._most = gather_ns, most
        self._due: list[tuple[int, str]] = []

    def put(self, due_ns: int, stream: str) -> None:
        """Note when the next window of a stream is due."""
        heapq.heappush(self._due, (due_ns, stream))

    def forget(self, stream: str) -> None:
        """Take out a stream that has gone."""
        self._due = [due for due in self._due if due[1] != stream]
        heapq.heapify(self._due)

    def take(self, now_ns: int) -> Together | None:
        """Take out what is due first, with what is due soon after it or by now; None where nothing is."""
        if not self._due:
            return None
        until_ns, streams = max(now_ns, self._due[0][0] + self._gather_ns), list[str]()
        due_ns = self._due[0][0]
        while self._due and self._due[0][0] <= until_ns and len(streams) < self._most:
            due_ns, stream = heapq.heappop(self._due)
            streams.append(stream)
        return Together(due_ns, tuple(streams))
