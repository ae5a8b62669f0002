"""A recording through windows, AGFN and publishing once more: the same scores with the same weights, or new ones.

Devices and extractors take no part: what the window took is fed to it again, in the recorded order and at the recorded
times of a virtual clock.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from realtime.errors import SourceError, UsageError
from realtime.extract.schema import OLDER, schema_hash
from realtime.fuse.worker import digest_of
from realtime.session.state import StreamState
from realtime.session.stream import Stream
from realtime.types import NS_PER_S, Event

if TYPE_CHECKING:
    import threading

    from realtime.clock import VirtualClock
    from realtime.config.schema import Config
    from realtime.fuse.worker import Fuser
    from realtime.publish.outlet import Outlet
    from realtime.recording.journal import Entry
    from realtime.recording.reader import Recording

log = logging.getLogger(__name__)


class RecordingReplay:
    """Plays one recording.

    Args:
        config: of the process, with the recorded window and smoothing (see `recorded_settings`).
        recording: to play.
        fuser: AGFN.
        clock: runs with the recording.
        outlet: takes each message.
        fast: do not wait between the windows.
    """

    def __init__(
        self,
        config: Config,
        recording: Recording,
        fuser: Fuser,
        clock: VirtualClock,
        outlet: Outlet,
        *,
        fast: bool,
    ) -> None:
        self._recording, self._fuser, self._clock, self._fast = recording, fuser, clock, fast
        self._words = bool(recording.about.get("words"))
        stream, state = config.streams[0], _state(recording)
        self._goes_on = state is not None
        devices = recording.about.get("devices")
        if not isinstance(devices, dict):
            raise SourceError(f"{recording.path}: damaged: it does not say which devices it was made with")
        self._stream = Stream(
            config,
            stream,
            clock,
            outlet,
            fuser.checkpoint.context,
            devices={str(k): str(v) for k, v in devices.items()},
            state=state,
        )
        if recording.about.get("weights_sha256") != digest_of(config):
            log.info("%s was recorded with other weights: its scores will differ", recording.path.name)
        if recording.about.get("media"):
            log.info("%s holds pictures and sound: a replay leaves them alone", recording.path.name)

    def run(self, stop: threading.Event, duration_s: float | None = None) -> None:
        """Work off the recording, or its first `duration_s` seconds."""
        begin_s, begin_ns = time.monotonic(), None
        for entry in self._recording.entries():
            if begin_ns is None:
                begin_ns = entry.at_ns
                if not self._goes_on:  # such a one began before the recording did, which says when
                    self._stream.begin(begin_ns)
            passed_s = (entry.at_ns - begin_ns) / NS_PER_S
            if duration_s is not None and passed_s > duration_s:
                break
            if not self._fast and entry.topic in {"tick", "word"}:
                stop.wait(max(0.0, passed_s - (time.monotonic() - begin_s)))
            if stop.is_set():
                break
            self._clock.advance_to(entry.at_ns)
            try:
                self._take(entry)
            except ValueError as error:  # times or counts that no window and no message can have
                raise SourceError(f"{self._recording.path}: damaged: {_line(error)}") from None
        if self._recording.truncated:
            log.warning("%s ends early: %s", self._recording.path, self._recording.truncated)
        if self._recording.dropped:
            log.warning("%s lacks %d entries: the disk was too slow", self._recording.path, self._recording.dropped)
        self._stream.event(Event(self._clock.now_ns(), "stream", "ended"))

    def recorded(self) -> list[str]:
        """Nothing: what is played is recorded already."""
        return []

    def ended_early(self) -> None:
        """Never: as above."""

    def _take(self, entry: Entry) -> None:
        window = self._stream.window
        if entry.topic == "begin":
            self._stream.begin(entry.item)
        elif entry.topic in {"tick", "word"}:
            view = self._stream.close_window(entry.item, "hop" if entry.topic == "tick" else "word")
            self._stream.publish(view, self._fuser.fuse([view])[0])
        elif entry.topic == "paused":
            (self._stream.pause if entry.item else self._stream.resume)()
        elif entry.topic == "reset":
            window.reset()
        elif entry.topic in {"seen", "lost"}:
            (window.saw if entry.topic == "seen" else window.lost)(*entry.item)
        elif entry.topic == "face":
            window.add_face(entry.item)
        elif entry.topic == "voice":
            window.add_voice(entry.item)
        elif entry.topic == "speech":
            window.add_speech(entry.item)
        elif entry.topic == "text":
            window.add_text(entry.item)


def _state(recording: Recording) -> StreamState | None:
    """What the recorded stream went on from."""
    if (values := recording.about.get("state")) is None:
        return None
    try:
        return StreamState.of(values)
    except UsageError as error:
        raise SourceError(f"{recording.path}: damaged: {error}") from None


def recorded_settings(config: Config, recording: Recording) -> Config:
    """Return the configuration with the window and the smoothing that the recording was made with.

    Raises:
        SourceError: the recording says something else than settings.
    """
    about = recording.about
    version = about.get("program")
    try:
        window = type(config.window).model_validate(about["window"])
        kept = config.fusion.model_dump() | {"smoothing_s": about["smoothing_s"]}
        fusion = type(config.fusion).model_validate(kept)
    except (KeyError, ValueError) as error:
        raise SourceError(f"{recording.path}: damaged: {_line(error)}") from None
    if about.get("schema") not in (schema_hash(), *OLDER):
        raise SourceError(f"{recording.path}: recorded with other features than this program's (AGFN Live {version})")
    stream = config.streams[0].model_copy(update={"name": recording.stream})
    return config.model_copy(update={"window": window, "fusion": fusion, "streams": (stream,)})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
