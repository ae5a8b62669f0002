"""A network camera (RTSP, or MJPEG and others over HTTP): picture and sound of one address in one connection, in sync.

Two devices share the connection, each in a watched thread of its own: sound never waits for pictures, and pictures that
come or are decoded too late are left out (`KeepUp`), so that after a stall the newest is seen first.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from av.error import FFmpegError

from realtime.capture.connection import CHECK, Connection, camera_time_ns
from realtime.capture.media import upright
from realtime.capture.player import LATE_NS, KeepUp, Slowness
from realtime.capture.soundline import SoundLine
from realtime.errors import AbsentError, DeviceError, UsageError
from realtime.runtime.channel import ClosedError
from realtime.system.address import public_address, with_password
from realtime.types import NS_PER_S, Chunk, Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.capture.camera import Limit
    from realtime.capture.connection import Item
    from realtime.capture.resample import Resampler
    from realtime.clock import Clock
    from realtime.config.schema import CameraConfig, MicrophoneConfig
    from realtime.types import Event, Floats

NO_PICTURE_S = 10.0
"""A camera sends a picture that needs none before it more often than this."""
REFUSED_S = 30.0
"""A password that was refused is tried again no sooner: many cameras lock out who tries too often."""
MOST_HUNG = 4
"""So many connections that FFmpeg does not let go of, then no new one is made."""
MARGIN_S = 0.5
"""Opening waits so much longer than FFmpeg may take, to hear what it says."""
HOLE_NS = 15_000_000
"""A step of the camera's times beyond this is sound that was lost on the way, if it is late by as much."""


class NetworkCamera:
    """The address of a camera, and the one connection to it that its picture and its sound share.

    Args:
        address: a URL; a password may be missing (see `with_password`).
        config: time-outs, where the password is, and how RTSP is carried.
        clock: for times and time-outs.
        sound: whether the sound of the camera is asked for.
    """

    def __init__(self, address: str, config: CameraConfig, clock: Clock, *, sound: bool) -> None:
        self.public = public_address(address)
        self.config, self.clock = config, clock
        self._address = address
        self._kinds = ("video", "audio") if sound else ("video",)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._users: dict[str, Half] = {}
        self._told: dict[str, Connection] = {}
        self._ended: list[Connection] = []
        self._refused: tuple[str, int, str] | None = None

    def join(self, half: Half) -> Connection:
        """Return a connection that delivers, the other half's or a new one; to be left with `leave`.

        Raises:
            DeviceError: there is none; the message says what to try.
        """
        with self._lock:
            connection = self._shared(half) or self._new(half)
            self._users[half.kind], self._told[half.kind] = half, connection
        if not connection.opened.wait(self.config.open_timeout_s + MARGIN_S):
            connection.end()
            raise DeviceError(f"{half.name}: does not answer; {CHECK}")
        if connection.failure is not None:
            if connection.refused:
                self._refused = connection.address, self.clock.now_ns(), connection.failure
            raise DeviceError(f"{half.name}: {connection.failure}")
        if half.kind not in connection.contexts:
            raise AbsentError(f"{half.name}: the camera sends no {half.delivers}")
        return connection

    def leave(self, half: Half) -> None:
        """Let go of the connection, which ends with the last that uses it."""
        with self._lock:
            if self._users.get(half.kind) is half:
                del self._users[half.kind]
                if not self._users and self._connection is not None:
                    self._connection.end()

    def _shared(self, half: Half) -> Connection | None:
        connection = self._connection
        # One of its kind that never left hangs in the decoder, which nobody else may touch.
        if connection is None or half.kind in self._users:
            return None
        # One that failed for the other half is not tried again before both have heard of it.
        return connection if connection.running or self._told.get(half.kind) is not connection else None

    def _new(self, half: Half) -> Connection:
        try:
            address = with_password(self._address, self.config.password_file)
        except UsageError as error:
            raise DeviceError(f"{half.name}: {error}") from None
        if self._refused is not None:
            refused, since_ns, why = self._refused
            if refused == address and self.clock.now_ns() - since_ns < REFUSED_S * NS_PER_S:
                raise DeviceError(f"{half.name}: {why}")
        if self._connection is not None:
            self._connection.end()
            self._ended.append(self._connection)
        self._ended = [each for each in self._ended if each.hangs]
        if len(self._ended) >= MOST_HUNG:
            raise DeviceError(f"{half.name}: does not answer; {CHECK}")
        self._connection = Connection(f"camera {self.public}", address, self._kinds, self.config, self.clock)
        return self._connection


