"""One file at full speed on a virtual clock, all in line and deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.capture.media import MediaFile
from realtime.capture.player import Damage
from realtime.pipeline import connect
from realtime.runtime.runner import InlineRunner
from realtime.session.files import Media, deliver, note_missing
from realtime.session.recorder import recorder_of
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.types import NS_PER_S, Event, Frame, item_end_ns

if TYPE_CHECKING:
    import threading

    from realtime.clock import VirtualClock
    from realtime.config.schema import Config
    from realtime.publish.outlet import Outlet
    from realtime.session.models import SharedModels


class OfflineRun:
    """One file at full speed: the same file and weights give the same messages, apart from wall-clock times.

    Args:
        config: of the process; its first stream is played.
        parts: the models.
        clock: moved as the file is worked off.
        outlet: takes each message.
        media: played instead of the stream's file.

    Raises:
        SourceError: the file can't be read.
    """

    def __init__(
        self,
        config: Config,
        parts: SharedModels,
        clock: VirtualClock,
        outlet: Outlet,
        media: Media | None = None,
    ) -> None:
        self._config, self._parts, self._clock = config, parts, clock
        stream = config.streams[0]
        self._media: Media = media or MediaFile(stream.source or "", config.camera)
        self._recorder = recorder_of(config, stream, lambda _: None)
        self._stream = Stream(config, stream, clock, outlet, parts.fuser.checkpoint.context, self._recorder)
        note_missing(self._stream, self._media)
        self._damage = Damage(clock, self._stream.event)
        if isinstance(self._media, MediaFile):
            self._media.on_warning = self._damage.met

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        """Work off the file, or its first `duration_s` seconds."""
        run = InlineRunner()
        try:
            self._play(run, stop, duration_s)
        finally:
            run.close()
        self._stream.event(Event(self._clock.now_ns(), "stream", "ended"))
        if self._recorder is not None:
            self._recorder.close()

    def recorded(self) -> list[str]:
        """What was recorded, a line a stream."""
        return [] if self._recorder is None else [self._recorder.summary()]

    def ended_early(self) -> str | None:
        """Why the recording ended before the session did."""
        return None if self._recorder is None else self._recorder.ended_early

    def _play(self, run: InlineRunner, stop: threading.Event, duration_s: float | None) -> None:
        unread = self._parts.await_reading()  # the same file gives the same messages on a slow machine, too
        inlets = connect(
            run,
            self._config,
            self._parts,
            self._clock,
            self._stream.window,
            self._stream.video or "",
            self._stream.audio or "",
        )
        t0_ns = self._clock.now_ns()
        self._stream.begin(t0_ns)
        if unread is not None:
            self._stream.event(Event(t0_ns, "reading", "lost", unread))
        ticks = Ticks(t0_ns, self._config)
        end_ns = t0_ns if duration_s is None else t0_ns + int(duration_s * NS_PER_S)
        for item in self._media.items(t0_ns):
            due_ns = item_end_ns(item)
            if stop.is_set() or (duration_s is not None and due_ns > end_ns):
                break
            while ticks.due_ns <= due_ns:
                self._clock.advance_to(ticks.due_ns)
                self._tick(ticks.next())
            self._clock.advance_to(due_ns)
            deliver(inlets, item)
            self._damage.went_on("picture" if isinstance(item, Frame) else "sound")
            if duration_s is None:
                end_ns = max(end_ns, due_ns)
        run.finish()
        while ticks.end_ns < end_ns + ticks.hop_ns and not stop.is_set():
            self._clock.advance_to(ticks.due_ns)
            self._tick(ticks.next())

    def _tick(self, end_ns: int) -> None:
        view = self._stream.close_window(end_ns)
        self._stream.publish(view, self._parts.fuser.fuse([view])[0])
