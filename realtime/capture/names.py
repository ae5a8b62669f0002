"""How a device is called in messages, logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.system.address import is_url, public_address

if TYPE_CHECKING:
    from realtime.config.schema import Config, StreamConfig

__all__ = ["is_url", "public_address"]

DEFAULT = "default"
"""The microphone that the system records from."""
AUTO = "auto"
"""The microphone of a network camera, and where there is none, the system's."""


def hears_camera(stream: StreamConfig) -> bool:
    """Whether the sound of a stream comes with the picture of its network camera."""
    return stream.source is None and stream.mic == AUTO and stream.camera is not None and is_url(stream.camera)


def microphone_of(stream: StreamConfig) -> str | None:
    """Return which microphone a stream has, as it is shown; None for none."""
    if hears_camera(stream):
        return public_address(stream.camera or "")
    return DEFAULT if stream.mic == AUTO else stream.mic


def device_names(stream: StreamConfig, config: Config) -> dict[str, str]:
    """Name of the device behind each modality of a stream; one that has none is missing."""
    if stream.source is not None:
        video, audio = "picture", "sound"
    else:
        video = "" if stream.camera is None else f"camera {public_address(stream.camera)}"
        audio = "" if stream.mic is None else f"microphone {microphone_of(stream)}"
    names = {"text": audio if config.asr.enabled else "", "voice": audio, "face": video}
    return {modality: name for modality, name in names.items() if name}
