"""Settings that only make sense together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.errors import UsageError

if TYPE_CHECKING:
    from realtime.config.schema import Config


def check(config: Config) -> None:
    """See that the parts fit together, before anything slow begins.

    Raises:
        UsageError: they don't.
    """
    for stream in config.streams:
        if stream.camera is None and stream.mic is None and stream.source is None:
            raise UsageError(
                f"stream {stream.name} has neither camera nor microphone, so there is nothing to analyse: leave out "
                "--no-camera or --no-mic, or play a file with --source FILE"
            )
    embedded, off = config.mqtt.url == "embedded", config.mqtt.url == "off"
    if config.homeassistant.enabled and off:
        raise UsageError("--homeassistant works over MQTT: leave out --mqtt off")
    if config.dashboard.port is None:
        if config.dashboard.broker is not None:
            raise UsageError("dashboard.broker needs dashboard.port: add --dashboard PORT")
        return
    if off:
        raise UsageError("--dashboard shows what comes over MQTT: leave out --mqtt off")
    if embedded and config.dashboard.broker is not None:
        raise UsageError("--dashboard-broker is for your own broker; the embedded one is reached through the page")
    if not embedded and config.dashboard.broker is None:
        raise UsageError(
            "--dashboard with your own broker needs the address of its websocket listener: "
            "--dashboard-broker ws://HOST:PORT"
        )
