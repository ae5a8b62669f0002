"""What waits at a recogniser of the ASR pool: bounded, the oldest first, nothing that would come too late. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.extract.asr.whisper import Request

NEWEST = 0.3
"""What the newest batch counts in the time that a decode is taken to need."""


@dataclass(frozen=True, slots=True)
class Job:
    """A decode that waits: what is asked, until when it is of use, and who takes the answer's bytes."""

    number: int
    request: Request
    until_s: float
    answer: Callable[[bytes], None]


class Backlog:
    """Jobs that wait. Every host has at most one decode of a stream here, so first come, first served is fair.

    Args:
        most: jobs that may wait.
        batch: jobs that are taken at once.
    """

    def __init__(self, most: int, batch: int) -> None:
        self._most, self._batch = most, batch
        self._waiting: deque[Job] = deque()
        self._decoding = 0
        self._decode_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, job: Job, now_s: float) -> bool:
        """Take a job in; False where there is no room, or it would come too late by what decodes took lately."""
        if len(self._waiting) >= self._most:
            return False
        wait_s = (len(self._waiting) + self._decoding + 1) * self._decode_s
        # With nothing before it a decode is tried whatever the last ones took: how else would that be found out?
        if (self._waiting or self._decoding) and now_s + wait_s > job.until_s:
            return False
        self._waiting.append(job)
        return True

    def take(self, now_s: float) -> tuple[list[Job], list[Job]]:
        """Return the next batch, and what has come too late before it."""
        jobs: list[Job] = []
        late: list[Job] = []
        while self._waiting and len(jobs) < self._batch:
            job = self._waiting.popleft()
            (jobs if now_s < job.until_s else late).append(job)
        self._decoding = len(jobs)
        return jobs, late

    def done(self, took_s: float) -> None:
        """Note that the batch is done, and in which time."""
        each_s = took_s / max(1, self._decoding)
        self._decode_s = each_s if self._decode_s == 0 else NEWEST * each_s + (1 - NEWEST) * self._decode_s
        self._decoding = 0
