"""How a device is called in messages, logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.system.address import is_url, public_address
from realtime.system.shown import LOOPBACK, is_screen

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


def camera_name(address: str) -> str:
    """Return how a camera, or a screen in its place, is called."""
    shown = public_address(address)
    return shown if is_screen(address) else f"camera {shown}"


def microphone_name(address: str) -> str:
    """Return how a microphone, or what the computer plays in its place, is called."""
    return LOOPBACK if address == LOOPBACK else f"microphone {address}"


def notice_of(stream: StreamConfig) -> str | None:
    """What is to be said before a stream hears or sees other people than the user; None where it does not."""
    hears, sees = stream.mic == LOOPBACK, stream.camera is not None and is_screen(stream.camera)
    if stream.source is not None or not (hears or sees):
        return None
    told = " and ".join([*["hears what this computer plays"] * hears, *["sees what its screen shows"] * sees])
    return f"{stream.name} {told}: other people, too; ask them first (docs/privacy.md)"


def device_names(stream: StreamConfig, config: Config) -> dict[str, str]:
    """Name of the device behind each modality of a stream; one that has none is missing."""
    if stream.source is not None:
        video, audio = "picture", "sound"
    else:
        video = "" if stream.camera is None else camera_name(stream.camera)
        audio = "" if stream.mic is None else microphone_name(microphone_of(stream) or "")
    names = {"text": audio if config.asr.enabled else "", "voice": audio, "face": video}
    return {modality: name for modality, name in names.items() if name}
