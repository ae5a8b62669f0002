"""The program: models, sinks and a session, put together for run.py."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.token import key_of
from realtime.control.link import ControlLink
from realtime.control.service import Control
from realtime.errors import AgfnError, UsageError
from realtime.fuse.worker import fuser_of
from realtime.overlay.child import OverlayProcess
from realtime.publish.jsonlines import JsonLines
from realtime.publish.mqtt import MqttPublisher
from realtime.publish.outlet import KINDS, Outlet
from realtime.recording.reader import is_recording, open_recordings
from realtime.session.files import open_media
from realtime.session.live import Live
from realtime.session.models import SharedModels
from realtime.session.playback import RecordingReplay, recorded_settings
from realtime.session.replay import OfflineRun
from realtime.session.streams import LiveStreams
from realtime.terminal.view import LogView, TerminalView

if TYPE_CHECKING:
    from realtime.config.schema import Config
    from realtime.publish.access import Access
    from realtime.publish.messages import Command, PublisherHealth
    from realtime.recording.reader import Recording

log = logging.getLogger(__name__)
CONNECT_S = 3.0
GOODBYE_S = 1.0


class Part(Protocol):
    """Something that runs beside the analysis: a sink, a server, a process."""

    def close(self) -> None:
        """Write out what waits and end."""
        ...


def _recording(config: Config) -> Recording | None:
    """Return the recording that is to be played, if one is."""
    sources = [Path(stream.source) for stream in config.streams if stream.source is not None]
    if not any(is_recording(source) for source in sources):
        return None
    found = open_recordings(sources[0])
    if len(config.streams) > 1 or len(found) > 1:
        names = ", ".join(recording.path.name for recording in found)
        raise UsageError(f"one recording is played at a time: --source {sources[0]}/NAME.mcap with one of {names}")
    return found[0]


class App:
    """One run of the program.

    Args:
        config: what to do.
        pace: realtime or fast.
        output: file for JSON lines, `-` for standard output, or None.
        view: whether a person may be shown the terminal view.
        overlay: whether to start the desktop overlay; needs MQTT.

    Raises:
        AgfnError: a file, a model or the broker is unusable from the start.
    """

    def __init__(self, config: Config, *, pace: str, output: str | None, view: bool, overlay: bool = False) -> None:
        recording = _recording(config)
        if recording is not None:
            if config.record.folder is not None:
                raise UsageError("--record with a recording as --source would keep the same twice: leave one out")
            config = recorded_settings(config, recording)
        self._config = config
        self._stop: threading.Event | None = None
        clock = MonotonicClock()
        names = [stream.name for stream in config.streams]
        for stream in config.streams if recording is None else ():
            open_media(stream, config)  # a file that can't be read is said before models are loaded for seconds
        self._outlet = outlet = Outlet()
        self._parts: list[Part] = []
        self._shown = False
        self._lines: JsonLines | None = None
        self._nobody = threading.Event()
        if output is not None:
            self._lines = JsonLines(output, lossless=pace == "fast", ended=self._no_more_output)
            outlet.subscribe(self._lines.send, *KINDS, words=config.privacy.publish_text)
            self._parts.append(self._lines)
        birth = f"{config.homeassistant.prefix}/status"
        off = config.mqtt.url == "off"
        self._mqtt = None if off else MqttPublisher(config.mqtt, names, self._command, clock, birth, self._taken)
        self._session: Live | OfflineRun | RecordingReplay
        if recording is not None:
            virtual = VirtualClock()
            self._session = RecordingReplay(
                config, recording, fuser_of(config, virtual), virtual, outlet, fast=pace == "fast"
            )
        elif pace == "fast":
            virtual = VirtualClock()
            self._session = OfflineRun(config, SharedModels(config, virtual), virtual, outlet)
        else:
            models = SharedModels(config, clock)
            self._session = Live(config, models, clock, outlet, self._connection, stays=config.control.stay)
        self._control: Control | None = None
        if isinstance(self._session, Live):
            self._control = Control(LiveStreams(config, self._session), config.host.name)
        try:
            self._start(config, names, view=view and sys.stdout.isatty() and output != "-", overlay=overlay)
        except BaseException:
            self._close()
            raise

    def _start(self, config: Config, names: list[str], *, view: bool, overlay: bool) -> None:
        """Connect to the broker and start what runs beside the analysis; a new sink is a line here."""
        outlet, where = self._outlet, None
        if config.metrics.port is not None:
            self._start_metrics(config, config.metrics.port, names)
        if config.lsl.enabled:
            self._start_lsl(config, names)
        if config.osc.address is not None:
            self._start_osc(config.osc.address, words=config.privacy.publish_text)
        if config.rules:
            self._start_rules(config, names)
        if self._mqtt is not None:
            self._mqtt.start()
            self._parts.append(self._mqtt)
            self._mqtt.wait_ready(CONNECT_S)
            self._mqtt.subscribe(outlet, words=config.privacy.publish_text)
            where = self._mqtt.url
            self._start_control(config, self._mqtt)
            if config.homeassistant.enabled:
                self._start_homeassistant(config, names, self._mqtt.access)
            if config.dashboard.port is not None:
                where = f"{where}  {self._start_dashboard(config, config.dashboard.port, self._mqtt.access)}"
        # The screen is the user's own: words may be seen there.
        self._shown = view
        shown = TerminalView(names, where, self.toggle_pause) if view else LogView(names, where)
        shown.subscribe(outlet)
        self._parts.append(shown)
        if overlay and self._mqtt is not None:
            self._parts.append(OverlayProcess(self._mqtt.url, config.mqtt, names[0] if len(names) == 1 else None))

    def _start_metrics(self, config: Config, port: int, names: list[str]) -> None:
        from realtime.metrics.collector import Metrics  # noqa: PLC0415 - imported where asked for
        from realtime.metrics.endpoint import Endpoint  # noqa: PLC0415
        from realtime.system.guard import guard_of  # noqa: PLC0415 - imported where asked for

        metrics = Metrics(names)
        metrics.subscribe(self._outlet)
        guard = guard_of(section="metrics", **config.metrics.model_dump())
        self._parts.append(Endpoint(metrics.registry, port, guard))

    def _start_lsl(self, config: Config, names: list[str]) -> None:
        from realtime.sinks.lsl import LslSink  # noqa: PLC0415 - imported where asked for

        sink = LslSink(
            config.lsl,
            names,
            config.window.hop_s,
            words=config.privacy.publish_text,
            channels=config.channels.enabled,
        )
        sink.subscribe(self._outlet)
        self._parts.append(sink)

    def _start_osc(self, address: str, *, words: bool) -> None:
        from realtime.sinks.osc import OscSink  # noqa: PLC0415 - imported where asked for

        sink = OscSink(address, words=words)
        sink.subscribe(self._outlet)
        self._parts.append(sink)

    def _start_rules(self, config: Config, names: list[str]) -> None:
        from realtime.rules.sink import Rules  # noqa: PLC0415 - imported where asked for

        rules = Rules(config.rules, names)
        rules.subscribe(self._outlet)
        self._parts.append(rules)

    def _start_control(self, config: Config, mqtt: MqttPublisher) -> None:
        """Take requests about the streams from who knows the token, or the embedded broker's password."""
        key = key_of(config.control.token_file) or (mqtt.access.password if config.mqtt.url == "embedded" else None)
        if key is not None and self._control is not None:
            self._parts.append(ControlLink(self._control, mqtt.access, config.mqtt.base, key))

    def _start_homeassistant(self, config: Config, names: list[str], broker: Access) -> None:
        from realtime.homeassistant.sink import HomeAssistant  # noqa: PLC0415 - imported where asked for

        sink = HomeAssistant(config.homeassistant, broker, config.mqtt.base, names)
        sink.subscribe(self._outlet)
        self._parts.append(sink)

    def _start_dashboard(self, config: Config, port: int, broker: Access) -> str:
        from realtime.dashboard.server import Dashboard  # noqa: PLC0415
        from realtime.system.guard import guard_of  # noqa: PLC0415 - imported where asked for

        bridge = (broker.host, broker.port) if config.dashboard.broker is None else None
        guard = guard_of(**config.dashboard.model_dump(exclude={"broker"}))
        control = self._control
        answer = None if control is None else lambda text: control.answer(text).to_json()
        dashboard = Dashboard(port, config.mqtt.base, bridge, config.dashboard.broker, guard, answer)
        self._parts.append(dashboard)
        return dashboard.url

    def run(self, stop: threading.Event, duration_s: float | None) -> None:
        """Run the session to its end, then say goodbye.

        Raises:
            AgfnError: a recording or the output ended before the session did, as on a full disk.
        """
        if self._config.record.folder is not None:
            record = self._config.record
            kept = "with the words" if record.text else "no words"
            kept += ", WITH PICTURES AND SOUND" if record.media else ", no picture, no sound"
            log.info("recording into %s (%s)", record.folder, kept)
        self._stop = stop
        if self._nobody.is_set():
            stop.set()
        try:
            self._session.run(stop, duration_s)
        finally:
            self._close()
            for line in self._session.recorded():
                log.info("%s", line)
        early = self._session.ended_early() or (self._lines.failed if self._lines else None)
        if early is not None:
            raise AgfnError(f"ended early: {early}")

    def _no_more_output(self) -> None:
        """Stop when the messages went nowhere else: no camera stays open for nobody."""
        config = self._config
        served = config.mqtt.url != "off" or config.metrics.port is not None or config.record.folder is not None
        if served or self._shown or config.lsl.enabled or config.osc.address is not None or config.rules:
            return
        self._nobody.set()
        if self._stop is not None:
            self._stop.set()

    def toggle_pause(self) -> None:
        """Pause all streams, or resume them when they are paused. Returns at once."""
        if isinstance(self._session, Live):
            self._session.toggle_pause()

    def _command(self, stream: str, command: Command) -> None:
        if isinstance(self._session, Live):
            (self._session.pause if command.command == "pause" else self._session.resume)(stream)

    def _connection(self, stream: str) -> PublisherHealth | None:
        with contextlib.suppress(KeyError):  # it comes or goes just now
            return self._mqtt.stats(stream) if self._mqtt else None
        return None

    def _taken(self, stream: str, why: str) -> None:
        """Let a stream go that another program has now: its camera is wanted there."""

        def let_go() -> None:
            if isinstance(self._session, Live):
                with contextlib.suppress(AgfnError):  # it has gone already
                    self._session.remove(stream)

        log.warning("stream %s is let go: %s", stream, why)
        threading.Thread(target=let_go, name=f"{stream}-taken", daemon=True).start()

    def _close(self) -> None:
        """End what runs beside the analysis, the newest first."""
        while self._parts:
            with contextlib.suppress(OSError):
                self._parts.pop().close()
