"""Cut the decoded sound of a file into blocks of 16 kHz mono with a continuous time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.capture.resample import EMPTY, Resampler
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av

    from realtime.types import Floats

GAP_NS = 50_000_000
"""A time so much after the counted one is a hole; less is the rounding of the container (FLV counts in ms)."""
OVERLAP_NS = 100_000_000
"""Sound that begins so much before the counted time has been heard already; less is jitter."""


class SoundBlocks:
    """Times come from counting samples since the last hole, so that they neither jitter nor drift.

    Args:
        block_ms: length of a block.
    """

    def __init__(self, block_ms: int) -> None:
        self._size = SAMPLE_RATE_HZ * block_ms // 1000
        self._resampler = Resampler()
        self._pending: Floats = EMPTY
        self._anchor_ns: int | None = None
        self._given = 0
        self._fed = self._rate_hz = 0
        self._cutting = False
        self._lost = 0

    def feed(self, frame: av.AudioFrame, t_ns: int | None) -> Iterator[Chunk]:
        """Take a decoded frame that begins at `t_ns` (None: where the last one ended)."""
        counted_ns = self._counted_ns()
        t_ns = counted_ns if t_ns is None else max(t_ns, 0)
        if self._heard(frame, t_ns - counted_ns):
            return
        if self._anchor_ns is None or t_ns - counted_ns > GAP_NS:
            yield from self._start_at(t_ns, 0 if self._anchor_ns is None else t_ns - counted_ns)
        elif self._rate_hz not in {0, frame.sample_rate}:
            yield from self._start_at(counted_ns, 0)
        try:
            samples = self._resampler.feed(frame)
        except ValueError:  # format or layout changed in the middle of the file
            yield from self._start_at(self._counted_ns(), 0)
            samples = self._resampler.feed(frame)
        self._fed, self._rate_hz = self._fed + frame.samples, frame.sample_rate
        yield from self._cut(samples, self._size)

    def _counted_ns(self) -> int:
        """Where the sound so far ends: not the time of the last frame and its length, whose holes would add up."""
        if self._anchor_ns is None:
            return 0
        return self._anchor_ns + (self._fed * NS_PER_S // self._rate_hz if self._rate_hz else 0)

    def _heard(self, frame: av.AudioFrame, early_ns: int) -> bool:
        """Whether most of the frame lies in time that has been filled already, once that is more than jitter."""
        middle_ns = early_ns + frame.samples * NS_PER_S // frame.sample_rate // 2
        self._cutting = self._anchor_ns is not None and middle_ns < 0 and (self._cutting or early_ns < -OVERLAP_NS)
        return self._cutting

    def flush(self) -> Iterator[Chunk]:
        """Return the rest, whose last block may be shorter."""
        if self._anchor_ns is not None:
            yield from self._cut(self._resampler.flush(), 1)

    def _start_at(self, t_ns: int, hole_ns: int) -> Iterator[Chunk]:
        yield from self.flush()
        self._anchor_ns, self._given, self._fed = t_ns, 0, 0
        self._lost = hole_ns * SAMPLE_RATE_HZ // NS_PER_S

    def _cut(self, samples: Floats, least: int) -> Iterator[Chunk]:
        assert self._anchor_ns is not None  # noqa: S101 - set by the first frame
        self._pending = np.concatenate([self._pending, samples])
        while len(self._pending) >= least:
            block, self._pending = self._pending[: self._size], self._pending[self._size :]
            yield Chunk(self._anchor_ns + self._given * NS_PER_S // SAMPLE_RATE_HZ, block, self._lost)
            self._given += len(block)
            self._lost = 0
