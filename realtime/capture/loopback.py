"""What the computer plays, in a microphone's place: a meeting, a film, whatever comes out of the speakers.

On Linux it is the monitor of the default sink of PipeWire or PulseAudio, and goes along when another sink becomes the
default. Other systems let a program hear it only by a device that they, or the user, set up for it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from realtime.capture import portaudio
from realtime.capture.microphone import Microphone
from realtime.capture.pulse import PulseClient
from realtime.capture.soundline import SoundLine
from realtime.errors import DeviceError
from realtime.system.shown import LOOPBACK
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import MicrophoneConfig
    from realtime.runtime.source import Device
    from realtime.types import Chunk

ANSWER_S = 2.0
"""How long a sound server may take to answer."""
NO_LOOPBACK = (
    "no input here gives what the computer plays: on Windows enable Stereo Mix or set up a virtual cable, on macOS set "
    "up BlackHole, and name that one (--mic NAME; --list-devices shows them); see docs/meetings.md"
)


class Monitor:
    """The monitor of the default sink.

    Args:
        config: length of a block and time-out.
        clock: stamps the blocks.
    """

    def __init__(self, config: MicrophoneConfig, clock: Clock) -> None:
        self.name = LOOPBACK
        self._config, self._clock = config, clock
        self._client: PulseClient | None = None
        self._line = SoundLine(SAMPLE_RATE_HZ)
        self._sink: str | None = None

    def open(self) -> None:
        """Connect to the sound server and record what is played.

        Raises:
            DeviceError: there is no server, or nothing that sound is played on.
        """
        self.close()
        self._client = PulseClient(self.name, ANSWER_S)
        self._follow(self._client)

    def read(self) -> Chunk:
        """Wait for the next block; where another sink has become the default, of that one.

        Raises:
            DeviceError: nothing came within `read_timeout_s`, or sink or server went away.
        """
        if (client := self._client) is None:
            raise DeviceError(f"{self.name}: is not open")
        while (heard := client.read(self._config.read_timeout_s)) is None:
            self._follow(client)
        samples, age_ns, missing = heard
        return self._line.feed(self._clock.now_ns() - age_ns, len(samples), lambda _: samples, skipped=missing)

    def close(self) -> None:
        """Disconnect."""
        client, self._client, self._sink = self._client, None, None
        if client is not None:
            client.close()

    def _follow(self, client: PulseClient) -> None:
        """Record the default sink, if it isn't recorded already."""
        sink = client.default_sink()
        if sink is None:
            raise DeviceError(f"{self.name}: there is nothing that sound is played on; plug speakers or headphones in")
        if sink != self._sink:
            self._sink = None
            client.record(f"{sink}.monitor", self._config.block_ms)
            self._sink = sink
            self._line = SoundLine(SAMPLE_RATE_HZ)


class NamedLoopback(Microphone):
    """The input that calls itself a loopback, on systems without monitors."""

    def __init__(self, config: MicrophoneConfig, clock: Clock) -> None:
        super().__init__(LOOPBACK, config, clock)
        self.name = LOOPBACK

    def open(self) -> None:
        """Open it.

        Raises:
            DeviceError: there is none; the message says how there can be one.
        """
        with portaudio.refreshed(self.name) as sd:
            names = [str(device["name"]).casefold() for device in portaudio.inputs(sd)]
        if not any(LOOPBACK in name for name in names):
            raise DeviceError(f"{self.name}: {NO_LOOPBACK}")
        super().open()


def loopback(config: MicrophoneConfig, clock: Clock, platform: str = sys.platform) -> Device:
    """Return what hears what this computer plays."""
    return Monitor(config, clock) if platform == "linux" else NamedLoopback(config, clock)


def played_on() -> str:
    """Return the name of what this computer plays on by default, and could be heard of.

    Raises:
        DeviceError: it could not; the message says what to do.
    """
    if sys.platform != "linux":
        raise DeviceError(f"{LOOPBACK}: {NO_LOOPBACK}")
    client = PulseClient(LOOPBACK, ANSWER_S)
    try:
        if (sink := client.default_sink()) is None:
            raise DeviceError(f"{LOOPBACK}: there is nothing that sound is played on")
        return sink
    finally:
        client.close()
