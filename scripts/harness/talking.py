"""Clips of a talking person, made of the demo's portrait and voice: tests and soak need no corpus for them.

A clip is made once and kept beside the models; the name of its file holds a hash of what made it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from models import catalogue, zoo
from realtime.capture.resample import Resampler
from realtime.demo import clip as demo
from realtime.demo import face_animation, warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from realtime.types import Floats

_ROWS = slice(30, 390)  # of the demo's 640x480: 16:9 with the whole head
_TRACK_RATE_HZ = 44_100
_READ_S = 42.0


@dataclass(frozen=True)
class Take:
    """A stretch of the reading of "A Tale of Two Cities", in seconds of it, and the words that lie in it."""

    name: str
    begin_s: float
    end_s: float
    text: str
    fps: int


BEST = Take("best", 1.15, 1.15 + 100 / 30, "it was the best of times it was the worst of times", 30)
WISDOM = Take("wisdom", 4.85, 8.65, "it was the age of wisdom it was the age of foolishness", 20)
TAKES = (BEST, WISDOM)

SENTENCES = (
    Take("times", 0.5, 4.85, "it was the best of times it was the worst of times", 20),
    Take("ages", 4.85, 8.65, "it was the age of wisdom it was the age of foolishness", 20),
    Take("epochs", 8.65, 13.2, "it was the epoch of belief it was the epoch of incredulity", 20),
    Take("seasons", 13.2, 17.2, "it was the season of light it was the season of darkness", 20),
    Take("hope", 17.2, 20.9, "it was the spring of hope it was the winter of despair", 20),
    Take("us", 20.9, 24.5, "we had everything before us we had nothing before us", 20),
)
"""The reading sentence by sentence, cut in its pauses: for tests that need sound only."""


def film(take: Take) -> Path:
    """Return a take as mp4: H.264 of 640x360, AAC in stereo at 44.1 kHz; made first when it is not there.

    Raises:
        models.zoo.ZooError: a file it is made from cannot be fetched or is damaged.
    """
    modules = (demo, face_animation, warp, catalogue)
    sources = [Path(__file__), *(Path(module.__file__ or "") for module in modules)]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    path = zoo.cache().parent / "talking" / f"{take.name}-{version}.mp4"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        try:
            _shoot(take, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        for older in set(path.parent.glob(f"{take.name}-*.mp4")) - {path}:
            older.unlink(missing_ok=True)
    return path


def sound(take: Take) -> Floats:
    """Return the sound of a take as it was recorded, (N,) float32 at 16 kHz."""
    voice, rate_hz = _voice()
    resampler = Resampler()
    stretch = voice[int(take.begin_s * rate_hz) : int(take.end_s * rate_hz)]
    return np.concatenate([resampler.feed_array(stretch[:, None], rate_hz), resampler.flush()])


@functools.cache
def _voice() -> tuple[NDArray[np.float32], int]:
    return demo.read_voice(zoo.path("demo-voice"), _READ_S)


@functools.cache
def _animator() -> face_animation.PortraitAnimator:
    return demo.animator(zoo.path("demo-face"), zoo.path("face"))


def _shoot(take: Take, path: Path) -> None:
    voice, rate_hz = _voice()
    times_s = take.begin_s + np.arange(round((take.end_s - take.begin_s) * take.fps)) / take.fps
    poses = demo.poses_for(voice, rate_hz, times_s)
    edges = np.round(np.append(times_s, take.end_s) * rate_hz).astype(int)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=take.fps)
        picture.width, picture.height, picture.pix_fmt = demo.SIZE[0], _ROWS.stop - _ROWS.start, "yuv420p"
        picture.bit_rate = 1_000_000
        # Without B-frames picture and sound lie in the file in the order of their times.
        picture.codec_context.options = {"preset": "superfast", "bf": "0"} if "264" in picture.codec.name else {}
        track = out.add_stream("aac", rate=_TRACK_RATE_HZ, layout="stereo")
        for number, pose in enumerate(poses):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(_animator().draw(pose)[_ROWS]), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, take.fps)
            out.mux(picture.encode(image))
            begin, end = edges[number], edges[number + 1]
            block = av.AudioFrame.from_ndarray(voice[None, begin:end], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate_hz, int(begin - edges[0]), Fraction(1, rate_hz)
            out.mux(track.encode(block))
        out.mux(picture.encode(None))
        out.mux(track.encode(None))
