"""How many pictures of a camera are looked at: the rest is dropped before it is decoded.

- While somebody speaks or the face moves: `camera.max_fps`.
- In silence with a still face, and while there is no face: `camera.idle_fps`. That halves the cost of a quiet room.
- On a machine that is behind: fewer, until pictures are looked at in time again; features that come after their window
  has closed are worth nothing.

Fed by the stages, asked by the camera's thread; each value has one writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.capture.thin import RateLimit
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig
    from realtime.types import FaceFeatures, Floats, SpeechFrame

IDLE_AFTER_S = 1.5
"""The full rate is kept for so long after the last sign of life."""
SPEECH_P = 0.5
REST_S = 0.6
CHANGE = 0.2
"""A face moves when a blendshape is so far from its mean over the last REST_S; at rest noise stays below this."""
LATE_S = 0.15
"""A picture that is looked at later than this comes after its window has closed."""
SLOWER, FASTER = 0.7, 1.1
"""Factors on the rate after a second with late pictures, and after one without."""
LEAST_FPS = 6.0
"""Fewer would count as a slow camera, and as holes in what is known of the face."""


class AnalysisRate:
    """The rate of one camera.

    Args:
        config: most pictures a second, and those in silence.
        clock: for how late features are.
    """

    def __init__(self, config: CameraConfig, clock: Clock) -> None:
        self._full, self._idle = config.max_fps, min(config.idle_fps, config.max_fps)
        self._clock = clock
        self._limit = RateLimit(config.max_fps)
        self._lively_ns: int | None = None
        self._affordable = config.max_fps
        self._mean: Floats | None = None
        self._mean_ns = 0
        self._late = self._in_time = 0
        self._judged_ns: int | None = None
        self._camera_lag_ns = 0
        self.passes_over: Callable[[int], None] = lambda _: None
        """Told the time of each picture that is not looked at, after those before it that are."""

    def comes_late(self, lag_ns: int) -> None:
        """Take how late pictures come by themselves, for which this machine is not to blame."""
        self._camera_lag_ns = lag_ns

    def admits(self, t_ns: int) -> bool:
        """Whether the picture of this time is to be looked at; times must not fall."""
        if self._lively_ns is None:
            self._lively_ns = t_ns  # nothing is known yet: look closely
        self._limit.set(self.fps(t_ns))
        if self._limit.admits(t_ns):
            return True
        self.passes_over(t_ns)
        return False

    def fps(self, t_ns: int) -> float:
        """Pictures a second that are looked at now."""
        since = self._lively_ns
        lively = since is not None and t_ns - since <= IDLE_AFTER_S * NS_PER_S
        return min(self._full if lively else self._idle, self._affordable)

    def heard(self, frame: SpeechFrame) -> None:
        """Take a step of the speech detector."""
        if frame.probability >= SPEECH_P:
            self._enliven(frame.end_ns)

    def seen(self, features: FaceFeatures) -> None:
        """Take what a picture showed, when it is known."""
        if self._moved(features):
            self._enliven(features.t_ns)
        if (self._clock.now_ns() - features.t_ns - self._camera_lag_ns) / NS_PER_S > LATE_S:
            self._late += 1
        else:
            self._in_time += 1
        if self._judged_ns is None:
            self._judged_ns = features.t_ns
        if features.t_ns - self._judged_ns >= NS_PER_S:
            self._judged_ns = features.t_ns
            self._afford(self._late > self._in_time)
            self._late = self._in_time = 0

    def _moved(self, features: FaceFeatures) -> bool:
        """Whether the face has come, gone, or moved against its own mean of the last moments."""
        mean, passed_s = self._mean, (features.t_ns - self._mean_ns) / NS_PER_S
        self._mean_ns = features.t_ns
        if not features.found or mean is None:
            self._mean = features.values if features.found else None
            return (mean is None) != (self._mean is None)
        change = features.values - mean
        self._mean = mean + change * np.float32(1.0 - np.exp(-passed_s / REST_S))
        return float(np.abs(change).max()) >= CHANGE

    def _enliven(self, t_ns: int) -> None:
        self._lively_ns = max(t_ns, self._lively_ns or t_ns)

    def _afford(self, late: bool) -> None:  # noqa: FBT001 - a verdict
        slowest = min(LEAST_FPS, self._full)
        self._affordable = min(self._full, max(slowest, self._affordable * (SLOWER if late else FASTER)))
