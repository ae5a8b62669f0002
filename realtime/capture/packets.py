"""The packets of a media file in the order of the file, with times that can be believed (see timeline.py)."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError

from realtime.capture.timeline import Stamp, Timeline
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AHEAD_PACKETS = 256
AHEAD_BYTES = 32 << 20
"""So much is read ahead, undecoded, when a time is in doubt: some seconds."""
KEY_PACKETS = 1024
"""And so much to find a picture that needs no other, within the same bytes."""
CUT_OFF_NS = NS_PER_S // 2
"""A file that ends so much earlier than it declares is cut off; less is the rounding of those who write files."""
MOST_ERRORS = 16
"""So many errors in a row: the rest of the file can't be read."""
MOST_REORDERED_NS = 5 * NS_PER_S
"""A picture is shown at most so long after it is decoded; a presentation time further away is damaged."""
LONGEST_PACKET_NS = NS_PER_S
"""More is what a damaged time leaves before it, or a picture that stands for long: then its end proves nothing."""
DECLARED = frozenset({"mov", "mp4", "matroska", "flv", "avi", "wav", "flac", "asf"})
"""Formats that declare how long a file is; for the others FFmpeg guesses, from the last time stamp or the bit rate."""
LEAST_BYTES_PER_S = 25
"""Even digital silence takes more: a length that would leave less was made from a damaged time."""
HEADS = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (0, b"FLV\x01"))
"""Place and bytes of what MP4, Matroska and FLV files begin with."""
TAIL_BYTES = 16 << 20
"""Index and chapters of a file lie after its last packet; they are no longer than this."""
AVFMT_TS_DISCONT = 0x200
"""FFmpeg's mark of formats whose times may jump, and whose files may be put together with `cat`."""


class Packets:
    """Reads the packets of some streams of an open file.

    Args:
        container: PyAV's.
        streams: of the container: all that are ever decoded, since their times depend on each other.
        warn: takes the kind of a stream (`audio`, `video`) and a problem in words.
    """

    def __init__(self, container: Any, streams: Sequence[Any], warn: Callable[[str, str], None]) -> None:  # noqa: ANN401
        self._container, self._streams, self._warn = container, list(streams), warn
        kinds = {stream.index: stream.type for stream in self._streams}
        self._offset_ns = container.start_time * (NS_PER_S // av.time_base) if container.start_time else 0
        self._timeline = Timeline(
            declared_ns(container),
            restarts=bool(container.format.flags & AVFMT_TS_DISCONT),
            warn=lambda stream, problem: warn(kinds[stream], problem),
        )
        self._source = self._read()
        self._read_to = 0
        self._waiting: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        """Yield the packets, at the end an empty one for each stream; times count from the beginning of the file."""
        while (packet := self._next()) is not None:
            self._mend(packet)
            if packet.pos is not None:
                self._read_to = max(self._read_to, packet.pos + packet.size)
            yield packet

    def key_ahead(self, packet: Any, least_ns: int) -> bool:  # noqa: ANN401 - PyAV's packet
        """Whether a packet of the same stream that needs no other follows within reach, so much later or more."""
        begin_ns = self._stamp(packet).t_ns or 0
        for later in self._packets_ahead(KEY_PACKETS):
            if later.stream.index == packet.stream.index and later.is_keyframe:
                t_ns = self._stamp(later).t_ns
                if t_ns is not None and t_ns - begin_ns >= least_ns:
                    return True
        return False

    def unread(self) -> str | None:
        """Say at the end what of the file there is or should be that was not read."""
        declared, reached_ns = declared_ns(self._container), self._timeline.reached_ns
        if declared is not None and reached_ns <= declared - CUT_OFF_NS:
            return f"cut off: ends at {max(0, reached_ns) / NS_PER_S:.1f} s of {declared / NS_PER_S:.1f} s"
        if self._another_begins():
            return "another file begins in it, after this one, and can't be read; give them one by one"
        return None

    def _another_begins(self) -> bool:
        """Whether the head of a file follows the last packet: most formats cannot be put together with `cat`."""
        try:
            with Path(self._container.name.removeprefix("file:")).open("rb") as file:
                head = file.read(8)
                mark = next((mark for at, mark in HEADS if head[at : at + 4] == mark), None)
                file.seek(self._read_to)
                return mark is not None and mark in file.read(TAIL_BYTES)
        except OSError:
            return False

    def _next(self) -> Any:  # noqa: ANN401 - PyAV's packet
        return self._waiting.popleft() if self._waiting else next(self._source, None)

    def _mend(self, packet: Any) -> None:  # noqa: ANN401
        if packet.time_base is None or (packet.dts is None and packet.pts is None):
            return
        lag = None if packet.dts is None or packet.pts is None else packet.pts - packet.dts
        added_ns = self._timeline.shift_ns(self._stamp(packet), self._ahead) - self._offset_ns
        added = round(added_ns / NS_PER_S / packet.time_base)
        if packet.dts is not None:
            packet.dts += added
        if lag is not None and abs(lag * packet.time_base) > MOST_REORDERED_NS / NS_PER_S:
            self._warn(packet.stream.type, "a damaged time stamp")
            packet.pts = None
        elif packet.pts is not None:
            packet.pts += added

    def _stamp(self, packet: Any) -> Stamp:  # noqa: ANN401
        ordered = packet.dts is not None
        ticks, unit = packet.dts if ordered else packet.pts, packet.time_base
        known = ticks is not None and unit is not None
        return Stamp(
            packet.stream.index,
            int(ticks * unit * NS_PER_S) - self._offset_ns if known else None,
            min(int((packet.duration or 0) * unit * NS_PER_S), LONGEST_PACKET_NS) if unit is not None else 0,
            ordered,
        )

    def _ahead(self) -> Iterator[Stamp]:
        return map(self._stamp, self._packets_ahead(AHEAD_PACKETS))

    def _packets_ahead(self, most: int) -> Iterator[Any]:
        at, size = 0, 0
        while at < most and size < AHEAD_BYTES:
            if at == len(self._waiting):
                packet = next(self._source, None)
                if packet is None:
                    return
                self._waiting.append(packet)
            packet = self._waiting[at]
            at, size = at + 1, size + packet.size
            yield packet

    def _read(self) -> Iterator[Any]:
        """Read on after damage: PyAV's reader ends with its first error, the file may not."""
        errors, packets = 0, self._container.demux(self._streams)
        while errors <= MOST_ERRORS:
            try:
                packet = next(packets)
            except (StopIteration, EOFError):
                return
            except IndexError:  # a stream that wasn't there at the beginning
                self._warn("", "damaged, or holds several films")
            except FFmpegError as error:
                self._warn("", error.strerror or type(error).__name__)
                if isinstance(error, OSError) and not isinstance(error, ValueError):
                    return  # reading failed, it isn't the data
            else:
                errors = 0
                yield packet
                continue
            errors, packets = errors + 1, self._container.demux(self._streams)


def declared_ns(container: Any) -> int | None:  # noqa: ANN401
    """Return how long a file is as it declares itself, in ns; None if it doesn't, or only guesses."""
    if not container.duration or not DECLARED.intersection(container.format.name.split(",")):
        return None
    if container.size * av.time_base < LEAST_BYTES_PER_S * container.duration:
        return None
    return int(container.duration) * (NS_PER_S // av.time_base)