class Half:
    """What picture and sound of a network camera have in common: a stream of packets, and why there is none.

    Args:
        camera: whose connection is shared.
        read_s: without a packet for so long it counts as stalled.
    """

    kind: str
    delivers: str
    misses: str

    def __init__(self, camera: NetworkCamera, name: str, read_s: float) -> None:
        self.name = name
        self._camera, self._read_s = camera, read_s
        self._connection: Connection | None = None
        self._first: Item | None = None
        self._number = 0

    def open(self) -> None:
        """Connect, or join the connection of the other half, and wait for the first packet.

        Raises:
            DeviceError: there is no connection, or nothing of this kind comes; the message says what to try.
        """
        self.close()
        self._connection = self._camera.join(self)
        try:
            self._first = self._connection.pop(self.kind, self._camera.config.open_timeout_s)
        except TimeoutError:
            self._silent(self._connection)
            raise DeviceError(f"{self.name}: opens but delivers no {self.misses}; {CHECK}") from None
        except ClosedError:
            raise DeviceError(f"{self.name}: {self._connection.cause}") from None
        self._number = self._first.number - 1

    def close(self) -> None:
        """Let go of the connection."""
        self._connection = self._first = None
        self._camera.leave(self)

    def _silent(self, connection: Connection) -> None:
        """Do what helps when nothing of this kind comes, though the connection stands."""

    def _decoded(self) -> list[tuple[Any, int]]:
        """Wait for a packet; return what it decodes to, and when each was taken by our clock."""
        if self._connection is None:
            raise DeviceError(f"{self.name}: is not open")
        item, self._first = self._first, None
        if item is None:
            try:
                item = self._connection.pop(self.kind, self._read_s)
            except TimeoutError:
                raise DeviceError(f"{self.name}: no {self.misses} for {self._read_s:.1f} s") from None
            except ClosedError:
                raise DeviceError(f"{self.name}: {self._connection.cause}") from None
        context = self._connection.contexts[self.kind]
        if item.number != self._number + 1:
            context.flush_buffers()  # what follows a hole must not be made of what was before it
        self._number = item.number
        if not self._lets_through(item, context):
            return []
        try:
            return [(each, _taken_ns(each.pts, each.time_base, item)) for each in context.decode(item.packet)]
        except (FFmpegError, EOFError, IndexError):  # the next packet may be fine
            return []

    def _lets_through(self, item: Item, context: Any) -> bool:  # noqa: ANN401, ARG002 - PyAV's; for those that choose
        return True


