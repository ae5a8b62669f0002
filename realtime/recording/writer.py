"""The recorder of one stream: entries and messages to an MCAP file, by a thread of its own.

MCAP (mcap.dev) because it is an open container made for this: append-only, self-describing with a JSON schema a topic,
readable by Foxglove and a dozen libraries, and what was written before a crash can be read without its end. A chunk is
closed and synced to disk every FLUSH_S: kill -9 loses at most that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mcap.writer import CompressionType, Writer

from realtime.errors import UsageError
from realtime.publish.messages import EventMessage, Health, RecordingHealth, Sentiment
from realtime.recording.journal import MEDIA, MESSAGES, TOPICS, VERSION, Entry, encode
from realtime.recording.schema import name_of, schema_of
from realtime.runtime.channel import Channel, ChannelStats, ClosedError, Policy
from realtime.system.private_file import create_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realtime.clock import Clock
    from realtime.publish.messages import Message
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

FLUSH_S = 0.5
CAPACITY = 20_000
"""Entries that may wait for the disk: about three minutes. After that the oldest go, and are counted."""
MEDIA_BACKLOG = 500
"""While more entries wait, no pictures and no sound are taken: the numbers go first."""
CLOSE_S = 5.0
SUFFIX = ".mcap"
SAID: dict[str, type[Message]] = {"sentiment": Sentiment, "event": EventMessage, "health": Health}
"""Messages by the topic of a recording that keeps them."""


class Recorder:
    """Writes one stream into `folder/<name>.mcap`.

    Args:
        folder: made when it is not there.
        name: of the stream, or of its further recordings.
        about: what a reader should know: versions, configuration, times; JSON values.
        words: whether the words may be kept.
        media: whether pictures and sound may be kept (see `keep`).
        failed: called once with the reason when the disk refuses; the recording then ends, the analysis goes on.

    Raises:
        UsageError: the folder or the file can't be written, or the file is there already.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        about: dict[str, Any],
        *,
        words: bool,
        failed: Callable[[str], None],
        media: bool = False,
    ) -> None:
        self.path = folder / f"{name}{SUFFIX}"
        self._words, self._media, self._failed = words, media, failed
        self._ends: list[Callable[[], None]] = []
        self.media_dropped: Callable[[], int] = lambda: 0
        """Counts the media that did not get here; set by whoever takes it from the devices."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.fdopen(create_private(self.path), "wb")
        except FileExistsError:
            raise UsageError(f"--record {folder}: {self.path.name} is there already; choose a new folder") from None
        except OSError as error:
            raise UsageError(f"--record {folder}: {error.strerror or error}") from None
        self._writer = Writer(self._file, compression=CompressionType.ZSTD)
        self._waiting: Channel[tuple[int, str, Entry | str | bytes]] = Channel(Policy.DROP_OLDEST, CAPACITY)
        self._gaps = self._written = self._synced = self._refused = 0
        self.ended_early: str | None = None
        """Why the recording ended before the session did."""
        try:
            self._begin(about)
        except OSError as error:
            self._let_go()
            self.path.unlink(missing_ok=True)
            raise UsageError(f"--record {folder}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._run, name=f"{name}-record", daemon=True)
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Take what the window took; never waits."""
        self._push(entry.at_ns, entry.topic, entry)

    def subscribe(self, outlet: Outlet, clock: Clock, stream: str) -> None:
        """Keep what the stream says too, at the time of the clock; with its words if they may be kept."""

        def keep(topic: str, message: Message) -> None:
            self._push(clock.now_ns(), topic, message.to_json())

        for topic, kind in SAID.items():
            self._ends.append(outlet.subscribe(partial(keep, topic), kind, words=self._words, stream=stream))

    def keep(self, at_ns: int, topic: str, data: bytes) -> bool:
        """Take a picture or some sound; False when it may not be kept, or the disk is behind."""
        if not self._media or topic not in MEDIA or self.stats().pending > MEDIA_BACKLOG:
            return False
        return self._push(at_ns, topic, data)

    def health(self) -> RecordingHealth:
        """Return what is on disk, what did not get there, and what is kept besides numbers."""
        return RecordingHealth(
            bytes=self._size(),
            dropped=self.stats().dropped,
            writing=self._thread.is_alive(),
            words=self._words,
            media=self._media,
            media_dropped=self.media_dropped(),
        )

    def stats(self) -> ChannelStats:
        """Return the counts of entries taken, written and dropped."""
        return self._waiting.stats()

    def close(self) -> None:
        """Write what waits, and the index that makes the file quick to open."""
        while self._ends:
            self._ends.pop()()
        self._waiting.close()
        self._thread.join(CLOSE_S)

    def summary(self) -> str:
        """Say in one line what is on disk."""
        stats = self.stats()
        early = f" ENDED EARLY ({self.ended_early})" if self.ended_early else ""
        kept = self._synced if self.ended_early else self._written
        dropped = stats.pushed + self._refused - kept if self.ended_early else stats.dropped
        lost = f", {dropped} dropped" if dropped else ""
        lost += f", {media} pictures or pieces of sound dropped" if (media := self.media_dropped()) else ""
        return f"recorded {self.path}:{early} {self._size() / 1e6:.1f} MB, {kept} entries{lost}"

    def _push(self, at_ns: int, topic: str, item: Entry | str | bytes) -> bool:
        try:
            self._waiting.push((at_ns, topic, item))
        except ClosedError:
            self._refused += 1
            log.debug("%s: closed, %s is not recorded", self.path.name, topic)
            return False
        return True

    def _begin(self, about: dict[str, Any]) -> None:
        self._writer.start(profile=VERSION, library="agfn-live")
        self._writer.add_metadata("agfn", {key: json.dumps(value) for key, value in about.items()})
        self._channels = {}
        for topic in (*TOPICS, *MESSAGES, *(MEDIA if self._media else ())):
            schema = self._writer.register_schema(name_of(topic), "jsonschema", schema_of(topic))
            self._channels[topic] = self._writer.register_channel(topic, "json", schema)
        self._sync()

    def _run(self) -> None:
        synced_s = time.monotonic()
        try:
            while True:
                try:
                    self._write(*self._waiting.pop(FLUSH_S))
                except TimeoutError:
                    synced_s = 0.0
                if time.monotonic() - synced_s >= FLUSH_S:
                    self._sync()
                    synced_s = time.monotonic()
        except ClosedError:
            self._end()
        except Exception as error:  # noqa: BLE001 - whatever it is, the analysis must go on
            self._waiting.close()
            self._waiting.clear()
            self._fail(f"recording ended: {getattr(error, 'strerror', None) or error}")
            self._let_go()

    def _write(self, at_ns: int, topic: str, item: Entry | str | bytes) -> None:
        dropped = self.stats().dropped
        if dropped > self._gaps:
            self._add(at_ns, "gap", encode(Entry(at_ns, "gap", dropped - self._gaps), words=False))
            self._gaps = dropped
        if isinstance(item, Entry):
            item = encode(item, words=self._words)
        self._add(at_ns, topic, item.encode() if isinstance(item, str) else item)
        self._written += 1

    def _add(self, at_ns: int, topic: str, data: bytes) -> None:
        at_ns = max(0, at_ns)
        self._writer.add_message(self._channels[topic], at_ns, data, at_ns)

    def _sync(self) -> None:
        self._writer.flush()  # type: ignore[no-untyped-call] # mcap leaves it untyped
        os.fsync(self._file.fileno())
        self._synced = self._written

    def _end(self) -> None:
        try:
            self._writer.finish()  # type: ignore[no-untyped-call] # as above
            self._sync()
        except OSError as error:
            self._fail(f"the end of the recording is not written: {error.strerror or error}")
        self._let_go()

    def _fail(self, cause: str) -> None:
        self.ended_early = cause
        log.error("%s: %s", self.path, cause)
        self._failed(cause)

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):  # it tries to write the rest once more; what is wrong has been said
            self._file.close()

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0
