"""A local camera (V4L2, AVFoundation, Media Foundation), by OpenCV; network.py has those on the network.

All calls block; the supervisor runs them in a thread of their own and abandons one that hangs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from realtime.capture.backlog import Backlog
from realtime.capture.thin import RateLimit
from realtime.errors import DeviceError
from realtime.system.address import public_address
from realtime.types import NS_PER_S, Frame

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig

# OpenCV reads these once. This is in whole seconds (its default of 10 would hide a stall for as long).
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
# OpenCV asks for permission on the main thread only and refuses elsewhere; without its asking macOS itself asks.
os.environ.setdefault("OPENCV_AVFOUNDATION_SKIP_AUTH", "1")

SHORTEST_STALL_S = 0.5
"""A read that fails sooner did not wait for a frame: the camera is gone."""


class Limit(Protocol):
    """Thins frames before work is done on them."""

    def admits(self, t_ns: int) -> bool:
        """Whether the frame of this time is to be kept; times must not fall."""
        ...


class Camera:
    """One camera.

    Args:
        address: index or device path.
        config: size to ask for, rate and time-outs.
        clock: stamps the frames.
        limit: says which frames are kept; `max_fps` evenly spread by default.
    """

    def __init__(self, address: str, config: CameraConfig, clock: Clock, limit: Limit | None = None) -> None:
        self.name = f"camera {public_address(address)}"
        self._address, self._config, self._clock = address, config, clock
        self._limit: Limit = limit or RateLimit(config.max_fps)
        self._capture: Any = None
        self._backlog = Backlog()

    def open(self) -> None:
        """Open the camera and wait for its first frame, for up to `open_timeout_s`.

        Raises:
            DeviceError: it cannot be opened or delivers nothing; the message says what to try.
        """
        self.close()
        begin_ns = self._clock.now_ns()
        cv2 = quiet_cv2()
        address = int(self._address) if self._address.isdecimal() else self._address
        capture = cv2.VideoCapture(address, local_backend(cv2))
        # Asked for, not demanded: a camera that lacks this size gives its nearest.
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.height)
        if not capture.isOpened():
            capture.release()
            raise DeviceError(f"{self.name}: cannot be opened; {self._advice()}")
        self._capture = capture
        self._backlog = Backlog()
        # A webcam may need longer for its first frame than a stall may last.
        while not capture.grab():
            waited_s = self._waited_s(begin_ns)
            if waited_s < SHORTEST_STALL_S or waited_s > self._config.open_timeout_s:
                self.close()
                raise DeviceError(f"{self.name}: opens but delivers no frame; {self._advice()}")

    def read(self) -> Frame:
        """Wait for the next frame; those above the rate are dropped undecoded.

        Raises:
            DeviceError: the camera went away, stalled, or delivers no picture.
        """
        if self._capture is None:
            raise DeviceError(f"{self.name}: is not open")
        begin_ns, empty_ns = self._clock.now_ns(), None
        while self._grab():
            t_ns = self._clock.now_ns()
            if self._limit.admits(t_ns):
                found, image = self._capture.retrieve()
                if found and image is not None and image.size:
                    return Frame(t_ns, image)
                empty_ns = t_ns if empty_ns is None else empty_ns
            if empty_ns is not None and self._waited_s(empty_ns) > self._config.read_timeout_s:
                raise DeviceError(f"{self.name}: delivers data but no picture; unplug it and plug it in again")
        waited_s = self._waited_s(begin_ns)
        if waited_s < SHORTEST_STALL_S:
            raise DeviceError(f"{self.name}: went away; {self._advice()}")
        raise DeviceError(f"{self.name}: no frame for {waited_s:.1f} s")

    def close(self) -> None:
        """Release the camera."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _grab(self) -> bool:
        """Wait for a frame that was taken just now."""
        while True:
            begin_ns = self._clock.now_ns()
            if not self._capture.grab():
                return False
            if not self._backlog.is_old(begin_ns, self._clock.now_ns()):
                return True

    def _waited_s(self, begin_ns: int) -> float:
        return (self._clock.now_ns() - begin_ns) / NS_PER_S

    def _advice(self) -> str:
        path = Path(f"/dev/video{self._address}" if self._address.isdecimal() else self._address)
        if sys.platform != "linux":
            return "plug it in, allow this program to use it, and see --list-devices"
        if not path.exists():
            return "plug it in; --list-devices shows what there is"
        if not os.access(path, os.R_OK | os.W_OK):
            return f"no permission for {path}: add yourself to the group video and log in again"
        return "is another program using it?"


def quiet_cv2() -> Any:  # noqa: ANN401 - the module, which has no types
    """Import OpenCV and silence it: what it would print is in the errors raised here."""
    import cv2  # noqa: PLC0415 - a quarter of a second that only cameras need

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def local_backend(cv2: Any) -> int:  # noqa: ANN401 - as above
    """Return the backend of local cameras; on Linux V4L2 alone, the others only print complaints."""
    return int(cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
