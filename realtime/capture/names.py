"""How a device is called in messages, logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.system.address import is_url, public_address

if TYPE_CHECKING:
    from realtime.config.schema import Config, StreamConfig

__all__ = ["is_url", "public_address"]


def device_names(stream: StreamConfig, config: Config) -> dict[str, str]:
    """Name of the device behind each modality of a stream; one that has none is missing."""
    if stream.source is not None:
        picture, sound = "picture", "sound"
    else:
        picture = "" if stream.camera is None else f"camera {public_address(stream.camera)}"
        sound = "" if stream.mic is None else f"microphone {stream.mic}"
    names = {"text": sound if config.asr.enabled else "", "voice": sound, "face": picture}
    return {modality: name for modality, name in names.items() if name}
