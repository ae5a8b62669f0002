"""What a computer plays and shows, as a source: how it is addressed, and what must not be held against it.

A call is silent while nobody speaks, to the last bit, and a screen stands still: neither is a broken device.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOOPBACK = "loopback"
"""The address of what the computer plays, in the place of a microphone's, and its name in messages."""
SCREEN = "screen"
SCREEN_FORM = "screen[:MONITOR][:X,Y,WIDTH,HEIGHT]"
_AREA = re.compile(r"screen(?::([0-9]{1,2}))?(?::([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5}))?")
LEAST_PX = 32
"""A smaller picture shows no usable face."""


@dataclass(frozen=True, slots=True)
class ScreenArea:
    """A monitor, 1 for the first and 0 for all together, or a region of it: x, y, width and height in its pixels."""

    monitor: int = 1
    region: tuple[int, int, int, int] | None = None


def is_screen(address: str) -> bool:
    """Whether the address is meant for a screen, well written or not."""
    return address == SCREEN or address.startswith(f"{SCREEN}:")


def screen_area(address: str) -> ScreenArea:
    """Read `screen[:MONITOR][:X,Y,WIDTH,HEIGHT]`.

    Raises:
        ValueError: it is none; the message says how it is written.
    """
    found = _AREA.fullmatch(address)
    if found is None:
        raise ValueError(f"write {SCREEN_FORM}, such as screen, screen:2 or screen:2:0,0,640,480")
    monitor, *place = found.groups()
    if place[0] is None:
        return ScreenArea(int(monitor or 1))
    x, y, width, height = (int(each) for each in place)
    if min(width, height) < LEAST_PX:
        raise ValueError(f"a region of a screen must be at least {LEAST_PX}x{LEAST_PX} pixels, got {width}x{height}")
    return ScreenArea(int(monitor or 1), (x, y, width, height))


def is_shown(device: str) -> bool:
    """Whether the device of this name gives what a computer plays or shows."""
    return device == LOOPBACK or is_screen(device)
