"""Calls of several threads worked off as one: whoever finds nobody at work takes along all who wait.

Nobody waits for company. A call that is alone runs at once, as it would without this; calls that come while another
runs are put together, and the more there are, the more of them share the price of a pass. So the cost of a stream falls
where it matters: with many streams, and when the machine is busy. (Flat combining, Hendler et al. 2010.)
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class _Call(Generic[T, R]):
    """One thread's item and what came of it."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.result: R | None = None
        self.error: Exception | None = None


class Together(Generic[T, R]):
    """A function of many items as a function of one, for many threads.

    Args:
        work: from items to as many results, in order. Called by one thread at a time.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: deque[_Call[T, R]] = deque()
        self._at_work = threading.Lock()

    def __call__(self, item: T) -> R:
        """Return the result of an item; an error of `work` is raised for the item that caused it, and no other."""
        call = _Call[T, R](item)
        self._waiting.append(call)
        with self._at_work:
            if not call.done:  # nobody took it along: this thread works for all who wait, itself among them
                self._run([self._waiting.popleft() for _ in range(len(self._waiting))])
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value] # done without an error: it is one

    def _run(self, calls: list[_Call[T, R]]) -> None:
        try:
            results = self._work([call.item for call in calls])
            for call, result in zip(calls, results, strict=True):
                call.result = result
        except Exception as error:  # noqa: BLE001 - raised in the thread that it belongs to
            if len(calls) > 1:
                for call in calls:
                    self._run([call])
                return
            calls[0].error = error
        for call in calls:
            call.done = True
