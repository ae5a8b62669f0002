"""How long the machine lets a program wait for its processors: what it is late for then is not its own doing."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Starving:
    """A thread that reads from the kernel (Linux: schedstat) how long a program's threads were ready, but did not run.

    Args:
        process_id: returns the number of the process to look at, as it runs now.
    """

    STEP_S = 0.5

    def __init__(self, process_id: Callable[[], int]) -> None:
        self._process_id = process_id
        self._waits_s: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def withheld_s(self, begin_s: float, end_s: float) -> float:
        """Time between two moments that some thread of it waited for a processor, to the length of a step."""
        return sum(min(wait_s, self.STEP_S) for at_s, wait_s in list(self._waits_s) if begin_s < at_s <= end_s)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(1)

    def _run(self) -> None:
        before: dict[Path, int] = {}
        while not self._stop.wait(self.STEP_S):
            now = delays_ns(Path(f"/proc/{self._process_id()}/task"))
            longest_ns = max((delay_ns - before.get(thread, delay_ns) for thread, delay_ns in now.items()), default=0)
            self._waits_s.append((time.monotonic(), longest_ns / 1e9))
            before = now


def delays_ns(tasks: Path) -> dict[Path, int]:
    """Return how long each thread of a process has waited for a processor since its start; nothing where unknown."""
    found = {}
    with contextlib.suppress(OSError):  # the process has ended
        for thread in tasks.iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):  # so has the thread
                found[thread] = int((thread / "schedstat").read_text().split()[1])
    return found


class Patience:
    """A time limit that moves by what the machine withholds.

    Args:
        limit_s: of a machine that withholds nothing.
        begin_s: when the waiting begins, as time.monotonic says.
        withheld_s: tells what was withheld between two moments.
    """

    MOST = 4.0

    def __init__(self, limit_s: float, begin_s: float, withheld_s: Callable[[float, float], float]) -> None:
        self._limit_s, self._begin_s, self._withheld_s = limit_s, begin_s, withheld_s

    def over(self, now_s: float) -> bool:
        """Whether it has been waited long enough, on a machine that withholds everything four times as long."""
        waited_s = now_s - self._begin_s
        if waited_s <= self._limit_s:
            return False
        return (
            waited_s - self._withheld_s(self._begin_s, now_s) >= self._limit_s or waited_s >= self.MOST * self._limit_s
        )
