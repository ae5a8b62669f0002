"""Calls of several threads worked off as one: whoever finds nobody at work takes along all who wait.

Nobody waits for company. A call that is alone runs at once, as it would without this; calls that come while another
runs are put together, and the more there are, the more of them share the price of a pass. So the cost of a stream falls
where it matters: with many streams, and when the machine is busy. (Flat combining, Hendler et al. 2010.)
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


class MicroBatcher(Generic[T, R]):
    """A function of many items as a function of one, for many threads.

    Args:
        work: from items to as many results, in order. Called by one thread at a time.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: deque[tuple[T, Future[R]]] = deque()
        self._at_work = threading.Lock()

    def __call__(self, item: T) -> R:
        """Return the result of an item; an error of `work` is raised for the item that caused it, and no other."""
        future: Future[R] = Future()
        self._waiting.append((item, future))
        with self._at_work:
            if not future.done():  # nobody took it along: this thread works for all who wait, itself among them
                self._run([self._waiting.popleft() for _ in range(len(self._waiting))])
        return future.result(0)

    def _run(self, calls: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            results = list(zip(calls, self._work([item for item, _ in calls]), strict=True))
        except Exception as error:  # noqa: BLE001 - raised in the thread that it belongs to
            if len(calls) == 1:
                calls[0][1].set_exception(error)
                return
            for call in calls:
                self._run([call])
        else:
            for (_, future), result in results:
                future.set_result(result)
