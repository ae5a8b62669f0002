"""What the streams of a session take their pictures and sound from, by its address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.capture.camera import Camera
from realtime.capture.loopback import loopback
from realtime.capture.microphone import Microphone
from realtime.capture.screen import Screen
from realtime.session.files import open_media
from realtime.system.shown import LOOPBACK, is_screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.capture.camera import Limit
    from realtime.capture.media import MediaFile
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig, Config, MicrophoneConfig, StreamConfig
    from realtime.runtime.source import Device


def local_camera(address: str, config: CameraConfig, clock: Clock, limit: Limit) -> Device:
    """Return the camera, or the screen, of an address."""
    return (Screen if is_screen(address) else Camera)(address, config, clock, limit)


def local_microphone(address: str, config: MicrophoneConfig, clock: Clock) -> Device:
    """Return the microphone of an address, or what hears what the computer plays."""
    return loopback(config, clock) if address == LOOPBACK else Microphone(address, config, clock)


@dataclass(frozen=True, slots=True)
class Devices:
    """How a camera, a microphone and a file are come by."""

    camera: Callable[[str, CameraConfig, Clock, Limit], Device] = local_camera
    microphone: Callable[[str, MicrophoneConfig, Clock], Device] = local_microphone
    media: Callable[[StreamConfig, Config], MediaFile | None] = open_media


REAL = Devices()
"""Those of this machine."""
