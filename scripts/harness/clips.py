"""Clips, what is in them, and damage done to them: each kind of damage makes a new file and returns its path.

Made with PyAV and OpenCV, which the program needs anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig
from realtime.types import SAMPLE_RATE_HZ, Chunk, Frame

if TYPE_CHECKING:
    from pathlib import Path

MOST_FPS = 120.0


def frames(clip: Path) -> list[Frame]:
    """Return every picture of a clip, (H, W, 3) uint8 BGR, with times from 0."""
    media = MediaFile(clip, CameraConfig(max_fps=MOST_FPS))
    return [item for item in media.items(0) if isinstance(item, Frame)]


def sound(clip: Path) -> np.ndarray:
    """Return the sound of a clip, (N,) float32 at 16 kHz."""
    media = MediaFile(clip, CameraConfig())
    return np.concatenate([item.samples for item in media.items(0) if isinstance(item, Chunk)])


def jpegs(clip: Path, size: tuple[int, int] = (640, 480), fps: float = 25.0) -> list[bytes]:
    """Return the pictures of a clip as a webcam would send them: JPEGs of (width, height), so many per second."""
    pictures = frames(clip)
    times_s = np.array([picture.t_ns / 1e9 for picture in pictures])
    wanted = np.searchsorted(times_s, np.arange(0, times_s[-1], 1 / fps), side="right") - 1
    return [encoded(cv2.resize(pictures[index].image, size)) for index in np.maximum(wanted, 0)]


def black_jpegs(size: tuple[int, int] = (640, 480), count: int = 25, seed: int = 0) -> list[bytes]:
    """Return what a webcam sends with its lens covered: black with the noise of its sensor, no two alike."""
    rng = np.random.default_rng(seed)
    return [encoded(rng.integers(0, 6, (size[1], size[0], 3), np.uint8)) for _ in range(count)]


def encoded(image: np.ndarray) -> bytes:
    """Return an image as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return data.tobytes()


def without_sound(clip: Path, folder: Path) -> Path:
    """Copy a clip without its sound."""
    return _copied(clip, folder / f"{clip.stem}-mute{clip.suffix}", "video")


def without_picture(clip: Path, folder: Path) -> Path:
    """Copy a clip without its picture."""
    return _copied(clip, folder / f"{clip.stem}-blind{clip.suffix}", "audio")


def with_sound(clip: Path, folder: Path, samples: np.ndarray, name: str = "sound") -> Path:
    """Copy a clip with other sound: (N,) float32 at 16 kHz, stored without loss."""
    return _copied(clip, folder / f"{clip.stem}-{name}.mkv", "video", samples)


def with_noise(clip: Path, folder: Path, snr_db: float = -5.0, seed: int = 0) -> Path:
    """Copy a clip with white noise in its sound, at this signal-to-noise ratio over the whole clip."""
    speech = sound(clip)
    noise = np.random.default_rng(seed).standard_normal(len(speech)).astype(np.float32)
    noise *= np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    mixed = speech + noise
    return with_sound(clip, folder, mixed * min(1.0, 0.99 / np.abs(mixed).max()), f"noise{snr_db:+g}dB")


def cut_off(clip: Path, folder: Path, share: float = 0.6) -> Path:
    """Keep the first bytes of a clip only; a clip whose index is at its end (most mp4) becomes unreadable by that."""
    path = folder / f"{clip.stem}-cut{clip.suffix}"
    data = clip.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def with_index_first(clip: Path, folder: Path) -> Path:
    """Copy a clip into an mp4 with its index at the front, which survives being cut off."""
    return _copied(clip, folder / f"{clip.stem}-faststart.mp4", "video audio", options={"movflags": "faststart"})


def recoded(clip: Path, folder: Path, suffix: str) -> Path:
    """Copy a clip as another kind of file with the codecs that are usual in it; what it holds is what they leave."""
    target = folder / f"{clip.stem}{suffix}"
    codecs = {".flv": ("flv", "libmp3lame"), ".mpg": ("mpeg1video", "mp2"), ".ogg": (None, "libopus")}[suffix]
    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        streams = {}
        if codecs[0] is not None:
            picture = source.streams.video[0]
            rate, size = picture.average_rate, {"width": picture.width, "height": picture.height}
            streams[picture.index] = sink.add_stream(codecs[0], rate=rate, pix_fmt="yuv420p", **size)
        heard = source.streams.audio[0]
        rate_hz = 48_000 if codecs[1] == "libopus" else heard.rate
        streams[heard.index] = sink.add_stream(codecs[1], rate=rate_hz, layout="stereo")
        for frame in source.decode([source.streams[index] for index in streams]):
            if isinstance(frame, av.VideoFrame):
                frame.pict_type = av.video.frame.PictureType.NONE  # the new codec chooses for itself
                sink.mux(streams[picture.index].encode(frame))
            else:
                sink.mux(streams[heard.index].encode(frame))
        for stream in streams.values():
            sink.mux(stream.encode(None))
    return target


def empty(folder: Path) -> Path:
    """Make a file of 0 bytes."""
    path = folder / "empty.mp4"
    path.touch()
    return path


def turned(clip: Path, folder: Path, degrees: int) -> Path:
    """Copy the picture of a clip with the mark that says how far it lies on its side, as phones record."""
    return _copied(clip, folder / f"{clip.stem}-turned.mp4", "video", turn=degrees)


def _copied(
    clip: Path,
    target: Path,
    kinds: str,
    samples: np.ndarray | None = None,
    options: dict[str, str] | None = None,
    turn: int | None = None,
) -> Path:
    with av.open(str(clip)) as source, av.open(str(target), "w", options=options or {}) as sink:
        streams = {}
        for kind in kinds.split():
            for stream in [stream for stream in source.streams if stream.type == kind][:1]:
                streams[stream.index] = sink.add_stream_from_template(stream)
                if turn is not None:
                    streams[stream.index].set_display_rotation(turn)
        if samples is not None:
            pcm = sink.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        for packet in source.demux([source.streams[index] for index in streams]):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
        if samples is not None:
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None, :], "s16", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
            sink.mux([*pcm.encode(frame), *pcm.encode(None)])
    return target
