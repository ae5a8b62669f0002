"""How a device is called in messages, logs and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from realtime.config.schema import Config, StreamConfig


def is_url(address: str) -> bool:
    """Whether the address names a network camera."""
    return "://" in address


def public_address(address: str) -> str:
    """Return the address without what may be a secret: user, password, query."""
    if not is_url(address):
        return address
    try:
        parts = urlsplit(address)
    except ValueError:  # no address: none of it is shown, for there is no telling where a password would be
        return f"{address.partition('://')[0]}://"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def device_names(stream: StreamConfig, config: Config) -> dict[str, str]:
    """Name of the device behind each modality of a stream; one that has none is missing."""
    if stream.source is not None:
        picture, sound = "picture", "sound"
    else:
        picture = "" if stream.camera is None else f"camera {public_address(stream.camera)}"
        sound = "" if stream.mic is None else f"microphone {stream.mic}"
    names = {"text": sound if config.asr.enabled else "", "voice": sound, "face": picture}
    return {modality: name for modality, name in names.items() if name}
