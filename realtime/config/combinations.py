"""Settings that only make sense together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.config.token import key_of
from realtime.errors import UsageError
from realtime.system.address import with_password
from realtime.system.guard import guard_of

if TYPE_CHECKING:
    from realtime.config.schema import Config, StreamConfig

MOST_PICTURES = 64
"""Pictures of a window that the network sees, the newest (fuse/collate.py)."""
WINDOW_S = (1.25, 4.8)
"""In a shorter window a frozen picture can't be told; of a longer one the network does not see all of the voice."""
LEAST_FPS = 2.5
"""A camera that delivers less counts as lost between its pictures (fuse/reliability.py)."""


def check(config: Config) -> None:
    """See that the parts fit together, before anything slow begins.

    Raises:
        UsageError: they don't.
    """
    for stream in config.streams:
        check_stream(stream, config)
    key_of(config.control.token_file)
    if config.metrics.port is not None:
        guard_of(section="metrics", **config.metrics.model_dump())
    if len(config.streams) > config.host.max_streams:
        raise UsageError(f"{len(config.streams)} streams, and host.max_streams is {config.host.max_streams}")
    _check_rules(config)
    _check_what_is_seen(config)
    embedded, off = config.mqtt.url == "embedded", config.mqtt.url == "off"
    if config.homeassistant.enabled and off:
        raise UsageError("--homeassistant works over MQTT: leave out --mqtt off")
    if config.dashboard.port is None:
        if config.dashboard.broker is not None:
            raise UsageError("dashboard.broker needs dashboard.port: add --dashboard PORT")
        return
    guard_of(**config.dashboard.model_dump(exclude={"broker"}))
    if off:
        raise UsageError("--dashboard shows what comes over MQTT: leave out --mqtt off")
    if embedded and config.dashboard.broker is not None:
        raise UsageError("--dashboard-broker is for your own broker; the embedded one is reached through the page")
    if not embedded and config.dashboard.broker is None:
        raise UsageError(
            "--dashboard with your own broker needs the address of its websocket listener: "
            "--dashboard-broker ws://HOST:PORT"
        )


def check_stream(stream: StreamConfig, config: Config) -> None:
    """See that a stream has something to analyse, and that what its camera's address lacks is there.

    Raises:
        UsageError: it hasn't, or isn't.
    """
    if stream.source is None and stream.camera is not None:
        with_password(stream.camera, config.camera.password_file)  # said before anything slow begins
    if stream.camera is None and stream.mic is None and stream.source is None:
        raise UsageError(
            f"stream {stream.name} has neither camera nor microphone, so there is nothing to analyse: leave out "
            "--no-camera or --no-mic, or play a file with --source FILE"
        )


def _check_rules(config: Config) -> None:
    """See that the streams that rules are about are there."""
    if config.control.stay:
        return  # others may come
    names = {stream.name for stream in config.streams}
    for name, rule in config.rules.items():
        if unknown := sorted(set(rule.streams) - names):
            raise UsageError(f"rules.{name}.streams: there is no stream {', '.join(unknown)}")


def _check_what_is_seen(config: Config) -> None:
    """See that no setting takes a modality, or a part of the window, away without a word."""
    if config.face.people and config.face.max_faces < 2:
        raise UsageError("--people tells every face, and face.max_faces is 1: add --set face.max_faces=3")
    length_s, fps = config.window.length_s, config.camera.max_fps
    shortest_s, longest_s = WINDOW_S
    if not shortest_s <= length_s <= longest_s:
        raise UsageError(
            f"window.length_s {length_s:g} does not fit what the network sees: {shortest_s:g} to {longest_s:g} s, "
            "default 4"
        )
    least = min(fps, config.camera.idle_fps)
    if least < LEAST_FPS:
        raise UsageError(
            f"camera.max_fps and camera.idle_fps must be at least {LEAST_FPS:g}, got {least:g}: with fewer pictures a "
            "camera counts as lost"
        )
    if fps * length_s > MOST_PICTURES:
        raise UsageError(
            f"camera.max_fps {fps:g} does not fit window.length_s {length_s:g}: the network sees {MOST_PICTURES} "
            f"pictures, so at most {MOST_PICTURES / length_s:.1f} a second"
        )
