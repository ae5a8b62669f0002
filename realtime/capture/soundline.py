"""Blocks of a device that delivers sound, as chunks of 16 kHz with a continuous time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.capture.resample import Resampler
from realtime.capture.sampleclock import SampleClock
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.types import Floats


class SoundLine:
    """Follows the stamps of a device slowly, and marks what is missing between two blocks.

    Args:
        rate_hz: of the device.
    """

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._times, self._resampler = SampleClock(rate_hz), Resampler()
        self._in_samples = self._out_samples = 0

    def feed(
        self,
        stamp_ns: int,
        count: int,
        resampled: Callable[[Resampler], Floats],
        *,
        skipped: int = 0,
        broken: bool = False,
    ) -> Chunk:
        """Take a block.

        Args:
            stamp_ns: when its first sample was heard, by the device.
            count: of its samples.
            resampled: gives the block to a resampler.
            skipped: samples known to be missing before it.
            broken: the device says that it lost sound before it, but not how much.

        Returns:
            What the resampler gives out, which may be nothing.
        """
        t_ns, lost = self._times.feed(stamp_ns, count, skipped=skipped, broken=broken)
        if lost:
            self._resampler.flush()
            self._in_samples = self._out_samples = 0
        # What the resampler holds back comes out now: the chunk begins so much before its block.
        held_ns = self._in_samples * NS_PER_S // self.rate_hz - self._out_samples * NS_PER_S // SAMPLE_RATE_HZ
        samples = resampled(self._resampler)
        self._in_samples += count
        self._out_samples += len(samples)
        return Chunk(t_ns - held_ns, samples, lost * SAMPLE_RATE_HZ // self.rate_hz)
