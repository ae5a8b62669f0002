"""A camera: local (V4L2, AVFoundation, Media Foundation) or on the network (RTSP, MJPEG over HTTP), by OpenCV.

All calls block; the supervisor runs them in a thread of their own and abandons one that hangs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from realtime.capture.thin import RateLimit
from realtime.errors import DeviceError, UsageError
from realtime.system.address import is_url, public_address, with_password
from realtime.types import NS_PER_S, Frame

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig

# OpenCV reads these once. The first is in whole seconds (its default of 10 would hide a stall for as long).
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# OpenCV asks for permission on the main thread only and refuses elsewhere; without its asking macOS itself asks.
os.environ.setdefault("OPENCV_AVFOUNDATION_SKIP_AUTH", "1")

SHORTEST_STALL_S = 0.5
"""A read that fails sooner did not wait for a frame: the camera is gone."""


PAUSE_NS = NS_PER_S // 4
"""After a pause of so long, and three times longer than usual, pictures may have piled up on the way."""
INSTANT_NS = 10_000_000
"""A picture that need not be waited for was taken earlier."""
CATCH_UP_NS = NS_PER_S
"""Pictures that have piled up are passed over for no longer: a camera may be faster than it can be read."""


class Limit(Protocol):
    """Thins frames before work is done on them."""

    def admits(self, t_ns: int) -> bool:
        """Whether the frame of this time is to be kept; times must not fall."""
        ...


class Camera:
    """One camera.

    Args:
        address: index, device path, or rtsp:// or http(s):// URL.
        config: size to ask for, rate and time-outs.
        clock: stamps the frames.
        limit: says which frames are kept; `max_fps` evenly spread by default.
    """

    def __init__(self, address: str, config: CameraConfig, clock: Clock, limit: Limit | None = None) -> None:
        self.name = f"camera {public_address(address)}"
        self._address, self._config, self._clock = address, config, clock
        self._limit: Limit = limit or RateLimit(config.max_fps)
        self._capture: Any = None
        self._piled_up = False
        self._last_ns: int | None = None
        self._period_ns = 0.0

    def open(self) -> None:
        """Open the camera and wait for its first frame, for up to `open_timeout_s`.

        Raises:
            DeviceError: it cannot be opened or delivers nothing; the message says what to try.
        """
        self.close()
        begin_ns = self._clock.now_ns()
        cv2 = quiet_cv2()
        address = self._full_address()
        if is_url(self._address):
            timeouts = {
                # FFmpeg waits once to connect and once for the first data.
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: max(0.5, self._config.open_timeout_s - self._config.read_timeout_s),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC: self._config.read_timeout_s,
            }
            parameters = [number for key, value_s in timeouts.items() for number in (key, round(1000 * value_s))]
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters)
        else:
            capture = cv2.VideoCapture(address, local_backend(cv2))
            # Asked for, not demanded: a camera that lacks this size gives its nearest.
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.height)
        if not capture.isOpened():
            capture.release()
            raise DeviceError(f"{self.name}: cannot be opened; {self._advice()}")
        self._capture = capture
        self._last_ns, self._period_ns = None, 0.0
        self._piled_up = is_url(self._address)  # FFmpeg has looked at some pictures to know what is sent
        # A webcam may need longer for its first frame than a stall may last.
        while not capture.grab():
            waited_s = self._waited_s(begin_ns)
            if is_url(self._address) or waited_s < SHORTEST_STALL_S or waited_s > self._config.open_timeout_s:
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
        """Wait for a frame that was taken just now; those that piled up in a stall or while opening are passed over."""
        if not self._capture.grab():
            return False
        t_ns, last_ns = self._clock.now_ns(), self._last_ns
        apart_ns = 0 if last_ns is None else t_ns - last_ns
        paused = self._period_ns > 0 and apart_ns > max(PAUSE_NS, 3 * self._period_ns)
        # A camera that has become slower for good is learned from its pauses, too.
        self._period_ns += (min(apart_ns, NS_PER_S) - self._period_ns) * (0.1 if self._period_ns else 1.0)
        if self._piled_up or paused:
            if not self._catch_up():
                return False
            self._piled_up = False
        self._last_ns = self._clock.now_ns()
        return True

    def _catch_up(self) -> bool:
        end_ns = self._clock.now_ns() + CATCH_UP_NS
        while (begin_ns := self._clock.now_ns()) < end_ns:
            if not self._capture.grab():
                return False
            if self._clock.now_ns() - begin_ns >= INSTANT_NS:
                break
        return True

    def _full_address(self) -> str | int:
        if self._address.isdecimal():
            return int(self._address)
        try:
            return with_password(self._address, self._config.password_file)
        except UsageError as error:
            raise DeviceError(f"{self.name}: {error}") from None

    def _waited_s(self, begin_ns: int) -> float:
        return (self._clock.now_ns() - begin_ns) / NS_PER_S

    def _advice(self) -> str:
        if is_url(self._address):
            return "check that it is on and that the address is right"
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
