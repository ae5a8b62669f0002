"""A media file as a source: sound and picture in sync, in the order in which they are due.

The file is demuxed twice, once per stream, and merged: memory stays bounded however the file is interleaved, and damage
in one stream does not end the other.
"""

from __future__ import annotations

import heapq
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
import numpy as np
from av.error import FFmpegError

from realtime.capture.packets import Packets
from realtime.capture.soundblocks import SoundBlocks
from realtime.capture.thin import RateLimit
from realtime.errors import SourceError
from realtime.types import NS_PER_S, Chunk, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime.config.schema import CameraConfig
    from realtime.types import Image

FALLBACK_FPS = 25
LARGE_PX = 1920 * 1080
"""Smaller pictures are decoded fast enough by one thread; handing them over to others takes long on a busy machine."""
STILLS = frozenset({"image2", "tty"})
"""What FFmpeg also takes for films, besides its `_pipe` formats: images, and any .txt file as ANSI art."""


class Gate(Protocol):
    """Decides which pictures of a file are worth their work. Times are those of the file, in ns from its beginning."""

    skip: str
    """Pictures that FFmpeg leaves out while it decodes, in its words: `DEFAULT`, `NONREF`."""

    def decodes(self, t_ns: int, *, key: bool, key_ahead: Callable[[int], bool]) -> bool:
        """Whether a packet is to be decoded; `key` if nothing before it is needed for that.

        `key_ahead` looks whether such a one follows within reach that is due so many ns later, or more.
        """
        ...

    def admits(self, t_ns: int) -> bool:
        """Whether a decoded picture is to be looked at; times do not fall."""
        ...


class Thinned:
    """Decodes everything, and admits `max_fps` evenly spread."""

    skip = "DEFAULT"

    def __init__(self, max_fps: float) -> None:
        self.admits = RateLimit(max_fps).admits

    def decodes(self, t_ns: int, *, key: bool, key_ahead: Callable[[int], bool]) -> bool:  # noqa: ARG002 - always open
        """Decode it."""
        return True


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
        warning: what was wrong with the file first on the last way through, e.g. a damaged tail; None if nothing.
        on_warning: called with `audio` or `video` and each problem in words, in the thread of who reads.

    Raises:
        SourceError: the file is missing, empty, no media, or holds nothing that can be decoded.
    """

    def __init__(self, path: str | Path, camera: CameraConfig, *, block_ms: int = 20) -> None:
        self.path = Path(path)
        self._max_fps = camera.max_fps
        self._block_ms = block_ms
        self.warning: str | None = None
        self.on_warning: Callable[[str, str], None] | None = None
        self._unread: dict[str, str | None] = {}
        self._check_file()
        with self._opened() as container:
            self.duration_s: float | None = container.duration / av.time_base if container.duration else None
            kinds = {stream.type for stream in container.streams}
            still = container.format.name in STILLS or container.format.name.endswith("_pipe")
        if still or not kinds & {"video", "audio"}:
            raise SourceError(f"{self.path}: holds neither moving pictures nor sound; give a video or sound file")
        self.has_picture = next(self.pictures(), None) is not None
        self.has_sound = next(self.sound(), None) is not None
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
        sources: list[Iterator[Frame | Chunk]] = [self.sound(start_ns), self.pictures(start_ns)]
        yield from heapq.merge(*sources, key=due_ns)

    def pictures(self, start_ns: int = 0, gate: Gate | None = None, threads: int = 0) -> Iterator[Frame]:
        """Read the pictures alone.

        Args:
            start_ns: the time of the file's beginning.
            gate: says which are decoded and which are looked at; `max_fps` evenly spread by default.
            threads: decode so many large pictures at once; 0: one after the other, and damage shows the same each time.
        """
        gate = gate or Thinned(self._max_fps)
        last_ns = -1
        for stream, picture, declared_ns in self._decoded("video", gate, threads):
            guessed_ns = last_ns + round(NS_PER_S / (stream.average_rate or FALLBACK_FPS))
            t_ns = guessed_ns if declared_ns is None else declared_ns
            if t_ns <= last_ns or picture.is_corrupt or not gate.admits(t_ns):
                continue
            last_ns = t_ns
            yield Frame(start_ns + t_ns, upright(picture))
        self._warn_unread("video")

    def sound(self, start_ns: int = 0) -> Iterator[Chunk]:
        """Read the sound alone."""
        blocks = SoundBlocks(self._block_ms)
        for _, sound, t_ns in self._decoded("audio"):
            yield from (_shifted(chunk, start_ns) for chunk in blocks.feed(sound, t_ns))
        yield from (_shifted(chunk, start_ns) for chunk in blocks.flush())
        self._warn_unread("audio")

    def _decoded(self, kind: str, gate: Gate | None = None, threads: int = 0) -> Iterator[tuple[Any, Any, int | None]]:
        """Yield the stream, each decoded frame and its time since the file's beginning in ns."""
        with self._opened() as container:
            chosen = _first_of_each(container)
            if (own := chosen.get(kind)) is None:
                return
            if threads and own.codec_context.width * own.codec_context.height >= LARGE_PX:
                own.thread_type, own.codec_context.thread_count = "AUTO", threads

            def warn(where: str, problem: str) -> None:
                if where in {"", kind}:  # whoever reads the other stream says what is wrong with it
                    self._warn(kind, problem)

            packets = Packets(container, list(chosen.values()), warn)
            for packet in packets:
                if packet.stream.index != own.index or (
                    gate is not None and not _let_through(packet, own, gate, packets)
                ):
                    continue
                for frame in self._survived(packet):
                    t_ns = None if frame.pts is None else int(frame.pts * frame.time_base * NS_PER_S)
                    yield own, frame, t_ns
            self._unread[kind] = packets.unread()

    def _survived(self, packet: Any) -> Any:  # noqa: ANN401 - PyAV's own types
        if packet.is_corrupt:
            self._warn(packet.stream.type, f"damaged {packet.stream.type} data")
            return []
        try:
            return packet.decode()
        except EOFError:
            return []
        except (FFmpegError, IndexError) as error:  # the next packet may be fine
            problem = error.strerror if isinstance(error, FFmpegError) else None
            self._warn(packet.stream.type, problem or type(error).__name__)
            return []

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

    def _warn_unread(self, kind: str) -> None:
        """Say what is missing at the end, after the last item."""
        if (unread := self._unread.pop(kind, None)) is not None:
            self._warn(kind, unread)

    def _warn(self, kind: str, problem: str) -> None:
        cause = f"{self.path.name}: {problem}; the rest that could be read was used"
        self.warning = self.warning or cause
        if self.on_warning is not None:
            self.on_warning(kind, cause)


