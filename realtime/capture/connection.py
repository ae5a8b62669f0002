"""One connection to a network camera (FFmpeg by PyAV): its packets of picture and sound, with times of our clock.

A thread opens it and reads it, since FFmpeg may hang where no time-out reaches (looking up a name): then it is left
behind, and ends by itself once it is let go.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
from av.error import ExitError, FFmpegError

from realtime.capture.arrival import ArrivalLine
from realtime.capture.backlog import CATCH_UP_NS, INSTANT_NS, Backlog
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.system.threads import name_thread
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Collection

    from realtime.capture.arrival import Offset
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig

WAITING = {"video": 256, "audio": 1500}
"""Packets that may wait to be decoded, which is some ten seconds; the oldest go first, and leave a gap."""
LOOK_AHEAD_US = 1_000_000
"""FFmpeg looks at the packets of so long at most to know what is sent; most cameras say it beforehand."""
TIMELESS = frozenset({"mpjpeg"})
"""Formats whose pictures carry no times: they are as old as their arrival."""
CHECK = "check that it is on and that the address is right"
REFUSALS = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)
REASONS = dict.fromkeys(
    REFUSALS, "refuses the login; check the user and AGFN_CAMERA_PASSWORD or camera.password_file"
) | {
    av.error.HTTPNotFoundError: "has no such stream; check the path of the address",
    ExitError: f"does not answer; {CHECK}",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A packet. `number` counts those of its stream, so that a hole shows; `offset` turns its times into ours."""

    packet: Any
    number: int
    offset: Offset | None
    arrived_ns: int


class Connection:
    """A connection that is opened and read from the moment it is made until it is ended.

    Args:
        name: of the camera, for errors and its thread.
        address: whole, with its password; it is never shown.
        kinds: of streams that are asked for, `video`, `audio`; what is not is not even sent by RTSP.
        config: time-outs, and how RTSP is carried.
        clock: for times and time-outs.

    Attributes:
        address: as it was given.
        opened: set once it is known what the camera sends, or why it doesn't.
        contexts: a decoder for each kind that is sent.
        failure: why it could not be opened, without the name of who asks.
        refused: whether that is the password; trying it over and over may lock the user out.
        cause: why it ended, for the message about a lost device.
    """

    def __init__(self, name: str, address: str, kinds: Collection[str], config: CameraConfig, clock: Clock) -> None:
        self.opened = threading.Event()
        self.contexts: dict[str, Any] = {}
        self.failure: str | None = None
        self.refused = False
        self.cause = f"went away; {CHECK}"
        self.address = address
        self._name, self._kinds, self._config, self._clock = name, kinds, config, clock
        self._channels = {kind: Channel[Item](Policy.DROP_OLDEST, WAITING[kind]) for kind in kinds}
        self._numbers = dict.fromkeys(kinds, 0)
        self._line, self._backlog = ArrivalLine(), Backlog(piled_up=True)
        self._timeless = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-connection", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is being opened or read."""
        return not self._over.is_set()

    @property
    def hangs(self) -> bool:
        """Whether it was let go, and FFmpeg has not yet noticed."""
        return self._over.is_set() and self._thread.is_alive()

    def pop(self, kind: str, timeout_s: float) -> Item:
        """Take the next packet of a stream.

        Raises:
            TimeoutError: none came in time.
            ClosedError: the connection has ended, for its `cause`.
        """
        return self._channels[kind].pop(timeout_s)

    def end(self) -> None:
        """Hang up; returns at once."""
        self._over.set()

    def _run(self) -> None:
        name_thread("camera")
        try:
            container = self._connect()
            if container is not None:
                with container:
                    self._read(container)
        except ExitError:
            self.cause = f"nothing for {self._config.read_timeout_s:.1f} s"
        except (FFmpegError, OSError) as error:
            self.cause = f"{error.strerror or type(error).__name__}; {CHECK}"
        finally:
            self._over.set()
            for channel in self._channels.values():
                channel.close()
            self.opened.set()

    def _connect(self) -> Any | None:  # noqa: ANN401 - PyAV's own type
        options = {"analyzeduration": str(LOOK_AHEAD_US), "fpsprobesize": "0"}
        if self.address.partition("://")[0].lower() in {"rtsp", "rtsps"}:
            options |= {"rtsp_transport": self._config.rtsp_transport}
            options |= {"allowed_media_types": "+".join(sorted(self._kinds))}
        timeouts = self._config.open_timeout_s, self._config.read_timeout_s
        try:
            return av.open(self.address, options=options, timeout=timeouts, metadata_errors="replace")
        except (FFmpegError, OSError) as error:  # its own words hold the address, and the password in it
            self.refused = isinstance(error, REFUSALS)
            self.failure = next((why for kind, why in REASONS.items() if isinstance(error, kind)), None)
            said = error.strerror or type(error).__name__
            self.failure = self.failure or f"cannot be opened ({said}); {CHECK}"
            return None

    def _read(self, container: Any) -> None:  # noqa: ANN401 - PyAV's own type
        streams: dict[str, Any] = {}
        for stream in container.streams:
            if stream.type in self._kinds and stream.codec_context is not None:
                streams.setdefault(stream.type, stream)
        self.contexts = {kind: stream.codec_context for kind, stream in streams.items()}
        self.opened.set()
        if not streams:
            return
        self._timeless = container.format.name in TIMELESS
        # FFmpeg has looked ahead: what it kept comes at once, and did not arrive just now.
        kept: list[tuple[Any, int]] = []
        first_ns = begin_ns = self._clock.now_ns()
        settled = self._timeless
        for packet in container.demux(list(streams.values())):
            now_ns = self._clock.now_ns()
            if self._over.is_set():
                return
            if packet.size and self._counts(packet, begin_ns, now_ns):
                kept.append((packet, now_ns))
            settled = settled or now_ns - begin_ns >= INSTANT_NS or now_ns - first_ns > CATCH_UP_NS
            while settled and kept:
                self._hand_on(*kept.pop(0))
            begin_ns = self._clock.now_ns()

    def _counts(self, packet: Any, begin_ns: int, now_ns: int) -> bool:  # noqa: ANN401 - PyAV's own type
        """Take the times of a packet; False where it has none and is known to be old."""
        if self._timeless:
            return not self._backlog.is_old(begin_ns, now_ns)
        if packet.pts is not None:
            camera_ns = camera_time_ns(packet.pts, packet.time_base)
            decoded_ns = camera_ns if packet.dts is None else camera_time_ns(packet.dts, packet.time_base)
            self._line.feed(packet.stream.type, camera_ns, decoded_ns, now_ns)
        return True

    def _hand_on(self, packet: Any, arrived_ns: int) -> None:  # noqa: ANN401 - as above
        kind = packet.stream.type
        self._numbers[kind] += 1
        offset = None if self._timeless else self._line.offset(kind, arrived_ns)
        with contextlib.suppress(ClosedError):
            self._channels[kind].push(Item(packet, self._numbers[kind], offset, arrived_ns))


def camera_time_ns(ticks: int, time_base: Any) -> int:  # noqa: ANN401 - a Fraction
    """Turn the ticks of a stream into nanoseconds of the camera's clock."""
    return int(ticks * time_base * NS_PER_S)
