"""A clock for tests that moves on when every thread waits, as trio's MockClock does for tasks.

The threads it has started, and the one that made it, run one at a time, and the next is always the one that has waited
longest of those that may go on. So a test of many threads gives the same on every machine and takes no real time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import Signal


class ForeverError(RuntimeError):
    """Every thread waits for something that only another thread could bring about."""


@dataclass
class _Waiter:
    """A thread that waits: for what, until when, and whether it lets all others go first."""

    name: str
    come: Callable[[], bool]
    until_ns: int | None
    last: bool = False
    chosen: bool = False
    wake: threading.Event = field(default_factory=threading.Event)

    def may_go(self, now_ns: int) -> bool:
        """Whether what it waits for has come, or its time is up."""
        return self.come() or (self.until_ns is not None and self.until_ns <= now_ns)


class MockClock:
    """Time that stands still while any of its threads runs, and jumps to the next date when all of them wait.

    Whatever its threads wait for must be waited for by this clock; one that blocks otherwise holds up time for all.

    Args:
        start_ns: what it shows at first.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._lock = threading.Lock()
        self._threads = {threading.current_thread()}
        self._waiting: list[_Waiter] = []
        self._ended: list[threading.Thread] = []
        self._for_ever: str | None = None

    def now_ns(self) -> int:
        """Return the time."""
        return self._now_ns

    def sleep_until(self, t_ns: int) -> None:
        """Let the other threads run until `t_ns`."""
        self._give_way(_Waiter(threading.current_thread().name, lambda: False, t_ns))

    def settle(self) -> None:
        """Let the other threads do all that they can do now."""
        self._give_way(_Waiter(threading.current_thread().name, lambda: False, self._now_ns, last=True))

    def advance_s(self, seconds: float) -> None:
        """Let the other threads run for so many seconds, and do all that they can do then."""
        self.sleep_until(self._now_ns + int(seconds * NS_PER_S))
        self.settle()

    def wait(self, signal: Signal, until_ns: int | None = None) -> bool:
        """Let the other threads run until a signal has come, or `until_ns`; whether it has come."""
        if not signal.is_set():
            self._give_way(_Waiter(threading.current_thread().name, signal.is_set, until_ns))
        return signal.is_set()

    def start(self, target: Callable[[], None], name: str) -> threading.Thread:
        """Start a thread of this clock; it runs when the caller waits."""
        turn = _Waiter(name, lambda: True, None)

        def run() -> None:
            self._until_chosen(turn)
            try:
                target()
            finally:
                self._leave()

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            self._threads.add(thread)
            self._waiting.append(turn)
        thread.start()
        return thread

    def _give_way(self, waiter: _Waiter) -> None:
        if threading.current_thread() not in self._threads:
            raise RuntimeError(f"{waiter.name} was not started by this clock, so it can't wait by it")
        with self._lock:
            self._waiting.append(waiter)
            self._choose()
        self._until_chosen(waiter)

    def _leave(self) -> None:
        with self._lock:
            self._threads.discard(threading.current_thread())
            self._ended.append(threading.current_thread())
            if self._waiting:
                self._waiting[0].wake.set()

    def _until_chosen(self, waiter: _Waiter) -> None:
        while not waiter.chosen:
            waiter.wake.wait()
            waiter.wake.clear()
            with self._lock:
                if self._for_ever is not None:
                    raise ForeverError(self._for_ever)
                if not waiter.chosen:  # a thread has ended: it is seen off, so that nobody finds it alive
                    while self._ended:
                        self._ended.pop().join()
                    self._choose()

    def _choose(self) -> None:
        """Wake the thread that is next, now or at the next date. With the lock held, by who runs no more."""
        while True:
            able = [waiter for waiter in self._waiting if waiter.may_go(self._now_ns)]
            if able:
                chosen = next((waiter for waiter in able if not waiter.last), able[0])
                self._waiting.remove(chosen)
                chosen.chosen = True
                chosen.wake.set()
                return
            dates_ns = [waiter.until_ns for waiter in self._waiting if waiter.until_ns is not None]
            if not dates_ns:
                names = ", ".join(waiter.name for waiter in self._waiting)
                self._for_ever = f"nothing that could happen would wake any of {names}"
                for waiter in self._waiting:
                    waiter.wake.set()
                return
            self._now_ns = min(dates_ns)
