"""A media file as a source: sound and picture in sync, in the order in which they are due.

The file is demuxed twice, once per stream, and merged: memory stays bounded however the file is interleaved, and damage
in one stream does not end the other.
"""

from __future__ import annotations

import heapq
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError

from realtime.capture.soundblocks import SoundBlocks
from realtime.capture.thin import RateLimit
from realtime.errors import SourceError
from realtime.types import NS_PER_S, Chunk, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig

FALLBACK_FPS = 25
STILLS = frozenset({"image2", "tty"})
"""What FFmpeg also takes for films, besides its `_pipe` formats: images, and any .txt file as ANSI art."""


class MediaFile:
    """A file with sound, picture or both. It may be read any number of times, each time from the start.

    Args:
        path: of a local file.
        camera: its `max_fps` holds for the picture.
        block_ms: length of the blocks of sound.

    Attributes:
        has_picture: whether at least one picture can be decoded (a cover image is none).
        has_sound: whether at least one block of sound can be decoded.
        duration_s: as the file declares it, None if it doesn't.
        warning: what was wrong with the file on the last way through, e.g. a damaged tail; None if nothing.

    Raises:
        SourceError: the file is missing, empty, no media, or holds nothing that can be decoded.
    """

    def __init__(self, path: str | Path, camera: CameraConfig, *, block_ms: int = 20) -> None:
        self.path = Path(path)
        self._max_fps = camera.max_fps
        self._block_ms = block_ms
        self.warning: str | None = None
        self._check_file()
        with self._opened() as container:
            self.duration_s: float | None = container.duration / av.time_base if container.duration else None
            kinds = {stream.type for stream in container.streams}
            still = container.format.name in STILLS or container.format.name.endswith("_pipe")
        if still or not kinds & {"video", "audio"}:
            raise SourceError(f"{self.path}: holds neither moving pictures nor sound; give a video or sound file")
        self.has_picture = next(self._frames(), None) is not None
        self.has_sound = next(self._chunks(), None) is not None
        if not self.has_picture and not self.has_sound:
            raise SourceError(f"{self.path}: nothing in it can be decoded, it is damaged or cut off; try another copy")
        self.warning = None

    def items(self, start_ns: int) -> Iterator[Frame | Chunk]:
        """Read the file as fast as it decodes; the same file gives the same items.

        Args:
            start_ns: the time of the file's beginning.

        Yields:
            Frames and chunks in the order in which they are due: a frame at its time, a chunk at its end.
        """
        self.warning = None
        sources: list[Iterator[Frame | Chunk]] = [self._chunks(start_ns), self._frames(start_ns)]
        yield from heapq.merge(*sources, key=due_ns)

    def paced(self, clock: Clock, start_ns: int) -> Iterator[Frame | Chunk]:
        """Give out each item when it is due, as a device would."""
        for item in self.items(start_ns):
            clock.sleep_until(due_ns(item))
            yield item

    def _frames(self, start_ns: int = 0) -> Iterator[Frame]:
        limit = RateLimit(self._max_fps)
        last_ns = -1
        for stream, picture, declared_ns in self._decoded("video"):
            guessed_ns = last_ns + round(NS_PER_S / (stream.average_rate or FALLBACK_FPS))
            t_ns = guessed_ns if declared_ns is None else declared_ns
            if t_ns <= last_ns or picture.is_corrupt or not limit.admits(t_ns):
                continue
            last_ns = t_ns
            yield Frame(start_ns + t_ns, _upright(picture))

    def _chunks(self, start_ns: int = 0) -> Iterator[Chunk]:
        blocks = SoundBlocks(self._block_ms)
        for _, sound, t_ns in self._decoded("audio"):
            yield from (_shifted(chunk, start_ns) for chunk in blocks.feed(sound, t_ns))
        yield from (_shifted(chunk, start_ns) for chunk in blocks.flush())

    def _decoded(self, kind: str) -> Iterator[tuple[Any, Any, int | None]]:
        """Yield the stream, each decoded frame and its time since the file's beginning in ns."""
        with self._opened() as container:
            streams = [stream for stream in container.streams if stream.type == kind and _playable(stream)]
            if not streams:
                return
            offset_ns = container.start_time * (NS_PER_S // av.time_base) if container.start_time else 0
            for frame in self._survived(container, streams[0]):
                t_ns = None if frame.pts is None else int(frame.pts * frame.time_base * NS_PER_S) - offset_ns
                yield streams[0], frame, t_ns

    def _survived(self, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV's own types
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                if packet.is_corrupt:
                    self._warn(f"damaged {stream.type} data")
                    continue
                frames = packet.decode()
            except StopIteration:
                return
            except EOFError:
                return
            except FFmpegError as error:
                self._warn(error.strerror or type(error).__name__)
                if isinstance(error, OSError) and not isinstance(error, ValueError):
                    return  # reading failed; after a decoder's complaint the next packet may be fine
                continue
            yield from frames

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            # "file:" keeps FFmpeg from taking a colon in the name for a protocol.
            container = av.open(f"file:{self.path}", metadata_errors="replace")  # a title may be in Latin-1
        except (FFmpegError, OSError) as error:
            reason = "it is no media file, or cut off" if isinstance(error, ValueError) else str(error.strerror)
            raise SourceError(f"{self.path}: cannot be read: {reason}; check that a media player plays it") from None
        with container:
            yield container

    def _check_file(self) -> None:
        if not self.path.exists():
            raise SourceError(f"{self.path}: no such file; check the path")
        if not self.path.is_file():
            raise SourceError(f"{self.path}: is not a file; give a video or sound file")
        if self.path.stat().st_size == 0:
            raise SourceError(f"{self.path}: is empty (0 bytes); copy or record it again")

    def _warn(self, problem: str) -> None:
        self.warning = self.warning or f"{self.path.name}: {problem}; the rest that could be read was used"


def due_ns(item: Frame | Chunk) -> int:
    """When a device would hand the item over: a picture at its time, sound when its last sample was heard."""
    return item.t_ns if isinstance(item, Frame) else item.end_ns


def _playable(stream: Any) -> bool:  # noqa: ANN401 - PyAV's own type
    from av.stream import Disposition  # noqa: PLC0415

    return stream.codec_context is not None and not stream.disposition & Disposition.attached_pic


def _shifted(chunk: Chunk, start_ns: int) -> Chunk:
    return Chunk(start_ns + chunk.t_ns, chunk.samples, chunk.lost_samples)


def _upright(picture: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:  # noqa: ANN401 - PyAV's own type
    """BGR (H, W, 3), turned as the file says (phones record upright pictures lying down)."""
    image = picture.to_ndarray(format="bgr24")
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
