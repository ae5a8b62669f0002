"""Any sound to mono at 16 kHz, streaming (FFmpeg's swresample by PyAV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np

from realtime.types import SAMPLE_RATE_HZ, Floats

if TYPE_CHECKING:
    from collections.abc import Iterable

EMPTY = np.zeros(0, np.float32)


class Resampler:
    """Keeps the filter's state from call to call: any chunking of the same sound gives the same samples.

    Output sample 0 belongs to input sample 0: the filter delays when samples come out, not their place in time.
    """

    def __init__(self) -> None:
        self._make()

    def feed(self, frame: av.AudioFrame) -> Floats:
        """Take a frame of any rate, format and layout; return (N,) float32 in [-1, 1], possibly empty.

        Raises:
            ValueError: rate, format or layout changed; flush first.
        """
        frame.pts = None
        return _mono(self._resampler.resample(frame))

    def feed_array(self, samples: Floats, rate_hz: int) -> Floats:
        """Take (N, C) float32 at `rate_hz`; return (M,) float32."""
        mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)[None, :])
        if rate_hz == SAMPLE_RATE_HZ:
            return _clipped(mono[0])
        frame = av.AudioFrame.from_ndarray(mono, format="flt", layout="mono")
        frame.sample_rate = rate_hz
        return self.feed(frame)

    def flush(self) -> Floats:
        """Return what the filter still holds, and start afresh for sound of any format."""
        rest = _mono(self._resampler.resample(None))
        self._make()
        return rest

    def _make(self) -> None:
        # The layout is kept and mixed below: swresample's own stereo mix may leave [-1, 1]. Packed, since PyAV gives
        # planar frames fewer planes than they have channels: reading the eighth ended the process.
        self._resampler: Any = av.AudioResampler(format="flt", rate=SAMPLE_RATE_HZ)


def _mono(frames: Iterable[av.AudioFrame]) -> Floats:
    parts = [_mixed(frame) for frame in frames if frame.samples]
    return _clipped(np.concatenate(parts)) if parts else EMPTY


def _mixed(frame: av.AudioFrame) -> Floats:
    """Average the channels of a packed frame, each weighing the same."""
    mixed: Floats = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(axis=1, dtype=np.float32)
    return mixed


def _clipped(samples: Floats) -> Floats:
    clipped: Floats = np.clip(samples, -1.0, 1.0)
    return clipped
