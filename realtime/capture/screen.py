"""What the screen shows, in a camera's place: a meeting, a film, by mss (X11; macOS and Windows as mss has them).

All calls block; the supervisor runs them in one thread, which is the one that the connection to the display belongs to.
A picture is taken when the limit wants one, not taken and dropped.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.capture.thin import RateLimit
from realtime.errors import DeviceError
from realtime.system.shown import screen_area
from realtime.types import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.capture.camera import Limit
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig
    from realtime.system.shown import ScreenArea

Box = dict[str, int]
"""left, top, width and height in pixels of all monitors together."""
LOOKS_A_FRAME = 8
"""The limit is asked so often in the time between two pictures."""


class Screen:
    """A monitor, all of them, or a region.

    Args:
        address: screen[:MONITOR][:X,Y,WIDTH,HEIGHT].
        config: most pictures a second.
        clock: stamps the pictures when they are taken.
        limit: says when one is wanted; `max_fps` evenly spread by default.
    """

    def __init__(self, address: str, config: CameraConfig, clock: Clock, limit: Limit | None = None) -> None:
        self.name = address
        self._area = screen_area(address)
        self._clock = clock
        self._limit: Limit = limit or RateLimit(config.max_fps)
        self._look_s = 1.0 / config.max_fps / LOOKS_A_FRAME
        self._grabber: Any = None
        self._box: Box = {}

    def open(self) -> None:
        """Connect to the display and find the region.

        Raises:
            DeviceError: there is no display, no such monitor, or the region reaches beyond it.
        """
        self.close()
        _refuse_wayland(self.name, os.environ)
        mss, errors = _library(self.name)
        try:
            self._grabber = mss()
            self._box = box_of(self._area, self._grabber.monitors, self.name)
        except errors as error:
            self.close()
            raise DeviceError(f"{self.name}: {_problem(error)}") from None
        except DeviceError:
            self.close()
            raise

    def read(self) -> Frame:
        """Wait until a picture is wanted, and take it.

        Raises:
            DeviceError: the display went away, or has become smaller.
        """
        if self._grabber is None:
            raise DeviceError(f"{self.name}: is not open")
        while not self._limit.admits(t_ns := self._clock.now_ns()):
            time.sleep(self._look_s)
        import cv2  # noqa: PLC0415 - as the library of screens; ten times faster than numpy here

        _, errors = _library(self.name)
        try:
            shot = np.asarray(self._grabber.grab(self._box))
        except errors as error:
            raise DeviceError(f"{self.name}: the display went away, or became smaller{_why(error)}") from None
        return Frame(t_ns, np.asarray(cv2.cvtColor(shot, cv2.COLOR_BGRA2BGR), np.uint8))

    def close(self) -> None:
        """Disconnect."""
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            _, errors = _library(self.name)
            try:
                grabber.close()
            except errors:  # of a display that is gone
                return


def box_of(area: ScreenArea, monitors: Sequence[Mapping[str, Any]], name: str) -> Box:
    """Find an area among the monitors, of which the first entry is all together.

    Raises:
        DeviceError: there is no such monitor, or the region reaches beyond it.
    """
    known = list(monitors) if len(monitors) > 1 else [*monitors, *monitors]
    if area.monitor >= len(known):
        raise DeviceError(f"{name}: there is no monitor {area.monitor}; there are: {', '.join(monitors_of(known))}")
    left, top, width, height = (int(known[area.monitor][key]) for key in ("left", "top", "width", "height"))
    if area.region is None:
        return {"left": left, "top": top, "width": width, "height": height}
    x, y, wide, high = area.region
    if x + wide > width or y + high > height:
        raise DeviceError(
            f"{name}: the region {wide}x{high} at {x},{y} reaches beyond monitor {area.monitor}, which has "
            f"{width}x{height} pixels"
        )
    return {"left": left + x, "top": top + y, "width": wide, "height": high}


def monitors_of(monitors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which monitors there are, with their sizes."""
    known = list(monitors)[1:] or list(monitors)
    return [f"{number} ({found['width']}x{found['height']})" for number, found in enumerate(known, 1)]


def screens() -> list[str]:
    """Look which monitors there are, with their sizes.

    Raises:
        DeviceError: the screen can't be looked at; the message says why.
    """
    name = "screen"
    _refuse_wayland(name, os.environ)
    mss, errors = _library(name)
    try:
        with mss() as grabber:
            return monitors_of(grabber.monitors)
    except errors as error:
        raise DeviceError(f"{name}: {_problem(error)}") from None


def _refuse_wayland(name: str, environ: Mapping[str, str]) -> None:
    """Say it where the picture would be black: under Wayland X shows the windows of X alone, and often none."""
    if sys.platform == "linux" and environ.get("WAYLAND_DISPLAY"):
        raise DeviceError(
            f"{name}: this is a Wayland session, which shows its screen to no program that asks X for it; log in to an "
            "X11 (Xorg) session, or unset WAYLAND_DISPLAY where DISPLAY is another X server"
        )


def _library(name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return what makes a grabber, and what it raises: of a display that is gone it asserts an answer."""
    try:
        from mss import MSS, ScreenShotError  # noqa: PLC0415 - only who looks at a screen needs it
    except ImportError as error:
        raise DeviceError(f"{name}: mss is not installed ({error}); pip install mss") from None
    return MSS, (ScreenShotError, OSError, ValueError, AssertionError)


def _problem(error: Exception) -> str:
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        return "no screen: DISPLAY is not set; start it inside the desktop session"
    if "not found" in str(error) and "lib" in str(error):
        return (
            f"{error}; on Debian and Ubuntu: apt-get install libxcb1 libxcb-randr0 libxcb-render0 libxcb-shm0 "
            "libxcb-xfixes0"
        )
    return f"the display {os.environ.get('DISPLAY', '')} cannot be looked at{_why(error)}".replace("  ", " ")


def _why(error: Exception) -> str:
    """What the library says, where it says something, in brackets."""
    said = " ".join(str(error).split())[:160]
    return f" ({said})" if said else ""
