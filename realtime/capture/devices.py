"""What cameras, screens and microphones there are, as lines for a person (`--list-devices`)."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.capture import portaudio
from realtime.capture.camera import local_backend, quiet_cv2
from realtime.capture.loopback import played_on
from realtime.capture.screen import screens
from realtime.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

PROBED_BY_NUMBER = 4
"""Where the system does not tell, so many numbers are tried."""
PROBE_S = 5.0
SYSFS = Path("/sys/class/video4linux")


def list_devices() -> list[str]:
    """Return one line per device under a heading per kind, or what to do where there is none."""
    return [
        "Cameras (--camera NUMBER):",
        *cameras(),
        "",
        "Screens (--camera screen:NUMBER):",
        *_lines(screens),
        "",
        "Microphones (--mic NUMBER or part of the name):",
        *inputs(),
        "",
        "What this computer plays (--mic loopback):",
        *_lines(lambda: [played_on()]),
    ]


def _lines(found: Callable[[], list[str]]) -> list[str]:
    try:
        return [f"  {each}" for each in found()]
    except DeviceError as error:
        return [f"  {error}"]


def cameras() -> list[str]:
    """Return one line per camera, or what to do where there is none."""
    names = _camera_names()
    numbers = sorted(names) if names else range(1 if sys.platform == "linux" else PROBED_BY_NUMBER)
    lines = []
    for number in numbers:
        found = _bounded_probe(number)
        if found is not None:
            lines.append(f"  {number}  {names.get(number, 'camera')}  {found}")
    return lines or ["  none found; plug one in, or give the address of a network camera: --camera rtsp://..."]


def _camera_names() -> dict[int, str]:
    """Return what Linux says; the second node of a webcam, for its metadata, fails the probe."""
    names = {}
    for node in Path("/dev").glob("video*"):
        number = node.name.removeprefix("video")
        if number.isdecimal():
            name = SYSFS / node.name / "name"
            names[int(number)] = name.read_text(encoding="utf-8").strip() if name.exists() else str(node)
    return names


def _bounded_probe(number: int) -> str | None:
    """Probe in a thread of its own: a driver may hang."""
    found: list[str | None] = []
    probe = threading.Thread(target=lambda: found.append(_probe(number)), daemon=True)
    probe.start()
    probe.join(PROBE_S)
    return found[0] if found else "does not answer"


def _probe(number: int) -> str | None:
    cv2 = quiet_cv2()
    capture = cv2.VideoCapture(number, local_backend(cv2))
    try:
        if not capture.isOpened():
            return None
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{width}x{height}"
    finally:
        capture.release()


def inputs() -> list[str]:
    """Return one line per microphone, or what to do where there is none."""
    try:
        with portaudio.refreshed("microphones") as sd:
            devices = portaudio.inputs(sd)
            default = sd.default.device[0]
    except DeviceError as error:
        return [f"  {error}"]
    return [_input(device, default) for device in devices] or [
        "  none found; plug one in, or start the sound system (PipeWire, PulseAudio)"
    ]


def _input(device: dict[str, Any], default: int) -> str:
    mark = "  (default)" if device["index"] == default else ""
    return f"  {device['index']}  {device['name']}  {device['default_samplerate']:.0f} Hz{mark}"
