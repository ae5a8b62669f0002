"""The view for the person at the terminal: one live screen, or a log line a second where nobody looks.

The live screen shows the words, because it is the user's own; the log never does.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from realtime.clock import MonotonicClock
from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.terminal.keyboard import KeyReader
from realtime.terminal.render import ASCII, HISTORY_S, UNICODE, Snapshot, draw, words_of
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from realtime.clock import Clock
    from realtime.publish.messages import Origin, RecordingHealth, Words
    from realtime.publish.outlet import Outlet

log = logging.getLogger(__name__)

REFRESH_HZ = 5
EVENTS = 4
NOTES = 3


class StreamHistory:
    """What a view remembers of one stream: the newest messages, and the score of each of the last 60 seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._sentiment: Sentiment | None = None
        self._words: Words | None = None
        self._t_ns = 0
        self._seconds: deque[tuple[int, float | None]] = deque(maxlen=HISTORY_S)
        self._events: deque[EventMessage] = deque(maxlen=EVENTS)
        self._recording: RecordingHealth | None = None

    def sentiment(self, message: Sentiment, now_ns: int) -> None:
        """Take a sentiment that came now, with the words of its window where it has them."""
        self._sentiment, self._t_ns = message, now_ns
        self._words = message.text or self._words
        second = now_ns // NS_PER_S
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds.pop()
        self._seconds.append((second, message.score))

    def health(self, message: Health) -> None:
        """Take what is said of the recording."""
        self._recording = message.recording

    def event(self, message: EventMessage) -> None:
        """Take an event."""
        self._events.append(message)

    def snapshot(self, now_ns: int) -> Snapshot:
        """Return what to show now."""
        scores = dict(self._seconds)
        second = now_ns // NS_PER_S
        return Snapshot(
            name=self._name,
            sentiment=self._sentiment,
            age_s=(now_ns - self._t_ns) / NS_PER_S if self._sentiment else 0.0,
            history=[scores.get(second - age) for age in range(HISTORY_S, -1, -1)],
            words=self._words,
            events=tuple(self._events),
            recording=self._recording,
        )


class TerminalView:
    """A live screen.

    Args:
        streams: their names, in the order to show them.
        where: the broker's address, or None.
        on_pause: called when the person presses p.
        console: where to draw; by default standard output.
        clock: for ages.
    """

    def __init__(
        self,
        streams: Iterable[str],
        where: str | None,
        on_pause: Callable[[], None],
        console: Console | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._where, self._on_pause, self._clock = where, on_pause, clock or MonotonicClock()
        self._lock = threading.Lock()
        self._streams = {name: StreamHistory(name) for name in streams}
        if console is None and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a device's name may hold what the terminal can't show
        self._console = console or Console()
        self._glyphs = UNICODE if self._console.encoding.lower().startswith("utf") else ASCII
        self._notes = Notes()
        self._keys = KeyReader(self._key)
        self._live = Live(get_renderable=self._draw, console=self._console, screen=True, refresh_per_second=REFRESH_HZ)
        self._notes.attach()
        self._live.start()
        self._keys.start()

    def subscribe(self, outlet: Outlet) -> None:
        """Have what the streams say drawn at the next refresh, their words too: on this screen only."""
        outlet.subscribe(self._take, Sentiment, Health, EventMessage, words=True)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:  # noqa: ARG002 - whose it is shows nowhere here
        """Draw a stream, too."""
        with self._lock:
            self._streams[stream] = StreamHistory(stream)

    def stream_went(self, stream: str) -> None:
        """Draw it no more."""
        with self._lock:
            self._streams.pop(stream, None)

    def _take(self, message: Sentiment | Health | EventMessage) -> None:
        with self._lock:
            if (history := self._streams.get(message.stream)) is None:
                return
            if isinstance(message, Sentiment):
                history.sentiment(message, self._clock.now_ns())
            elif isinstance(message, Health):
                history.health(message)
            else:
                history.event(message)

    def close(self) -> None:
        """Give the terminal back."""
        self._keys.close()
        self._live.stop()
        self._notes.detach()

    def _draw(self) -> RenderableType:
        now_ns = self._clock.now_ns()
        with self._lock:
            shots = [history.snapshot(now_ns) for history in self._streams.values()]
        width, height = self._console.size
        return draw(shots, self._where, self._notes.lines(), self._glyphs, width, height)

    def _key(self, key: str) -> None:
        if key in ("p", "P", " "):
            self._on_pause()
        elif key in ("q", "Q"):
            signal.raise_signal(signal.SIGINT)


class LogView:
    """A line in the log at most once a second: what every stream says just now."""

    def __init__(self, streams: Iterable[str], where: str | None, clock: Clock | None = None) -> None:
        self._clock = clock or MonotonicClock()
        self._newest: dict[str, Sentiment] = {}
        self._logged_ns: int | None = None
        self._lock = threading.Lock()
        log.info("analysing %s; messages go to %s", ", ".join(streams) or "no stream yet", where or "no broker")

    def subscribe(self, outlet: Outlet) -> None:
        """Have the streams' sentiments logged."""
        outlet.subscribe(self._log, Sentiment)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin) -> None:
        """Say so."""
        log.info("stream %s is taken in%s", stream, f" with epoch {origin.epoch}" if origin.epoch else "")

    def stream_went(self, stream: str) -> None:
        """Say so, and nothing of it any more."""
        with self._lock:
            self._newest.pop(stream, None)
        log.info("stream %s is let go", stream)

    def _log(self, message: Sentiment) -> None:
        now_ns = self._clock.now_ns()
        with self._lock:
            self._newest[message.stream] = message
            if self._logged_ns is not None and now_ns - self._logged_ns < NS_PER_S:
                return
            self._logged_ns = now_ns
            line = " | ".join(f"{name}  {words_of(sentiment)}" for name, sentiment in self._newest.items())
        log.info("%s", line)

    def close(self) -> None:
        """Say that it is over."""
        log.info("ended")


class Notes(logging.Handler):
    """Keeps the newest warnings for the screen, in place of log lines that would be written across it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: deque[logging.LogRecord] = deque(maxlen=NOTES)
        self._silenced: list[logging.Handler] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._records.append(record)

    def lines(self) -> list[str]:
        """Return the newest warnings, oldest first."""
        return [f"{record.levelname.lower()}: {record.getMessage()}" for record in self._records]

    def attach(self) -> None:
        """Take the place of the handlers that write to the terminal; log files stay."""
        root = logging.getLogger()
        for handler in root.handlers[:]:
            stream = getattr(handler, "stream", None)
            if stream in (sys.stderr, sys.__stderr__) and sys.stderr.isatty():
                self._silenced.append(handler)
                root.removeHandler(handler)
        root.addHandler(self)

    def detach(self) -> None:
        """Put them back, and let them say what was kept: the screen is gone now."""
        root = logging.getLogger()
        root.removeHandler(self)
        for handler in self._silenced:
            root.addHandler(handler)
            for record in self._records:
                handler.handle(record)
        self._silenced.clear()
