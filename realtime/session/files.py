"""What a session plays: a media file, or what a script made of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from realtime.capture.media import MediaFile
from realtime.types import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realtime.config.schema import Config, StreamConfig
    from realtime.pipeline import Inlets
    from realtime.session.stream import Stream
    from realtime.types import Chunk


def open_media(stream: StreamConfig, config: Config) -> MediaFile | None:
    """Open the file of a stream, if it is one.

    Raises:
        SourceError: the file can't be read.
    """
    return None if stream.source is None else MediaFile(stream.source, config.camera)


class Media(Protocol):
    """What a replay plays: a file, or what a script made of one."""

    path: Path
    has_picture: bool
    has_sound: bool

    def items(self, start_ns: int) -> Iterator[Frame | Chunk]:
        """Frames and sound in the order of their times, from `start_ns` on."""
        ...


def deliver(inlets: Inlets, item: Any) -> None:  # noqa: ANN401 - a Frame or a Chunk
    """Hand an item of a file to its inlet."""
    if isinstance(item, Frame):
        inlets.video(item)
    else:
        inlets.audio(item)


def note_missing(stream: Stream, media: Media) -> None:
    """Tell a stream which of picture and sound its file lacks."""
    if not media.has_picture and stream.video:
        stream.window.lost(stream.video, f"{media.path.name} has no picture")
    if not media.has_sound and stream.audio:
        stream.window.lost(stream.audio, f"{media.path.name} has no sound")