def due_ns(item: Frame | Chunk) -> int:
    """When a device would hand the item over: a picture at its time, sound when its last sample was heard."""
    return item.t_ns if isinstance(item, Frame) else item.end_ns


def _first_of_each(container: Any) -> dict[str, Any]:  # noqa: ANN401 - PyAV's own type
    chosen: dict[str, Any] = {}
    for stream in container.streams:
        if stream.type in {"video", "audio"} and _playable(stream):
            chosen.setdefault(stream.type, stream)
    return chosen


def _playable(stream: Any) -> bool:  # noqa: ANN401 - PyAV's own type
    from av.stream import Disposition  # noqa: PLC0415

    return stream.codec_context is not None and not stream.disposition & Disposition.attached_pic


def _let_through(packet: Any, stream: Any, gate: Gate, packets: Packets) -> bool:  # noqa: ANN401 - PyAV's own types
    ticks = packet.dts if packet.pts is None else packet.pts
    if ticks is None:
        return True
    passes = gate.decodes(
        int(ticks * packet.time_base * NS_PER_S),
        key=packet.is_keyframe,
        key_ahead=lambda least_ns: packets.key_ahead(packet, least_ns),
    )
    if stream.codec_context.skip_frame != gate.skip:
        stream.codec_context.skip_frame = gate.skip
    return passes


def _shifted(chunk: Chunk, start_ns: int) -> Chunk:
    return Chunk(start_ns + chunk.t_ns, chunk.samples, chunk.lost_samples)


def upright(picture: Any) -> Image:  # noqa: ANN401 - PyAV's own type
    """Return a picture as BGR (H, W, 3), turned as it says itself (phones record upright pictures lying down)."""
    image = picture.to_ndarray(format="bgr24")
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
