"""A session: streams, the tick that closes their windows, the fusion worker, and an orderly end.

`Live` runs devices and files at real pace, every stage in a thread. `Replay` runs one file at full speed on a virtual
clock, all in line and deterministic. Both use the same wiring (pipeline.py), windows and fusion.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from realtime.capture.adapt import AnalysisRate
from realtime.capture.camera import Camera
from realtime.capture.microphone import Microphone
from realtime.fuse.worker import FusionWorker
from realtime.pipeline import Inlets, connect, tapped
from realtime.publish.health import HealthReporter, asr_health
from realtime.publish.messages import Health, Sentiment
from realtime.runtime.runner import ThreadedRunner
from realtime.session.files import deliver, note_missing, open_media
from realtime.session.recorder import recorder_of, tap_of
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.types import NS_PER_S, Event, Frame, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.capture.media import MediaFile
    from realtime.clock import Clock
    from realtime.config.schema import Config, StreamConfig
    from realtime.fuse.worker import Estimate
    from realtime.publish.messages import Message, PublisherHealth, RecordingHealth
    from realtime.session.models import SharedModels
    from realtime.types import WindowView

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 1.0
NOTHING_AFTER_S = 2.0
END_WAIT_S = 1.0
FLUSH_WAIT_S = 5.0
SLOW_BELOW_FPS = 5.0
"""A webcam that delivers less, for lack of light or bandwidth, misses most expressions."""


class LiveStream:
    """A stream with its threads: devices, or a file at real pace."""

    def __init__(
        self,
        config: Config,
        stream: StreamConfig,
        parts: SharedModels,
        clock: Clock,
        send: Callable[[Message], None],
        connection: Callable[[str], PublisherHealth | None],
    ) -> None:
        self._recorder = recorder_of(config, stream, self._not_recorded)
        self.stream = Stream(config, stream, clock, self.send, parts.fuser.checkpoint.context, self._recorder)
        self._pass_on = send
        self.ended = threading.Event()
        self.last_ns: int | None = None
        self.last_seq: int | None = None
        self.runner = ThreadedRunner(clock, self.stream.event)
        self._clock = clock
        self._stop = threading.Event()
        self._file: threading.Thread | None = None
        self._rate = rate = AnalysisRate(config.camera, clock)
        self._tap = tap_of(self._recorder, config, stream.name, self.stream.paused)
        inlets = tapped(
            connect(
                self.runner,
                config,
                parts,
                clock,
                self.stream.window,
                self.stream.picture or "",
                self.stream.sound or "",
                rate,
            ),
            self._tap,
        )
        self.health = HealthReporter(
            stream.name, clock, lambda: asr_health(inlets.asr()), lambda: connection(stream.name), self._recording
        )
        if (media := open_media(stream, config)) is not None:
            note_missing(self.stream, media)
            self._file = threading.Thread(
                target=self._play, args=(media, inlets), name=f"{stream.name}-file", daemon=True
            )
            return
        if stream.camera is not None:
            address = stream.camera
            self.runner.source(
                "camera",
                lambda: Camera(address, config.camera, clock, rate),
                inlets.picture,
                open_s=config.camera.open_timeout_s + 1.0,
                read_s=config.camera.read_timeout_s + 1.0,
                least_hz=min(SLOW_BELOW_FPS, config.camera.max_fps / 2, config.camera.idle_fps / 1.6),
            )
        if stream.mic is not None:
            name = stream.mic
            self.runner.source(
                "microphone",
                lambda: Microphone(name, config.microphone, clock),
                inlets.sound,
                open_s=5.0,
                read_s=config.microphone.read_timeout_s + 1.0,
            )

    def prepare(self) -> None:
        """Load the models of the stages and open the devices."""
        self.runner.start()

    def begin(self, t0_ns: int) -> None:
        """Start the clock of the stream, and its file."""
        self.stream.begin(t0_ns)
        if self._file is not None:
            self._file.start()

    def close(self) -> None:
        """Release devices and threads."""
        self._stop.set()
        self.runner.close()

    def end(self) -> None:
        """Write out the recording, once nothing is sent any more."""
        if self._tap is not None:
            self._tap.close()
        if self._recorder is not None:
            self._recorder.close()

    def recorded(self) -> list[str]:
        """What was recorded of it."""
        return [] if self._recorder is None else [self._recorder.summary()]

    def ended_early(self) -> str | None:
        """Why the recording ended before the session did."""
        return None if self._recorder is None else self._recorder.ended_early

    def send(self, message: Message) -> None:
        """Send a message of this stream."""
        if isinstance(message, Sentiment):
            self.health.saw(message)
        if isinstance(message, Health) and self._recorder is not None:
            self._recorder.send(message, self._clock.now_ns(), "health")
        self._pass_on(message)

    def _recording(self) -> RecordingHealth | None:
        return None if self._recorder is None else self._recorder.health()

    def _not_recorded(self, cause: str) -> None:
        self.stream.event(Event(self._clock.now_ns(), "recording", "lost", cause))

    def _play(self, media: MediaFile, inlets: Inlets) -> None:
        last_ns = self._clock.now_ns()
        for item in media.paced(self._clock, last_ns):
            if self._stop.is_set():
                return
            last_ns = item_end_ns(item)
            if not isinstance(item, Frame) or self._rate.admits(item.t_ns):
                deliver(inlets, item)
        self.runner.finish(FLUSH_WAIT_S)
        self.last_ns = last_ns
        self.ended.set()


class Live:
    """Streams at real pace.

    Args:
        config: of the process.
        parts: the models.
        clock: the monotonic one.
        send: takes each message; must not block.
        connection: figures of a stream's connection to the broker.
    """

    def __init__(
        self,
        config: Config,
        parts: SharedModels,
        clock: Clock,
        send: Callable[[Message], None],
        connection: Callable[[str], PublisherHealth | None] = lambda _: None,
    ) -> None:
        self._config, self._clock, self._send = config, clock, send
        self.streams = {
            stream.name: LiveStream(config, stream, parts, clock, send, connection) for stream in config.streams
        }
        self._fusion = FusionWorker(parts.fuser, config.fusion, clock, len(self.streams), self._publish)

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        """Tick until stopped, for `duration_s` seconds, or until all files have ended."""
        self._fusion.start()
        for live in self.streams.values():
            live.prepare()
        t0_ns = self._clock.now_ns()
        for live in self.streams.values():
            live.begin(t0_ns)
        try:
            self._loop(stop, t0_ns, duration_s)
        finally:
            for live in self.streams.values():
                live.close()
            self._fusion.close(END_WAIT_S)
            for live in self.streams.values():
                live.end()

    def recorded(self) -> list[str]:
        """What was recorded, a line a stream."""
        return [line for live in self.streams.values() for line in live.recorded()]

    def ended_early(self) -> str | None:
        """Why a recording ended before the session did."""
        return next((why for live in self.streams.values() if (why := live.ended_early())), None)

    def pause(self, stream: str) -> None:
        """Release the devices of a stream; it says `paused` until it is resumed."""
        live = self.streams[stream]
        if not live.stream.paused.is_set():
            live.stream.pause()
            live.runner.pause()

    def resume(self, stream: str) -> None:
        """Open the devices of a stream again."""
        live = self.streams[stream]
        if live.stream.paused.is_set():
            live.stream.resume()
            live.runner.resume()

    def toggle_pause(self) -> None:
        """Pause all streams, or resume them when all are paused."""
        paused = all(live.stream.paused.is_set() for live in self.streams.values())
        for name in self.streams:
            (self.resume if paused else self.pause)(name)

    def _loop(self, stop: threading.Event, t0_ns: int, duration_s: float | None) -> None:
        ticks = Ticks(t0_ns, self._config)
        running = dict(self.streams)
        health_ns, told = t0_ns, False
        while running and (duration_s is None or ticks.end_ns <= t0_ns + duration_s * NS_PER_S):
            if stop.wait(max(0.0, (ticks.due_ns - self._clock.now_ns()) / 1e9)):
                return
            late = self._clock.now_ns() - ticks.due_ns > ticks.hop_ns
            end_ns = ticks.next()
            for name, live in list(running.items()):
                if late:
                    live.health.late()
                over = live.ended.is_set() and live.last_ns is not None and end_ns >= live.last_ns
                view = live.stream.close_window(end_ns)
                if over:
                    del running[name]
                    live.last_seq = view.seq
                self._fusion.submit(view)
            if not told and end_ns - t0_ns >= NOTHING_AFTER_S * NS_PER_S:
                told = True
                for name, live in running.items():
                    _tell_nothing(name, live)
            if end_ns - health_ns >= HEALTH_EVERY_S * NS_PER_S:
                health_ns = end_ns
                self._report(running)

    def _publish(self, view: WindowView, estimate: Estimate) -> None:
        live = self.streams[view.stream]
        live.stream.publish(view, estimate)
        if view.seq == live.last_seq:
            live.stream.event(Event(self._clock.now_ns(), "stream", "ended"))

    def _report(self, running: dict[str, LiveStream]) -> None:
        for live in running.values():
            live.send(live.health.report(live.runner.gauges() | {"fusion": self._fusion.gauge()}))


def _tell_nothing(name: str, live: LiveStream) -> None:
    devices = [device for device in (live.stream.picture, live.stream.sound) if device]
    if not any(gauge.items for gauge in live.runner.gauges().values()):
        log.warning(
            "%s: nothing from %s yet; still trying. Plug one in (--list-devices shows what there is), or see it work "
            "without any: scripts/run --demo",
            name,
            " or ".join(devices) or "any device: both are switched off",
        )
