"""A stream with its threads: stages, devices or a file, memory, recording and health."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from realtime.capture.adapt import AnalysisRate
from realtime.capture.names import hears_camera, is_url, microphone_of, notice_of
from realtime.capture.network import NO_PICTURE_S, NetworkCamera, Picture, Sound
from realtime.capture.player import FilePlayer
from realtime.pipeline import connect, tapped
from realtime.publish.health import HealthReporter, asr_health
from realtime.publish.messages import Sentiment
from realtime.runtime.runner import ThreadedRunner
from realtime.session.files import note_missing
from realtime.session.inbox import Order
from realtime.session.memory import Memories
from realtime.session.recorder import recorder_of, tap_of
from realtime.session.stream import Stream
from realtime.types import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import WaitingClock
    from realtime.config.schema import Config, StreamConfig
    from realtime.pipeline import Inlets
    from realtime.publish.messages import PublisherHealth, RecordingHealth
    from realtime.publish.outlet import Outlet
    from realtime.runtime.worker import WorkerStats
    from realtime.session.devices import Devices
    from realtime.session.models import SharedModels
    from realtime.session.state import StreamState

log = logging.getLogger(__name__)

FLUSH_WAIT_S = 5.0
SLOW_BELOW_FPS = 5.0
"""A webcam that delivers less, for lack of light or bandwidth, misses most expressions."""


@dataclass(frozen=True, slots=True)
class Common:
    """What the streams of a session share; see Live."""

    config: Config
    parts: SharedModels
    clock: WaitingClock
    outlet: Outlet
    connection: Callable[[str], PublisherHealth | None]
    devices: Devices
    order: Callable[[Order], None]
    """Hands an order to the tick."""


class LiveStream:
    """A stream with its threads: devices, or a file at real pace.

    Args:
        common: what all streams of the session share.
        stream: the configuration of this one.
        state: what it goes on from.
        again: whether a stream of this name may have been here before.
    """

    def __init__(
        self, common: Common, stream: StreamConfig, state: StreamState | None = None, *, again: bool = False
    ) -> None:
        config, parts, clock, outlet = common.config, common.parts, common.clock, common.outlet
        devices = common.devices
        media = devices.media(stream, config)
        self._recorder = recorder_of(config, stream, self._not_recorded, state, again=again)
        context = parts.fuser.checkpoint.context
        self.stream = Stream(config, stream, clock, outlet, context, self._recorder, state=state)
        self.told = False
        """Whether it was said that nothing comes from its devices."""
        self.config = stream
        self.over = False
        """Whether it had its last window before it was removed."""
        self.begun_ns = 0
        window, name = self.stream.window, stream.name
        window.on_whole = lambda: common.order(Order("look", name))
        if config.text.at_once:
            window.on_word = lambda: common.order(Order("word", name))
        self._open_ns: tuple[int, int] | None = None
        """From the end of the last window of the grid to that of the next, while a word may be said between them."""
        self.ended = threading.Event()
        self.last_ns: int | None = None
        self.last_seq: int | None = None
        self.runner = ThreadedRunner(clock, self.stream.event)
        self._clock = clock
        self._player: FilePlayer | None = None
        self._final_ns: int | None = None
        self._memories = Memories(self.runner, state, self.stream.t0_ns)
        rate = AnalysisRate(config.camera, clock)
        self._tap = tap_of(self._recorder, config, stream.name, self.stream.paused)
        inlets = tapped(
            connect(
                self._memories,
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
            stream.name,
            clock,
            lambda: asr_health(inlets.asr()),
            lambda: common.connection(stream.name),
            self._recording,
            self.stream.origin,
        )
        self._unsubscribe = outlet.subscribe(self.health.saw, Sentiment, stream=stream.name)
        if self.stream.video is not None and not (stream.camera and is_url(stream.camera)):
            # A network camera decides ahead of what it delivers.
            rate.passes_over = partial(window.passed_over, self.stream.video)
        if media is not None:
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
            if self.stream.paused.is_set():
                self._player.playhead.pause()
            return
        self._open_devices(devices, config, stream, inlets, rate)

    def _open_devices(
        self, devices: Devices, config: Config, stream: StreamConfig, inlets: Inlets, rate: AnalysisRate
    ) -> None:
        """Have camera and microphone opened once the stages are ready."""
        clock, address, mic = self._clock, stream.camera, microphone_of(stream)
        if (notice := notice_of(stream)) is not None:
            log.warning("%s", notice)
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
        self.runner.start(paused=self.stream.paused.is_set())

    def begin(self, t0_ns: int) -> None:
        """Start the clock of the stream, and its file."""
        self.begun_ns = self._clock.now_ns()
        self.stream.begin(t0_ns)
        if (player := self._player) is not None:
            self._clock.start(lambda: self._play(player), f"{self.stream.name}-file")

    def pause(self) -> None:
        """Release the devices, or hold the file where it is: `paused` until resumed. At once, by the tick only."""
        if not self.stream.paused.is_set():
            if self._player is not None:
                self._player.playhead.pause()
            self.runner.pause()
            self._memories.forget()
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

    def snapshot(self) -> StreamState:
        """Return what it remembers, from any thread."""
        return self._memories.added_to(self.stream.snapshot(), self.stream.t0_ns)

    def end(self) -> None:
        """Write out the recording, once nothing is sent any more."""
        self._unsubscribe()
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

    def closed(self, end_ns: int, next_ns: int) -> None:
        """Note that a window of the grid was closed, when it ended, and when the next one ends."""
        self._open_ns = end_ns, next_ns

    def may_say_word(self, now_ns: int) -> bool:
        """Whether a window may be closed for a word now: one between two of the grid, while none of these waits."""
        if self._open_ns is None or self.last_ns is not None or self.stream.paused.is_set():
            return False
        begin_ns, end_ns = self._open_ns
        if not begin_ns < now_ns < end_ns:
            return False
        self._open_ns = None
        return True

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
