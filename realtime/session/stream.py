"""One stream of a session: its window, its smoothing, and what it says at each tick."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from realtime.capture.names import device_names
from realtime.clock import utc_now
from realtime.fuse.channels import Channels
from realtime.fuse.context import SpeakerContext
from realtime.fuse.smooth import Smoother
from realtime.fuse.window import Window
from realtime.publish import compose
from realtime.publish.messages import Origin
from realtime.recording.journal import Entry
from realtime.recording.window import RecordedWindow
from realtime.session.device_alerts import DeviceAlerts
from realtime.session.state import StreamState
from realtime.session.ticks import hop_ns
from realtime.types import MODALITIES, NS_PER_S, Event

if TYPE_CHECKING:
    from models.context import Context
    from realtime.clock import Clock
    from realtime.config.schema import Config, StreamConfig
    from realtime.fuse.worker import Estimate
    from realtime.publish.outlet import Outlet
    from realtime.recording.writer import Recorder
    from realtime.types import Opinion, Reason, WindowView

log = logging.getLogger(__name__)

CLOCK_SET_S = 0.05
"""By as much the wall clock must have been set for the begin of a stream to be told by the new one."""
MOST_OPEN = 1024
"""Windows that may wait for their estimate: more than the fusion worker ever holds."""


class Open(NamedTuple):
    """A window that was closed and has had no message yet: when, in which stretch, and whether it is of the grid."""

    closed_ns: int
    stretch: int
    of_grid: bool


class Stream:
    """One stream: state between its extractors and its messages.

    Args:
        config: of the process.
        stream: of this stream.
        clock: of the process.
        outlet: takes each message.
        context: how far what was said before counts.
        recorder: takes all that the window takes and all that is sent.
        devices: name of the device behind each modality, where they are not those of the configuration.
        state: what another process remembered of it, to go on from.
    """

    def __init__(
        self,
        config: Config,
        stream: StreamConfig,
        clock: Clock,
        outlet: Outlet,
        context: Context,
        recorder: Recorder | None = None,
        devices: dict[str, str] | None = None,
        state: StreamState | None = None,
    ) -> None:
        self.name = stream.name
        self.origin = Origin(0 if state is None else state.epoch, config.host.name)
        found = device_names(stream, config) if devices is None else devices
        self.video, self.audio = found.get("face"), found.get("voice")
        pictures, sounds = ("camera", "picture"), ("microphone", "sound")
        self._behind = dict.fromkeys(pictures, self.video) | dict.fromkeys(sounds, self.audio)
        named = {name: found[name] for name in MODALITIES if name in found}
        self._recorder = recorder
        people, channels = config.face.people, Channels() if config.channels.enabled else None
        self.window = (
            Window(self.name, config.window, named, clock, people=people, channels=channels)
            if recorder is None
            else RecordedWindow(self.name, config.window, named, clock, recorder.note, people=people, channels=channels)
        )
        if recorder is not None:
            recorder.subscribe(outlet, clock, self.name)
        self._state = state
        self.paused = threading.Event()
        self._judging = threading.Lock()
        """A message is made as a whole before a pause or after it."""
        self._telling = threading.RLock()
        """Events come from many threads, and every sink gets them in the order of their numbers."""
        self._config, self._clock, self._outlet = config, clock, outlet
        live = stream.source is None
        self._notices = DeviceAlerts(
            {"face": "camera" if live else "picture", "voice": "microphone" if live else "sound"}
        )
        self._smoother = Smoother(config.fusion.smoothing_s)
        self._before = SpeakerContext(context)
        self._t0_ns = clock.now_ns()  # a device may fail before the stream begins
        self._started = utc_now() if state is None else state.started
        self._events = 0 if state is None else state.events
        self._words = 0 if state is None else state.words
        """Windows between two of the grid so far: their numbers count, their places do not."""
        self._uncounted = False
        """Whether the number of the next window follows from its place on the grid."""
        self._open: dict[int, Open] = {}
        self._stretch = 0
        """Grows with each pause and each resume: a window counts in the stretch that it was closed in only."""
        self._face_id = 0
        if state is not None:
            self._t0_ns -= round((utc_now() - state.started).total_seconds() * NS_PER_S)
            if state.paused:
                self.paused.set()
                self.window.pause()

    @property
    def t0_ns(self) -> int:
        """The time that messages count their seconds from."""
        return self._t0_ns

    def begin(self, t0_ns: int) -> None:
        """Set the time that messages count their seconds from; a stream that goes on takes up what is remembered."""
        self._t0_ns = t0_ns
        if (state := self._state) is None:
            self._started = utc_now() - timedelta(microseconds=(self._clock.now_ns() - t0_ns) / 1000)
        else:
            self._state, self._uncounted, self._face_id = None, True, state.face_id
            self._smoother.restore(state.smoother, t0_ns)
            self._before.restore(state.context, t0_ns)
        if self._recorder is not None:
            self._recorder.note(Entry(self._clock.now_ns(), "begin", t0_ns))

    def joins_at(self, end_ns: int) -> int:
        """Return when it begins, or began, if its next window is the one that ends at `end_ns`.

        By the wall clock: the windows that nobody made between two processes are counted, and none twice.
        """
        step_ns, passed = hop_ns(self._config), 1
        if (state := self._state) is not None:
            until_s = (end_ns - self._clock.now_ns()) / NS_PER_S
            elapsed_s = (utc_now() - state.started).total_seconds() + until_s
            passed = max(state.hops + 1, round(elapsed_s * NS_PER_S / step_ns))
        return end_ns - passed * step_ns

    @property
    def sent_all(self) -> bool:
        """Whether every window that was closed has had its message, or never will."""
        return not self._open

    def snapshot(self) -> StreamState:
        """Return what it remembers, from any thread, but for what its extractors do."""
        if self._state is not None:
            return self._state
        with self._judging:
            by_now = utc_now() - timedelta(microseconds=(self._clock.now_ns() - self._t0_ns) / 1000)
            was_set = abs((by_now - self._started).total_seconds()) > CLOCK_SET_S
            return StreamState(
                stream=self.name,
                epoch=self.origin.epoch,
                started=by_now if was_set else self._started,
                hop_s=self._config.window.hop_s,
                seq=self.window.seq,
                words=self._words,
                events=self._events,
                paused=self.paused.is_set(),
                face_id=self._face_id,
                smoother=self._smoother.snapshot(self._t0_ns),
                context=self._before.snapshot(self._t0_ns),
            )

    def close_window(self, end_ns: int, reason: Reason = "hop") -> WindowView:
        """Close the window that ends at `end_ns`."""
        if self._uncounted:
            self._uncounted = False
            self.window.go_on_at(round((end_ns - self._t0_ns) / hop_ns(self._config)) - 1 + self._words)
        view = self._before.lean(self.window.close(end_ns, reason))
        self._words += reason == "word"
        self._open[view.seq] = Open(self._clock.now_ns(), self._stretch, reason == "hop")
        if len(self._open) > MOST_OPEN:
            del self._open[min(self._open)]
        for event in self._notices.feed(view):
            if event.cause is not None:
                log.warning("%s", event.cause)
            self.event(event)
        return view

    def publish(self, view: WindowView, estimate: Estimate) -> None:
        """Send the message of a window and its estimate, unless the window was left out meanwhile."""
        with self._judging:
            if (own := self._open.pop(view.seq, None)) is None:
                return
            for seq in [seq for seq in self._open if seq < view.seq]:
                del self._open[seq]  # dropped on the way: estimates come in order
            self._publish(view, estimate, own.closed_ns, paused=self.paused.is_set() or own.stretch != self._stretch)

    def leave_out(self) -> int:
        """Send no message of the windows that wait for one; return how many of these are of the grid."""
        with self._judging:
            left_out = sum(each.of_grid for each in self._open.values())
            self._open.clear()
            return left_out

    def _publish(self, view: WindowView, estimate: Estimate, closed_ns: int, *, paused: bool) -> None:
        score = None
        if paused:
            view = replace(view, words=(), read=(), text_lag_ms=None, opinion="listening", ended=(), language=None)
        elif view.face_id:
            if self._face_id and view.face_id != self._face_id:
                self._smoother.reset()
            self._face_id = view.face_id
        if not paused:
            estimate = self._before.expect(view, estimate)
        if estimate.raw is not None and not paused:
            score = self._smoother.feed(view.end_ns, estimate.raw, said_so_far(view), view.opinion)
        now_ns = self._clock.now_ns()
        waited_ms = (now_ns - closed_ns) / 1e6
        message = compose.sentiment(
            view,
            estimate,
            score,
            self._t0_ns,
            waited_ms,
            (now_ns - view.end_ns) / 1e6,
            paused=paused,
            origin=self.origin,
        )
        self._outlet.send(message)

    def event(self, event: Event) -> None:
        """Take an event of a component: tell the window of a lost device, and publish it."""
        device = self._behind.get(event.component)
        if device and event.kind in {"lost", "stalled"} and event.cause:
            self.window.lost(device, event.cause)
        with self._telling:
            now_ns = self._clock.now_ns()
            self._events += 1
            message = compose.event(self.name, event, self._t0_ns, now_ns, self._started, self._events, self.origin)
            self._outlet.send(message)

    def pause(self) -> None:
        """Stop judging; what was seen is forgotten."""
        with self._judging:
            self._note_pause(paused=True)
            self.paused.set()
            self._stretch += 1
            self._face_id = 0
            self.window.pause()
            self._smoother.reset()
            self._before.reset()
        self.event(Event(self._clock.now_ns(), "stream", "paused"))

    def resume(self) -> None:
        """Judge again."""
        with self._judging:
            self._note_pause(paused=False)
            self._stretch += 1
            self.window.resume()
            self.paused.clear()
        self.event(Event(self._clock.now_ns(), "stream", "resumed"))

    def _note_pause(self, *, paused: bool) -> None:
        if self._recorder is not None:
            self._recorder.note(Entry(self._clock.now_ns(), "paused", paused))


def said_so_far(view: WindowView) -> tuple[Opinion, int, int, int]:
    """What makes the score move at once: a committed word, the end of an utterance, a new one, a second reading."""
    if view.opinion == "listening":  # words that can't be judged move nothing
        return view.opinion, 0, 0, 0
    committed = [word.end_ns for word in view.words if word.committed]
    return view.opinion, len(committed), committed[-1] if committed else 0, len(view.read)
