"""A session: streams, the tick that closes their windows, the fusion worker, and an orderly end.

`Live` runs devices and files at real pace, every stage in a thread. `Replay` runs one file at full speed on a virtual
clock, all in line and deterministic. Both use the same wiring (pipeline.py), windows and fusion.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from realtime.capture.adapt import AnalysisRate
from realtime.capture.names import hears_camera, is_url, microphone_of
from realtime.capture.network import NO_PICTURE_S, NetworkCamera, Picture, Sound
from realtime.capture.player import FilePlayer
from realtime.fuse.worker import FusionWorker
from realtime.pipeline import connect, tapped
from realtime.publish.health import HealthReporter, asr_health
from realtime.publish.messages import Sentiment
from realtime.runtime.runner import ThreadedRunner
from realtime.runtime.worker import LOG_EVERY_S
from realtime.session.devices import REAL
from realtime.session.files import note_missing
from realtime.session.inbox import Inbox, Order
from realtime.session.recorder import recorder_of, tap_of
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.types import NS_PER_S, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime.clock import WaitingClock
    from realtime.config.schema import Config, StreamConfig
    from realtime.fuse.worker import Estimate
    from realtime.pipeline import Inlets
    from realtime.publish.messages import PublisherHealth, RecordingHealth
    from realtime.publish.outlet import Outlet
    from realtime.runtime.worker import WorkerStats
    from realtime.session.devices import Devices
    from realtime.session.models import SharedModels
    from realtime.types import WindowView

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 1.0
NOTHING_AFTER_S = 2.0
END_WAIT_S = 1.0
FLUSH_WAIT_S = 5.0
STOP_LOOK_NS = NS_PER_S // 10
"""While it waits for commands the tick looks so often whether it is to stop."""
STOOD_STILL_S = 3.0
"""After so long without a tick, as in a suspended process, what the windows missed is of no use to anybody."""
SLOW_BELOW_FPS = 5.0
"""A webcam that delivers less, for lack of light or bandwidth, misses most expressions."""


class LiveStream:
    """A stream with its threads: devices, or a file at real pace."""

    def __init__(
        self,
        config: Config,
        stream: StreamConfig,
        parts: SharedModels,
        clock: WaitingClock,
        outlet: Outlet,
        connection: Callable[[str], PublisherHealth | None],
        devices: Devices,
    ) -> None:
        self._recorder = recorder_of(config, stream, self._not_recorded)
        self.stream = Stream(config, stream, clock, outlet, parts.fuser.checkpoint.context, self._recorder)
        self.ended = threading.Event()
        self.last_ns: int | None = None
        self.last_seq: int | None = None
        self.runner = ThreadedRunner(clock, self.stream.event)
        self._clock = clock
        self._player: FilePlayer | None = None
        self._final_ns: int | None = None
        rate = AnalysisRate(config.camera, clock)
        self._tap = tap_of(self._recorder, config, stream.name, self.stream.paused)
        inlets = tapped(
            connect(
                self.runner,
                config,
                parts,
                clock,
                self.stream.window,
                self.stream.video or "",
                self.stream.audio or "",
                rate,
            ),
            self._tap,
        )
        self.health = HealthReporter(
            stream.name, clock, lambda: asr_health(inlets.asr()), lambda: connection(stream.name), self._recording
        )
        outlet.subscribe(self.health.saw, Sentiment, stream=stream.name)
        if (media := devices.media(stream, config)) is not None:
            note_missing(self.stream, media)
            self._player = FilePlayer(
                stream.name,
                media,
                clock,
                video=inlets.video,
                audio=inlets.audio,
                limit=rate,
                on_event=self.stream.event,
            )
            return
        self._open_devices(devices, config, stream, inlets, rate)

    def _open_devices(
        self, devices: Devices, config: Config, stream: StreamConfig, inlets: Inlets, rate: AnalysisRate
    ) -> None:
        """Have camera and microphone opened once the stages are ready."""
        clock, address, mic = self._clock, stream.camera, microphone_of(stream)
        network = None
        if address is not None and is_url(address):
            network = NetworkCamera(address, config.camera, clock, sound=hears_camera(stream))
        if address is not None:
            self.runner.source(
                "camera",
                lambda: (
                    devices.camera(address, config.camera, clock, rate)
                    if network is None
                    else Picture(network, rate, self.stream.event, rate.comes_late)
                ),
                inlets.video,
                open_s=(1 if network is None else 2) * config.camera.open_timeout_s + 1.0,
                read_s=(config.camera.read_timeout_s if network is None else NO_PICTURE_S) + 1.0,
                least_hz=min(SLOW_BELOW_FPS, config.camera.max_fps / 2, config.camera.idle_fps / 1.6),
            )
        if network is not None and hears_camera(stream):
            log.info(
                "stream %s: takes the sound of camera %s, too; --no-mic leaves it out", stream.name, network.public
            )
            self.runner.source(
                "microphone",
                lambda: Sound(network, config.microphone),
                inlets.audio,
                open_s=2 * config.camera.open_timeout_s + 1.0,
                read_s=config.microphone.read_timeout_s + 1.0,
            )
        elif mic is not None:
            self.runner.source(
                "microphone",
                lambda: devices.microphone(mic, config.microphone, clock),
                inlets.audio,
                open_s=5.0,
                read_s=config.microphone.read_timeout_s + 1.0,
            )

    def prepare(self) -> None:
        """Load the models of the stages and open the devices."""
        self.runner.start()

    def begin(self, t0_ns: int) -> None:
        """Start the clock of the stream, and its file."""
        self.stream.begin(t0_ns)
        if (player := self._player) is not None:
            self._clock.start(lambda: self._play(player), f"{self.stream.name}-file")

    def pause(self) -> None:
        """Release the devices, or hold the file where it is: `paused` until resumed. At once, by the tick only."""
        if not self.stream.paused.is_set():
            if self._player is not None:
                self._player.playhead.pause()
            self.runner.pause()
            if self._player is not None:
                self._player.playhead.pause()
            self.stream.pause()

    def resume(self) -> None:
        """Open the devices again, or let the file go on. Returns at once, by the tick only."""
        if self.stream.paused.is_set():
            self.stream.resume()
            self.runner.resume()
            if self._player is not None:
                self._player.playhead.resume()

    def close(self) -> None:
        """Release devices and threads."""
        if self._player is not None:
            self._player.stop()
        self.runner.close()

    def end(self) -> None:
        """Write out the recording, once nothing is sent any more."""
        if self._tap is not None:
            self._tap.close()
        if self._recorder is not None:
            self._recorder.close()

    def closes(self, end_ns: int) -> int | None:
        """Return the end of the window to close now; None while the last words of a file are awaited."""
        if self.last_ns is None or end_ns < self.last_ns:
            return end_ns
        if self._final_ns is None:
            self._final_ns = end_ns
        return self._final_ns if self.ended.is_set() else None

    def gauges(self) -> dict[str, WorkerStats]:
        """Counts of each component by name."""
        return ({} if self._player is None else self._player.gauges()) | self.runner.gauges()

    def recorded(self) -> list[str]:
        """What was recorded of it."""
        return [] if self._recorder is None else [self._recorder.summary()]

    def ended_early(self) -> str | None:
        """Why the recording ended before the session did."""
        return None if self._recorder is None else self._recorder.ended_early

    def _recording(self) -> RecordingHealth | None:
        return None if self._recorder is None else self._recorder.health()

    def _not_recorded(self, cause: str) -> None:
        self.stream.event(Event(self._clock.now_ns(), "recording", "lost", cause))

    def _play(self, player: FilePlayer) -> None:
        self.last_ns = player.play()
        if self.last_ns is not None:
            try:
                self.runner.finish(FLUSH_WAIT_S)
            finally:
                self.ended.set()


class Live:
    """Streams at real pace.

    Args:
        config: of the process.
        parts: the models.
        clock: of the process; every wait of a thread of the session goes through it.
        outlet: takes each message.
        connection: figures of a stream's connection to the broker.
        devices: what the streams take their pictures and sound from.
    """

    def __init__(
        self,
        config: Config,
        parts: SharedModels,
        clock: WaitingClock,
        outlet: Outlet,
        connection: Callable[[str], PublisherHealth | None] = lambda _: None,
        devices: Devices = REAL,
    ) -> None:
        self._config, self._clock, self._outlet = config, clock, outlet
        self.streams = {
            stream.name: LiveStream(config, stream, parts, clock, outlet, connection, devices)
            for stream in config.streams
        }
        self._fusion = FusionWorker(
            parts.fuser, config.fusion, clock, len(self.streams), self._publish, self._of_all_streams
        )
        self._inbox = Inbox()
        self._told_ns: dict[tuple[str, str], int] = {}

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
        """Release the devices of a stream, from any thread; it says `paused` until it is resumed. Returns at once."""
        self._inbox.put(Order("pause", stream))

    def resume(self, stream: str) -> None:
        """Open the devices of a stream again, from any thread. Returns at once."""
        self._inbox.put(Order("resume", stream))

    def toggle_pause(self) -> None:
        """Pause all streams, or resume them when all are paused; from any thread or signal. Returns at once."""
        self._inbox.put(Order("toggle"))

    def _loop(self, stop: threading.Event, t0_ns: int, duration_s: float | None) -> None:
        ticks = Ticks(t0_ns, self._config)
        running = dict(self.streams)
        health_ns, told = t0_ns, False
        while running and (duration_s is None or ticks.end_ns <= t0_ns + duration_s * NS_PER_S):
            if not self._obey_until(ticks.due_ns, stop):
                return
            late_ns = self._clock.now_ns() - ticks.due_ns
            late = late_ns > ticks.hop_ns
            if late_ns > max(STOOD_STILL_S * NS_PER_S, ticks.hop_ns):
                self._stood_still(running, late_ns, ticks.skip_to(self._clock.now_ns()))
            end_ns = ticks.next()
            for name, live in list(running.items()):
                with self._alone(name, "a window"):
                    if late:
                        live.health.late()
                    if self._tick(live, end_ns):
                        del running[name]
            if not told and end_ns - t0_ns >= NOTHING_AFTER_S * NS_PER_S:
                told = True
                for name, live in running.items():
                    with self._alone(name, "a notice"):
                        _tell_nothing(name, live)
            if end_ns - health_ns >= HEALTH_EVERY_S * NS_PER_S:
                health_ns = end_ns
                self._report(running)

    def _obey_until(self, due_ns: int, stop: threading.Event) -> bool:
        """Do what is ordered until the next tick; False when it is time to stop."""
        while not stop.is_set():
            now_ns = self._clock.now_ns()
            if (order := self._inbox.take()) is not None:
                self._obey(order)
            elif now_ns >= due_ns:
                return True
            else:
                self._clock.wait(self._inbox, min(due_ns, now_ns + STOP_LOOK_NS))
        return False

    def _obey(self, order: Order) -> None:
        chosen = [live for name, live in self.streams.items() if order.stream in {None, name}]
        action = order.action
        if action == "toggle":
            action = "resume" if all(live.stream.paused.is_set() for live in chosen) else "pause"
        for live in chosen:
            with self._alone(live.stream.name, action):
                (live.pause if action == "pause" else live.resume)()

    def _publish(self, view: WindowView, estimate: Estimate) -> None:
        live = self.streams[view.stream]
        live.stream.publish(view, estimate)
        if view.seq == live.last_seq:
            live.stream.event(Event(self._clock.now_ns(), "stream", "ended"))

    def _stood_still(self, running: dict[str, LiveStream], late_ns: int, left_out: int) -> None:
        now_ns = self._clock.now_ns()
        cause = f"the program stood still for {late_ns / NS_PER_S:.1f} s: {left_out} windows left out"
        log.warning("%s", cause)
        for name, live in running.items():
            with self._alone(name, "an event"):
                live.stream.event(Event(now_ns, "stream", "stalled", cause, now_ns - late_ns))
                live.stream.event(Event(now_ns, "stream", "recovered", None, now_ns - late_ns))

    def _of_all_streams(self, event: Event) -> None:
        for name, live in self.streams.items():
            with self._alone(name, "an event"):
                live.stream.event(event)

    def _report(self, running: dict[str, LiveStream]) -> None:
        for name, live in running.items():
            with self._alone(name, "a health message"):
                self._outlet.send(live.health.report(live.gauges() | {"fusion": self._fusion.gauge()}))

    def _tick(self, live: LiveStream, end_ns: int) -> bool:
        """Close a window of a stream; True when it was the last."""
        if (closing_ns := live.closes(end_ns)) is None:
            return False
        over = live.ended.is_set() and live.last_ns is not None and closing_ns >= live.last_ns
        view = live.stream.close_window(closing_ns)
        if over:
            live.last_seq = view.seq
        self._fusion.submit(view)
        return over

    @contextmanager
    def _alone(self, stream: str, what: str) -> Iterator[None]:
        """Let no failure in one stream end the tick of all; one that goes on is logged once in a while."""
        try:
            yield
        except Exception:
            now_ns, told_ns = self._clock.now_ns(), self._told_ns.get((stream, what))
            if told_ns is None or now_ns - told_ns > LOG_EVERY_S * NS_PER_S:
                self._told_ns[stream, what] = now_ns
                log.exception("stream %s: %s failed", stream, what)


def _tell_nothing(name: str, live: LiveStream) -> None:
    devices = [device for device in (live.stream.video, live.stream.audio) if device]
    if not any(gauge.items for gauge in live.runner.gauges().values()):
        log.warning(
            "%s: nothing from %s yet; still trying. Plug one in (--list-devices shows what there is), or see it work "
            "without any: scripts/run --demo",
            name,
            " or ".join(devices) or "any device: both are switched off",
        )
