"""What is outside of the program's devices: readers, a twin, the disk, and the signals that it gets itself."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from scripts.harness.mosquitto import Subscriber, mosquitto_sub
from scripts.harness.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scripts.harness.live_program import Heard, Live
    from scripts.harness.mosquitto import Mosquitto

READERS = 3
BALLAST, BALLAST_BYTES = 1_200, 15_000
"""Messages of others that pile up before a reader that stands still, so that the broker's bounds come to bear."""
SENTIMENT = re.compile(r'"schema":"agfn.sentiment/1","stream":"(\w+)","seq":(\d+),')
QUIET_S = 2.5
END_S = 60.0
TWIN_S = 10.0


@dataclass
class Before:
    """What was so when a fault began."""

    program_mb: float = 0.0
    broker_mb: float = 0.0
    foreign: int = 0


class Outside:
    """Peers of the program, and its end and new start.

    Args:
        folder: for all that is written.
        disk: folder that can be full, see scripts/harness/fulldisk.c.
        streams: names of the program's streams.
        broker: of the program and of its readers.
    """

    def __init__(self, folder: Path, disk: Path, streams: Sequence[str], broker: Mosquitto) -> None:
        self._folder, self._disk, self._streams, self._broker = folder, disk, streams, broker
        self.live: Live
        self.before = Before()
        self.seq: dict[str, int] = {}
        """Sequence number of the newest message of each stream when the program was stopped."""
        self.kept: dict[str, int] = {}
        """Messages of each stream that were on disk for certain when it became full."""
        self.recordings: list[Path] = []
        """Where each run of the program records to."""
        self.exit_code: int | None = None
        self.last_words, self.last_statuses = "", list[str]()
        self._readers: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._newest: dict[str, int] = {}
        self._twin: subprocess.Popen[bytes] | None = None

    def record(self) -> list[str]:
        """Return the options that let the next run of the program record."""
        self.recordings.append(self._disk / f"{len(self.recordings) + 1}")
        return ["--record", str(self.recordings[-1])]

    def note(self) -> None:
        """Note what is so before a fault."""
        self.before = Before(self.program_mb(), self._broker.memory_mb(), self._foreign())

    def program_mb(self) -> float:
        """Memory of the program that is resident now."""
        return float(psutil.Process(self.live.program.process.pid).memory_info().rss) / 1e6

    def stop_readers(self) -> None:
        """Let some readers subscribe to everything and then stand still, while others have much to say."""
        self.note()
        for number in range(READERS):
            out = self._folder / f"reader-{number}"
            with out.open("wb") as file:
                command = [mosquitto_sub(), "-p", str(self._broker.port), "-t", "#", "-q", "1"]
                self._readers.append((subprocess.Popen(command, stdout=file), out))
        wait_until(lambda: all(out.stat().st_size for _, out in self._readers), END_S, "readers to read")
        for reader, _ in self._readers:
            reader.send_signal(signal.SIGSTOP)
        speaker = Subscriber(self._broker.port, "nothing/#")
        for _ in range(BALLAST):
            speaker.client.publish("ballast", b"x" * BALLAST_BYTES, qos=0)
        speaker.close()

    def let_readers_go_on(self) -> None:
        """Let them read on."""
        self._newest = {stream: self.live.heard("sentiment", stream)[-1].body["seq"] for stream in self._streams}
        for reader, _ in self._readers:
            reader.send_signal(signal.SIGCONT)

    def readers_have_news(self) -> bool:
        """Whether every reader got a message of each stream that was made after they went on."""
        return all(self._has_news(out) for _, out in self._readers)

    def _has_news(self, out: Path) -> bool:
        text = out.read_text(errors="replace")
        newest = {name: int(seq) for name, seq in SENTIMENT.findall(text)}
        return all(newest.get(name, 0) > seq for name, seq in self._newest.items())

    def dismiss_readers(self) -> None:
        """End them."""
        while self._readers:
            reader, out = self._readers.pop()
            reader.kill()
            reader.wait()
            out.unlink()

    def start_twin(self) -> None:
        """Start another program that publishes under the name of the first stream."""
        self.note()
        command = [sys.executable, "-m", "scripts.harness.twin", self._broker.url, self._streams[0]]
        with (self._folder / "twin.log").open("ab") as log:
            self._twin = subprocess.Popen(command, stdout=log, stderr=log)

    def meets_twin(self, heard: Heard) -> bool:
        """Whether a health message of the program counts messages of the twin."""
        publisher = heard.body["publisher"]  # the twin's own says nothing of its connection
        return bool(publisher and publisher["foreign"] > self.before.foreign)

    def end_twin(self) -> None:
        """Let the twin say goodbye."""
        if self._twin is not None:
            self._twin.terminate()
            self._twin.wait(TWIN_S)
            self._twin = None

    def _foreign(self) -> int:
        own = [heard.body["publisher"] for heard in self.live.heard("health", self._streams[0])]
        return max((publisher["foreign"] for publisher in own if publisher), default=0)

    def stop_program(self) -> None:
        """Stop the program where it stands, but not in the middle of an event: it may be told twice then."""
        self.be_quiet()
        self.note()
        self.seq = {stream: self.live.written("sentiment", stream)[-1]["seq"] for stream in self._streams}
        self.live.program.freeze()

    def let_program_go_on(self) -> None:
        """Let it go on."""
        self.live.program.thaw()

    def be_quiet(self) -> None:
        """Wait until there has been no event for a while, but not for ever."""
        with contextlib.suppress(AssertionError):
            wait_until(self._quiet, END_S, "a while without events")

    def _quiet(self) -> bool:
        since_s = time.monotonic() - QUIET_S
        return not any(self.live.heard("event", stream, since_s) for stream in self._streams)

    def hang_up(self) -> None:
        """Close the program's terminal, and wait for its end."""
        since_s, program = time.monotonic(), self.live.program
        program.process.send_signal(signal.SIGHUP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(END_S)
        self.exit_code = program.process.poll()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.live.statuses(self._streams[0], since_s), QUIET_S, "the goodbye")
        self.last_words = program.text()
        self.last_statuses = self.live.statuses(self._streams[0], since_s)

    def restart(self) -> None:
        """Start the program anew."""
        self.live.program.kill()
        self.live.start(*self.record())

    def fill_disk(self) -> None:
        """Let the disk that is recorded to be full."""
        self.note()
        self.kept = {stream: self._on_disk(stream) for stream in self._streams}
        (self._disk / "full").touch()

    def empty_disk(self) -> None:
        """Let there be room again."""
        (self._disk / "full").unlink()

    def _on_disk(self, stream: str) -> int:
        written: list[dict[str, Any]] = self.live.written("sentiment", stream)
        return max(0, len(written) - 8)  # it is synced twice a second; two seconds ago is on disk
