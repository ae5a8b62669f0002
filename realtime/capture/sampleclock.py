"""A continuous time for blocks of sound whose own stamps jitter."""

from __future__ import annotations

from realtime.types import NS_PER_S

STEP_NS = 100_000_000
"""An error beyond this is no jitter: sound is missing, or the device has started anew."""
FOLLOW = 0.02
"""Share of the error corrected per block: follows the drift between two quartzes, irons out the jitter."""
BACK_NS = 500_000
"""Blocks overlap by no more than this when the stamps fall behind."""


class SampleClock:
    """Counts samples, and follows the stamps slowly.

    Args:
        rate_hz: of the samples that are counted.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._next_ns: int | None = None

    def feed(self, stamp_ns: int, samples: int, *, skipped: int = 0, broken: bool = False) -> tuple[int, int]:
        """Take a block.

        Args:
            stamp_ns: when its first sample was heard, by the device.
            samples: how many it has.
            skipped: samples known to be missing before it.
            broken: the device says that it lost sound before it, but not how much.

        Returns:
            The time of the first sample, at most `BACK_NS` before the end of the last block, and how many samples
            are missing between the two in all.
        """
        skipped_ns = skipped * NS_PER_S // self._rate_hz
        t_ns = stamp_ns if self._next_ns is None else self._next_ns + skipped_ns
        error_ns = stamp_ns - t_ns
        if error_ns > (0 if broken else STEP_NS):
            t_ns = stamp_ns
            skipped += error_ns * self._rate_hz // NS_PER_S
        else:
            t_ns += max(-BACK_NS, int(error_ns * FOLLOW))
        self._next_ns = t_ns + samples * NS_PER_S // self._rate_hz
        return t_ns, skipped
