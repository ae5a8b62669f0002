"""What the overlay knows of a stream, and what it waits for: values in, values out, no network, screen or clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from realtime.publish.messages import Health, RecordingHealth, Sentiment

Mark = Literal["analysing", "paused", "unknown"]

TRACE_S = 60
MAX_STREAMS = 64
HEALTH_S = 5.0
"""What the last health message said of the recording holds for so long."""
SILENT_S = 2.0
"""Without a message for so long the last one is no longer shown as the present."""
STEP_NS = NS_PER_S // 4


@dataclass(frozen=True, slots=True)
class Notice:
    """What stands in the place of the score: a headline and a line that says more."""

    headline: str
    detail: str
    waits: bool = True
    """Whether what is shown below belongs to the past."""


@dataclass(frozen=True, slots=True)
class Point:
    """A score and its 90 % interval, `age_s` ago."""

    age_s: float
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the overlay."""

    stream: str
    mark: Mark = "unknown"
    notice: Notice | None = None
    sentiment: Sentiment | None = None
    """The newest message; of the past where `notice.waits`."""
    trace: tuple[Point | None, ...] = ()
    """The last minute, oldest first; None parts what does not hang together."""
    recording: str = ""
    """What is recorded just now, in words; empty when nothing is, or nobody knows."""
    recording_failed: bool = False


class Watch:
    """Notes what comes over the link and says what to show.

    Args:
        where: the broker's address as a person may see it.
        stream: whom to follow; None follows the first one heard, and another one when that has gone offline.
    """

    def __init__(self, where: str, stream: str | None = None) -> None:
        self._where, self._fixed = where, stream
        self._stream = stream
        self._connected = self._met = False
        self._cause: str | None = None
        self._since_ns: int | None = None
        self._status: dict[str, str] = {}
        self._sentiment: Sentiment | None = None
        self._heard_ns = 0
        self._recordings: dict[str, tuple[int, RecordingHealth | None]] = {}
        self._foreign: str | None = None
        self._trace: deque[tuple[int, Sentiment]] = deque()

    @property
    def stream(self) -> str | None:
        """The stream that is followed, once one is known."""
        return self._stream

    @property
    def paused(self) -> bool:
        """Whether the stream said last that it is paused."""
        return self._sentiment is not None and self._sentiment.state == "paused"

    def connected(self, now_ns: int) -> None:
        """The broker let us in."""
        self._connected, self._met, self._cause, self._since_ns = True, True, None, now_ns
        self._status.clear()  # what is retained comes again

    def disconnected(self, cause: str, now_ns: int) -> None:
        """The broker is gone, or could not be reached."""
        if self._connected or self._since_ns is None:
            self._since_ns = now_ns
        self._connected, self._cause = False, cause

    def status(self, stream: str, word: str) -> None:
        """A stream said `online` or `offline`."""
        self._status[stream] = word
        if self._stream is None and word == "online":
            self._stream = stream

    def sentiment(self, message: Sentiment, now_ns: int) -> None:
        """A stream said how it comes across."""
        if self._fixed is None and message.stream != self._stream:
            if self._stream is not None and self._status.get(self._stream) != "offline":
                return
            self._stream = message.stream
            self._trace.clear()
        if message.stream != self._stream:
            return
        self._sentiment, self._heard_ns, self._foreign = message, now_ns, None
        self._trace.append((now_ns, message))
        while self._trace[0][0] < now_ns - TRACE_S * NS_PER_S:
            self._trace.popleft()

    def health(self, stream: str, message: Health, now_ns: int) -> None:
        """A stream said how it is doing, and whether it is recorded."""
        if len(self._recordings) < MAX_STREAMS or stream in self._recordings:
            self._recordings[stream] = now_ns, message.recording

    def foreign(self, stream: str, why: str) -> None:
        """A stream said something that this program can't read."""
        if stream == self._stream or self._stream is None:
            self._foreign = why

    def view(self, now_ns: int) -> View:
        """Return what to show now."""
        now_ns -= now_ns % STEP_NS
        notice = self._notice(now_ns)
        recording = None if notice is not None and notice.waits else self._recording(now_ns)
        return View(
            stream=self._stream or "",
            mark=self._mark(notice),
            notice=notice,
            sentiment=self._sentiment,
            trace=self._points(now_ns),
            recording="" if recording is None else recording.kept,
            recording_failed=recording is not None and not recording.writing,
        )

    def _recording(self, now_ns: int) -> RecordingHealth | None:
        heard_ns, found = self._recordings.get(self._stream or "", (0, None))
        return found if now_ns - heard_ns <= HEALTH_S * NS_PER_S else None

    def _mark(self, notice: Notice | None) -> Mark:
        if self._sentiment is None or (notice is not None and notice.waits):
            return "unknown"
        return "paused" if self.paused else "analysing"

    def _notice(self, now_ns: int) -> Notice | None:
        if not self._connected:
            return self._no_broker(now_ns)
        if (notice := self._no_message(now_ns)) is not None or self._sentiment is None:
            return notice
        if self.paused:
            return Notice("Paused", "camera and microphone are released", waits=False)
        if self._sentiment.score is None:
            return Notice("No signal", "nothing to judge from, so no score is made up", waits=False)
        return None

    def _no_message(self, now_ns: int) -> Notice | None:
        name = self._stream or "any stream"
        status = self._status.get(self._stream or "")
        age_s = (now_ns - self._heard_ns) / NS_PER_S
        silent = self._sentiment is None or age_s > SILENT_S
        if self._foreign is not None and silent:
            return Notice("Unreadable message", self._foreign)
        if status == "offline":
            return Notice("Stream offline", f"{name} has ended; waiting for it to come back")
        if self._sentiment is None:
            hint = "it is online" if status == "online" else f"connected to {self._where}"
            return Notice("Waiting", f"for {name}: {hint}")
        return Notice(f"No message for {age_s:.0f} s", f"waiting for {name} to go on") if silent else None

    def _no_broker(self, now_ns: int) -> Notice:
        away_s = 0 if self._since_ns is None else max(0, now_ns - self._since_ns) // NS_PER_S
        cause = f": {self._cause}" if self._cause else ""
        if not self._met:
            return Notice("Waiting for the broker", f"{self._where}{cause}")
        return Notice("Broker gone", f"{self._where} for {away_s} s{cause}")

    def _points(self, now_ns: int) -> tuple[Point | None, ...]:
        points: list[Point | None] = []
        last_ns: int | None = None
        for t_ns, message in self._trace:
            age_s = max(0.0, (now_ns - t_ns) / NS_PER_S)
            if age_s > TRACE_S:
                continue
            parted = message.score is None or (last_ns is not None and t_ns - last_ns > SILENT_S * NS_PER_S)
            if parted and points and points[-1] is not None:
                points.append(None)
            if message.score is not None and message.interval is not None:
                points.append(Point(age_s, message.score, *message.interval))
            last_ns = t_ns
        return tuple(points)