class Picture(Half):
    """The picture of a network camera, a device that delivers frames.

    Args:
        camera: whose picture it is.
        limit: says which pictures are looked at.
        tell: takes the event of pictures that are left out because they are too late, and of their end.
        comes_late: is told how much later than the sound of the same moment pictures come by themselves, in ns.
    """

    kind, delivers, misses = "video", "picture", "frame"

    def __init__(
        self,
        camera: NetworkCamera,
        limit: Limit,
        tell: Callable[[Event], None],
        comes_late: Callable[[int], None],
    ) -> None:
        super().__init__(camera, f"camera {camera.public}", camera.config.read_timeout_s)
        self._clock, self._comes_late = camera.clock, comes_late
        self._present = _Present(camera.clock)
        cause = f"{self.name}: pictures arrive or are decoded too late here; late ones are left out"
        slowness = Slowness("camera", cause, camera.clock, tell)
        self._gate = KeepUp(limit, self._present, slowness, LATE_NS // 2)
        self._last_ns = -1
        self._ready: deque[Frame] = deque()

    def read(self) -> Frame:
        """Wait for the next picture that is in time and within the rate.

        Raises:
            DeviceError: the camera went away, stalled, or sends no picture.
        """
        begin_ns = empty_ns = self._clock.now_ns()
        while not self._ready:
            pictures = self._decoded()
            for picture, t_ns in pictures:
                if t_ns > self._last_ns and not picture.is_corrupt and self._gate.admits(t_ns + self._present.lag_ns):
                    self._last_ns = t_ns
                    self._ready.append(Frame(t_ns, upright(picture)))
            empty_ns = self._clock.now_ns() if pictures else empty_ns
            if self._clock.now_ns() - max(begin_ns, empty_ns) > NO_PICTURE_S * NS_PER_S:
                raise DeviceError(f"{self.name}: sends data but no picture; let it send key frames more often")
        return self._ready.popleft()

    def _lets_through(self, item: Item, context: Any) -> bool:  # noqa: ANN401 - PyAV's own type
        packet = item.packet
        ticks = packet.dts if packet.pts is None else packet.pts
        t_ns = _taken_ns(ticks, packet.time_base, item)
        self._present.lag_ns = 0 if item.offset is None else item.offset.lag_ns
        self._comes_late(self._present.lag_ns)
        passes = self._gate.decodes(t_ns + self._present.lag_ns, key=packet.is_keyframe)
        if context.skip_frame != self._gate.skip:
            context.skip_frame = self._gate.skip
        return passes

    def _silent(self, connection: Connection) -> None:
        """Connect anew: without its picture a camera is of little use."""
        connection.end()


class Sound(Half):
    """The sound of a network camera, a device that delivers chunks.

    Args:
        camera: whose sound it is.
        config: its `read_timeout_s` counts.
    """

    kind, delivers, misses = "audio", "sound: choose a microphone with --mic, or leave it out with --no-mic", "sound"

    def __init__(self, camera: NetworkCamera, config: MicrophoneConfig) -> None:
        super().__init__(camera, f"microphone {camera.public}", config.read_timeout_s)
        self._line: SoundLine | None = None
        self._form: tuple[Any, ...] = ()
        self._goes_on: tuple[int, int] | None = None
        self._ready: deque[Chunk] = deque()
        self._lost = 0

    def read(self) -> Chunk:
        """Wait for the next block.

        Raises:
            DeviceError: the camera went away, stalled, or sends no sound.
        """
        while not self._ready:
            for sound, t_ns in self._decoded():
                chunk = self._chunk(sound, t_ns)
                self._lost += chunk.lost_samples
                if len(chunk.samples):  # a resampler's first block may be held back altogether
                    self._ready.append(replace(chunk, lost_samples=self._lost))
                    self._lost = 0
        return self._ready.popleft()

    def _chunk(self, sound: Any, t_ns: int) -> Chunk:  # noqa: ANN401 - PyAV's own type
        form = sound.sample_rate, sound.format.name, sound.layout.name
        if self._line is None or form != self._form:
            self._line, self._form = SoundLine(sound.sample_rate), form
        skipped = self._skipped(sound, t_ns)

        def resampled(resampler: Resampler) -> Floats:
            return resampler.feed(sound)

        return self._line.feed(t_ns, sound.samples, resampled, skipped=skipped)

    def _skipped(self, sound: Any, t_ns: int) -> int:  # noqa: ANN401 - PyAV's own type
        """Samples that were lost before this block: the camera counts on, and what follows is late by as much."""
        before = self._goes_on
        length_ns = sound.samples * NS_PER_S // sound.sample_rate
        camera_ns = t_ns if sound.pts is None else camera_time_ns(sound.pts, sound.time_base)
        self._goes_on = camera_ns + length_ns, t_ns + length_ns
        if before is None:
            return 0
        hole_ns = min(camera_ns - before[0], t_ns - before[1])
        return hole_ns * int(sound.sample_rate) // NS_PER_S if hole_ns > HOLE_NS else 0


class _Present:
    """What is due of a live picture: what was taken just now, and as long ago as pictures take by themselves."""

    def __init__(self, clock: Clock) -> None:
        self.now_ns = clock.now_ns
        self.lag_ns = 0

    def stamp_ns(self, t_ns: int) -> int:
        return t_ns - self.lag_ns


def _taken_ns(ticks: int | None, time_base: Any, item: Item) -> int:  # noqa: ANN401 - a Fraction
    """When a picture or a block of sound was taken; what carries no time is as old as its arrival."""
    if item.offset is None or ticks is None:
        return item.arrived_ns
    return camera_time_ns(ticks, time_base) + item.offset.ahead_ns
