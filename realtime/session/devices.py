"""What the streams of a session take their pictures and sound from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.capture.camera import Camera
from realtime.capture.microphone import Microphone
from realtime.session.files import open_media

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.capture.camera import Limit
    from realtime.capture.media import MediaFile
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig, Config, MicrophoneConfig, StreamConfig
    from realtime.runtime.source import Device


@dataclass(frozen=True, slots=True)
class Devices:
    """How a camera, a microphone and a file are come by."""

    camera: Callable[[str, CameraConfig, Clock, Limit], Device] = Camera
    microphone: Callable[[str, MicrophoneConfig, Clock], Device] = Microphone
    media: Callable[[StreamConfig, Config], MediaFile | None] = open_media


REAL = Devices()
"""Those of this machine."""
