"""Recordings from disk: every entry and message in the order it was written, as far as the file can be read.

A recording may be cut off (kill -9, a full disk) or be no recording at all; neither may harm: sizes are bounded before
anything is unpacked, and whatever is wrong is one clear SourceError or, after a readable beginning, `truncated`.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, Footer, Header, Message, Metadata
from mcap.stream_reader import StreamReader, breakup_chunk

from realtime.errors import SourceError
from realtime.recording.contract import check_size, checked, load_json
from realtime.recording.journal import MESSAGES, TOPICS, VERSION, Entry, decode
from realtime.recording.writer import SUFFIX
from realtime.system.logs import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from mcap.records import McapRecord

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""As a stream may be called (config.py): it becomes part of a topic."""
RECORD_LIMIT = 32_000_000
"""No record of ours comes near: a chunk of half a second is some kilobytes."""
UNPACKED = (64_000_000, 200)
"""Bytes that all chunks of a file may unpack to: so many, and so many times the file's size."""
BROKEN = (
    McapError,
    struct.error,
    ValueError,
    LookupError,
    ArithmeticError,
    EOFError,
    TypeError,
    RecursionError,
    zstandard.ZstdError,
    MemoryError,
)


@dataclass
class Recording:
    """One stream's file.

    `about` is what the recorder wrote of itself. Once all was read, `truncated` says why the file ended early, and
    `dropped` how many entries and messages never reached the disk.
    """

    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    truncated: str | None = None
    dropped: int = 0

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return str(self.about["stream"])

    def entries(self) -> Iterator[Entry]:
        """What the window took, in its order.

        Raises:
            SourceError: an entry is damaged.
        """
        for at_ns, topic, data in self.raw():
            if topic in TOPICS:
                yield decode(at_ns, topic, data)

    def messages(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """The published messages of these kinds (all by default), checked against the contract, as JSON objects.

        Raises:
            SourceError: one is no message of the contract.
        """
        wanted = set(kinds or MESSAGES)
        for _, topic, data in self.raw():
            if topic in wanted:
                yield self.message(topic, data)

    def message(self, topic: str, data: bytes) -> dict[str, Any]:
        """Read one message.

        Raises:
            SourceError: it is no message of the contract.
        """
        try:
            return checked(topic, data)
        except SourceError as error:
            raise SourceError(f"{self.path}: {error}") from None

    def raw(self) -> Iterator[tuple[int, str, bytes]]:
        """Time, topic and content of everything in the file.

        Raises:
            SourceError: this is no recording of ours.
        """
        self.truncated, self.dropped = None, 0
        topics: dict[int, str] = {}
        for record in self._readable():
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Message) and record.channel_id in topics:
                topic = topics[record.channel_id]
                _check_size(self.path, topic, record.data)
                if topic == "gap":
                    self.dropped += decode(record.log_time, topic, record.data).item
                yield record.log_time, topic, record.data

    def _readable(self) -> Iterator[McapRecord]:
        known = False
        with self.path.open("rb") as file:
            try:
                for record in _records(file):
                    if isinstance(record, Header):
                        known = _ours(record, self.path)
                    elif isinstance(record, Metadata) and record.name == "agfn":
                        self.about = {key: load_json(value.encode()) for key, value in record.metadata.items()}
                    elif isinstance(record, Footer):
                        return
                    yield record
            except (EndOfFile, *BROKEN) as error:
                self.truncated = printable(f"damaged: {error}")[:200] if file.read(1) else "cut off"
        if not known:
            raise SourceError(f"{self.path} is no recording of AGFN Live")


def is_recording(path: Path) -> bool:
    """Whether a path is a folder with recordings, or one of their files."""
    return path.suffix == SUFFIX or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))


def open_recordings(path: Path) -> list[Recording]:
    """Open a folder's recordings, or one file; `about` of each is there.

    Raises:
        SourceError: there is none, or one is not ours.
    """
    try:
        files = [path] if path.is_file() else sorted(path.glob(f"*{SUFFIX}"))
        found = [_opened(file) for file in files]
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    if not found:
        raise SourceError(f"{path}: no recording there (made with --record DIR)")
    return found


def _opened(path: Path) -> Recording:
    recording = Recording(path)
    for _ in recording.raw():
        break  # the metadata comes before the first message
    if not isinstance(stream := recording.about.get("stream"), str) or not NAME.fullmatch(stream):
        raise SourceError(f"{path}: damaged: nothing can be read of it")
    return recording


def _records(file: IO[bytes]) -> Iterator[McapRecord]:
    least, times = UNPACKED
    left = least + times * os.fstat(file.fileno()).st_size
    for record in StreamReader(file, emit_chunks=True, record_size_limit=RECORD_LIMIT).records:
        if not isinstance(record, Chunk):
            yield record
        elif (size := _unpacked(record)) > RECORD_LIMIT:
            raise ValueError(f"a chunk of {size} bytes")
        elif (left := left - size) < 0:
            raise ValueError("it unpacks to far more than any recording does")
        else:
            yield from breakup_chunk(record, validate_crc=True)


def _unpacked(chunk: Chunk) -> int:
    """Bytes that a chunk may unpack to: what it says of itself, or what its compressed data does, if that is more."""
    if chunk.compression == "zstd":
        frame = zstandard.get_frame_parameters(chunk.data)
        if frame.content_size in {zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR}:
            return int(chunk.uncompressed_size)  # which is then what zstandard stops at
        return max(int(chunk.uncompressed_size), int(frame.content_size))
    if chunk.compression:
        raise ValueError(f"a chunk compressed by {chunk.compression[:20]!r}")
    return len(chunk.data)


def _check_size(path: Path, topic: str, data: bytes) -> None:
    try:
        check_size(topic, data)
    except ValueError as error:
        raise SourceError(f"{path}: damaged: {printable(str(error))}") from None


def _ours(header: Header, path: Path) -> bool:
    name, _, version = header.profile.partition("/")
    if name != VERSION.partition("/")[0]:
        raise SourceError(f"{path} is an MCAP file, but no recording of AGFN Live")
    if header.profile != VERSION:
        raise SourceError(f"{path}: recorded as version {version!r}, this program reads {VERSION}")
    return True
