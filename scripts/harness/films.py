"""Small films whose truth is known: white flashes and beeps at the same moments; and damage of meaning, not of bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CODECS = {
    "ts": ("mpeg2video", "mp2"),
    "mpg": ("mpeg2video", "mp2"),
    "mkv": ("mpeg4", "libopus"),
    "mp4": ("mpeg4", "aac"),
    "flv": ("flv", "aac"),
}
FLASH_S = 0.12
BEEP_HZ = 1000


@dataclass(frozen=True)
class Film:
    """What a film shows and how it is written.

    `marks_s`: when it flashes and beeps, at least 0.5 s apart. `shown_s`: times of its pictures, else 25 a second.
    `kept`: says by stream kind and number which packets are written. `moved_s`: what is added to their times.
    """

    seconds: float
    marks_s: tuple[float, ...]
    shown_s: tuple[float, ...] | None = None
    heard_until_s: float | None = None
    rate_hz: int = 48_000
    layout: str = "mono"
    kept: Callable[[str, int], bool] = lambda _kind, _number: True
    moved_s: Callable[[str, int], float] = lambda _kind, _number: 0.0
    codecs: tuple[str | None, str] | None = None
    options: dict[str, str] | None = None


@dataclass
class Perceived:
    """What the program sees and hears of a film, in seconds."""

    flashes_s: list[float] = field(default_factory=list)
    beeps_s: list[float] = field(default_factory=list)
    end_s: float = 0.0
    pictures: int = 0
    heard_s: float = 0.0
    warnings: set[str] = field(default_factory=set)


def write(path: Path, film: Film) -> Path:
    """Write a film; the file's ending says how."""
    video, audio = film.codecs or CODECS[path.suffix[1:]]
    with av.open(str(path), "w", options=film.options or {}) as sink:
        sound = sink.add_stream(audio, rate=film.rate_hz, layout=film.layout)
        packets: list[av.Packet[Any]] = []
        if video is not None:
            picture = sink.add_stream(video, rate=25, width=64, height=48, pix_fmt="yuv420p")
            packets = _pictures(picture, film)
        packets += _sound(sound, film)
        packets.sort(key=_due_s)
        numbers = {"video": 0, "audio": 0}
        for packet in packets:
            kind = packet.stream.type
            numbers[kind] += 1
            if film.kept(kind, numbers[kind] - 1):
                moved = round(film.moved_s(kind, numbers[kind] - 1) / packet.time_base)
                assert packet.pts is not None
                assert packet.dts is not None
                packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                sink.mux(packet)
    return path


def _due_s(packet: av.Packet[Any]) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _pictures(stream: av.VideoStream, film: Film) -> list[av.Packet[Any]]:
    shown_s = film.shown_s or np.arange(0, film.seconds, 0.04)
    packets = []
    for number, at_s in enumerate(shown_s):
        # Noise, since a file of 30 bytes a second is no film.
        image = np.random.default_rng(number).integers(0, 60, (48, 64, 3), np.uint8)
        if any(0 <= at_s - mark_s < FLASH_S for mark_s in film.marks_s):
            image += 190
        frame = av.VideoFrame.from_ndarray(image, "rgb24")
        frame.pts, frame.time_base = round(at_s * 25), Fraction(1, 25)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _sound(stream: av.AudioStream, film: Film) -> list[av.Packet[Any]]:
    length_s = film.seconds if film.heard_until_s is None else film.heard_until_s
    times_s = np.arange(int(length_s * film.rate_hz)) / film.rate_hz
    on = np.zeros(len(times_s), bool)
    for mark_s in film.marks_s:
        on |= (times_s >= mark_s) & (times_s < mark_s + FLASH_S)
    mono = np.where(on, 0.7 * np.sin(2 * np.pi * BEEP_HZ * times_s), 0.0)
    channels = av.AudioLayout(film.layout).nb_channels
    pcm = np.repeat((mono * 32767).astype(np.int16), channels)[None, :]
    frame = av.AudioFrame.from_ndarray(pcm, "s16", film.layout)
    frame.sample_rate, frame.pts = film.rate_hz, 0
    context = stream.codec_context
    context.open()
    resampler = av.AudioResampler(context.format, context.layout, film.rate_hz, frame_size=context.frame_size or 1024)
    packets = [packet for part in resampler.resample(frame) for packet in stream.encode(part)]
    packets += [packet for part in resampler.resample(None) for packet in stream.encode(part)]
    return packets + stream.encode(None)


def perceive(path: Path) -> Perceived:
    """Read a film as a replay does, and check what holds for every file."""
    media = MediaFile(path, CameraConfig(max_fps=120, idle_fps=120))
    seen = Perceived()
    media.on_warning = lambda _kind, cause: seen.warnings.add(cause)
    lit, sounding, line_ns, last_due_ns = False, False, 0, 0
    for item in media.items(0):
        due_ns = item.t_ns if isinstance(item, Frame) else item.end_ns
        assert last_due_ns <= due_ns
        last_due_ns = due_ns
        if isinstance(item, Frame):
            seen.pictures += 1
            bright = item.image.mean() > 125
            if bright and not lit:
                seen.flashes_s.append(item.t_ns / NS_PER_S)
            lit = bright
        else:
            assert item.t_ns >= line_ns - 1_000_000
            line_ns = item.end_ns
            seen.heard_s += len(item.samples) / SAMPLE_RATE_HZ
            sounding = _heard(item, seen.beeps_s, sounding=sounding)
    seen.end_s = last_due_ns / NS_PER_S
    return seen


def _heard(chunk: Chunk, beeps_s: list[float], *, sounding: bool) -> bool:
    """Note the beginnings of beeps to 5 ms; returns whether it sounds at the end."""
    for begin in range(0, len(chunk.samples), 80):
        part = chunk.samples[begin : begin + 80]
        at_s = chunk.t_ns / NS_PER_S + begin / SAMPLE_RATE_HZ
        loud = float(np.abs(part).max()) > 0.3
        if loud and not sounding and (not beeps_s or at_s - beeps_s[-1] > 2 * FLASH_S):
            beeps_s.append(at_s)
        sounding = loud
    return sounding


def joined(path: Path, parts: Sequence[Path]) -> Path:
    """Put files together as `cat` does."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def time_fields(data: bytes) -> list[int]:
    """Where the time stamps of an MPEG transport stream are: offsets of the 5 bytes of each PTS and DTS."""
    found = []
    for packet in range(0, len(data) - 187, 188):
        adapted = data[packet + 3] & 0x20
        payload = packet + 4 + (1 + data[packet + 4] if adapted else 0)
        begins = data[packet + 1] & 0x40 and data[payload : payload + 3] == b"\x00\x00\x01"
        if begins and data[payload + 3] & 0xC0 == 0xC0:
            flags = data[payload + 7] >> 6
            found += [payload + 9] * (flags >= 2) + [payload + 14] * (flags == 3)
    return found
