"""The media of a recording as files that players and ELAN take: Matroska with the JPEGs and the sound, and a WAV.

Second 0 of both is second 0 of the tables. Nothing is encoded again; where nothing was recorded, the WAV is silent.
"""

from __future__ import annotations

import contextlib
import wave
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from realtime.errors import SourceError
from realtime.recording.journal import MEDIA, decode
from realtime.recording.media_tap import decode_media
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.recording.reader import Recording

WIDTH = 2
"""Bytes a sample."""
SLACK = SAMPLE_RATE_HZ // 25
"""So far sound may be from where its time puts it; beyond, silence fills the gap, or what overlaps goes."""
LONGEST = 36 * 3600 * SAMPLE_RATE_HZ
"""Samples that a WAV can hold."""
MS = NS_PER_S // 1000


@dataclass
class Contents:
    """What media a recording holds: the size of its first picture, whether there is sound, and its second 0."""

    size: tuple[int, int] | None = None
    sound: bool = False
    begin_ns: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return self.size is not None or self.sound


@dataclass
class Placing:
    """Puts blocks of sound where their times say, without clicks from the jitter of clocks."""

    samples: int = 0

    def place(self, at: int, pcm: bytes) -> tuple[int, bytes]:
        """Return the silence before a block (samples) and what is left of the block that begins at sample `at`."""
        gap = at - self.samples
        if gap < -SLACK:
            pcm = pcm[min(len(pcm), -gap * WIDTH) :]
        silence = gap if gap > SLACK else 0
        self.samples += silence + len(pcm) // WIDTH
        return silence, pcm


def contents(recording: Recording) -> Contents:
    """Look what is inside.

    Raises:
        SourceError: the recording is damaged.
    """
    found = Contents()
    for at_ns, topic, data in recording.raw():
        if topic == "begin":
            found.begin_ns = decode(at_ns, topic, data).item
        elif topic == "audio":
            found.sound = True
        elif topic == "video" and found.size is None:
            found.size = _size(_read(recording, data)[1])
    return found


def write_film(recording: Recording, found: Contents, film: IO[bytes], sound: IO[bytes] | None) -> None:
    """Write what there is into a Matroska file, and its sound into a WAV; both stay open.

    Raises:
        OSError: a file can't be written.
        SourceError: the recording is damaged.
    """
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(film, "w", format="matroska"))
        picture = None
        if found.size is not None:
            picture = container.add_mux_stream("mjpeg", rate=5, width=found.size[0], height=found.size[1])
            picture.time_base = Fraction(1, 1000)
        track, out = None, None
        if found.sound and sound is not None:
            track = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
            out = stack.enter_context(wave.open(sound, "wb"))
            out.setparams((1, WIDTH, SAMPLE_RATE_HZ, 0, "NONE", ""))
        placing, last_ms = Placing(), -1
        for t_ns, topic, data in _media(recording, found.begin_ns or 0):
            if topic == "video" and picture is not None and t_ns // MS > last_ms:
                last_ms = t_ns // MS
                _mux(container, picture, data, last_ms, Fraction(1, 1000))
            elif topic == "audio" and track is not None and out is not None:
                at = t_ns * SAMPLE_RATE_HZ // NS_PER_S
                if at > LONGEST:
                    raise SourceError(f"{recording.path}: damaged: sound {at // SAMPLE_RATE_HZ} s after the beginning")
                silence, pcm = placing.place(at, data)
                _silence(out, silence)
                out.writeframesraw(pcm)
                if pcm:
                    begin = placing.samples - len(pcm) // WIDTH
                    _mux(container, track, pcm, begin, Fraction(1, SAMPLE_RATE_HZ))


def _media(recording: Recording, begin_ns: int) -> Iterator[tuple[int, str, bytes]]:
    """Media at its time since the session began; what was taken before that is left out."""
    for _, topic, data in recording.raw():
        if topic in MEDIA:
            t_ns, content = _read(recording, data)
            if t_ns >= begin_ns:
                yield t_ns - begin_ns, topic, content


def _read(recording: Recording, data: bytes) -> tuple[int, bytes]:
    try:
        return decode_media(data)
    except ValueError as error:
        raise SourceError(f"{recording.path}: damaged media: {error}"[:200]) from None


def _size(jpeg: bytes) -> tuple[int, int] | None:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    return None if image is None else (image.shape[1], image.shape[0])


def _mux(container: Any, stream: Any, data: bytes, pts: int, base: Fraction) -> None:  # noqa: ANN401 - PyAV's own
    packet = av.Packet(data)
    packet.stream, packet.time_base, packet.is_keyframe = stream, base, True
    packet.pts = packet.dts = pts
    container.mux_one(packet)


def _silence(out: wave.Wave_write, samples: int) -> None:
    while samples > 0:
        step = min(samples, SAMPLE_RATE_HZ)
        out.writeframesraw(bytes(step * WIDTH))
        samples -= step
