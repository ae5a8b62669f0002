"""A microphone, by PortAudio (sounddevice): mono blocks at 16 kHz, stamped with the time their first sample was heard.

PortAudio's own thread calls back with each block, which goes into a bounded channel; `read` takes it from there. A
server that dies ends the callbacks without an exception, one that freezes just leaves them out: `read` notices both.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from realtime.capture import portaudio
from realtime.capture.soundline import SoundLine
from realtime.errors import DeviceError
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, Floats

if TYPE_CHECKING:
    from realtime.clock import Clock
    from realtime.config.schema import MicrophoneConfig

LONGEST_DELAY_S = 2.0
"""A block that claims to be older than this comes from a backend that does not tell the time; or, where one did so far,
it waited while the program stood still, and is of no use any more."""


@dataclass(frozen=True, slots=True)
class Block:
    """What the callback hands over: (N, C) float32 at the device's rate, the `index`-th sample first."""

    t_ns: int
    index: int
    samples: Floats
    overflowed: bool


class Microphone:
    """One microphone.

    Args:
        address: `default`, the number of a device, or a part of its name.
        config: length of a block, buffer and time-out.
        clock: the device's times are mapped to it.
    """

    def __init__(self, address: str, config: MicrophoneConfig, clock: Clock) -> None:
        self.name = f"microphone {address}"
        self._address, self._config, self._clock = address, config, clock
        self._stream: Any = None
        self._channel: Channel[Block] = self._new_channel()
        self._begin(SAMPLE_RATE_HZ)

    def open(self) -> None:
        """Open the device and start it.

        Raises:
            DeviceError: there is no such device, or it cannot be opened; the message says what to try.
        """
        self.close()
        try:
            with portaudio.refreshed(self.name) as sd:
                self._start(sd)
        except DeviceError:
            self.close()
            raise

    def read(self) -> Chunk:
        """Wait for the next block.

        Raises:
            DeviceError: nothing came within `read_timeout_s`, or the device or its server went away.
        """
        if self._stream is None:
            raise DeviceError(f"{self.name}: is not open")
        lost = 0
        while True:
            try:
                block = self._channel.pop(self._config.read_timeout_s)
            except TimeoutError:
                raise DeviceError(f"{self.name}: no sound for {self._config.read_timeout_s:.1f} s") from None
            except ClosedError:
                raise DeviceError(f"{self.name}: went away; plug it in or restart the sound system") from None
            chunk = self._convert(block)
            lost += chunk.lost_samples
            if len(chunk.samples):  # a resampler's first block may be held back altogether
                return replace(chunk, lost_samples=lost)

    def close(self) -> None:
        """Close the device; returns within about a second even when the sound system hangs."""
        stream, self._stream = self._stream, None
        if stream is not None:
            portaudio.close(stream, self.name)

    def _start(self, sd: Any) -> None:  # noqa: ANN401 - the module
        device = portaudio.find_input(sd, self._address, self.name)
        channels = min(2, device["max_input_channels"])
        self._begin(_offered_rate(sd, device, channels))
        self._channel = self._new_channel()
        self._stream = sd.InputStream(
            samplerate=self._rate_hz,
            blocksize=self._rate_hz * self._config.block_ms // 1000,
            device=device["index"],
            channels=channels,
            dtype="float32",
            callback=functools.partial(self._heard, self._channel),
            finished_callback=self._channel.close,
        )
        portaudio.opened(self._stream)
        self._stream.start()

    def _begin(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._heard_samples = self._read_samples = 0
        self._tells_time = False
        self._line = SoundLine(rate_hz)

    def _new_channel(self) -> Channel[Block]:
        blocks = max(1, int(self._config.buffer_s * 1000 / self._config.block_ms))
        return Channel(Policy.DROP_OLDEST, blocks)

    def _heard(self, channel: Channel[Block], samples: Floats, count: int, times: Any, status: Any) -> None:  # noqa: ANN401 - PortAudio's own
        if channel is not self._channel:  # a stream left behind came to life again
            return
        now_ns, index = self._clock.now_ns(), self._heard_samples
        self._heard_samples += count
        # Both of PortAudio's times are read from the same clock, so the difference survives a step of it.
        delay_s = times.currentTime - times.inputBufferAdcTime
        if 0 < delay_s < LONGEST_DELAY_S:
            self._tells_time = True
        elif delay_s > 0 and self._tells_time:
            return  # lost: the next block's index says how much
        else:
            delay_s = count / self._rate_hz
        block = Block(now_ns - int(delay_s * NS_PER_S), index, samples.copy(), bool(status.input_overflow))
        with contextlib.suppress(ClosedError):
            channel.push(block)

    def _convert(self, block: Block) -> Chunk:
        count, skipped = len(block.samples), block.index - self._read_samples
        self._read_samples = block.index + count
        return self._line.feed(
            block.t_ns,
            count,
            lambda resampler: resampler.feed_array(block.samples, self._rate_hz),
            skipped=skipped,
            broken=block.overflowed,
        )


def _offered_rate(sd: Any, device: dict[str, Any], channels: int) -> int:  # noqa: ANN401 - the module
    """Return 16 kHz where the device offers it, else its own rate."""
    try:
        sd.check_input_settings(device["index"], channels, "float32", samplerate=SAMPLE_RATE_HZ)
    except sd.PortAudioError:
        return int(device["default_samplerate"])
    return SAMPLE_RATE_HZ
