"""The demo clip: a portrait reads "A Tale of Two Cities"; the camera is lost once, and once noise drowns the voice.

It is built once, from two files a package index carries, into the user's cache; the file's name holds a hash of what
built it. `python -m realtime.demo` builds it and says where it is.
"""

from __future__ import annotations

import hashlib
import os
import time
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models import catalogue, zoo
from realtime.demo import face_animation, warp
from realtime.demo.face_animation import Pose

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FRAME_RATE = 20
SIZE = (640, 480)  # width, height
_CROP = (slice(0, 240), slice(65, 385))  # of the portrait: head and shoulders, 4:3
LEFT_BEHIND_S = 600.0
"""A part of a clip that has not grown for so long belongs to a process that was killed."""
_NOISE_SEED = 1859
_BLINKS_S = (1.4, 4.9, 7.7, 9.3, 16.2, 19.6, 22.9, 26.0, 28.9, 32.4, 36.1, 39.5)
# Second, sober, frown, surprise: the face follows the words, from the best of times to the worst.
_MOODS = np.array(
    [
        (0.0, 0.2, 0.0, 0.0),
        (2.6, 0.0, 0.0, 0.3),  # the best of times
        (4.3, 1.0, 1.0, 0.0),  # the worst of times
        (6.6, 0.1, 0.0, 0.3),  # the age of wisdom
        (8.4, 0.9, 0.8, 0.0),  # the age of foolishness
        (10.2, 0.1, 0.0, 0.3),  # the epoch of belief
        (12.6, 0.8, 0.3, 0.9),  # the epoch of incredulity
        (14.9, 0.0, 0.0, 0.3),  # the season of light
        (16.6, 1.0, 0.9, 0.0),  # the season of darkness
        (18.9, 0.0, 0.0, 0.4),  # the spring of hope
        (20.6, 1.0, 1.0, 0.0),  # the winter of despair
        (22.6, 0.2, 0.0, 0.5),  # we had everything before us
        (24.2, 0.9, 0.5, 0.0),  # we had nothing before us
        (28.4, 1.0, 0.9, 0.0),  # going direct the other way
        (31.0, 0.5, 0.1, 0.2),
        (37.4, 0.1, 0.0, 0.4),  # for good
        (38.4, 0.9, 0.8, 0.0),  # or for evil
        (41.5, 0.1, 0.0, 0.2),
    ]
)


@dataclass(frozen=True)
class DemoPlan:
    """What happens when in the clip, in seconds of its own time."""

    duration_s: float = 42.0
    camera_lost_s: tuple[float, float] = (10.0, 14.5)
    noise_s: tuple[float, float] = (21.0, 26.0)
    snr_db: float = -5.0


def clip() -> Path:
    """The demo clip in the user's cache, built first when it is not there (about 15 s).

    Raises:
        models.zoo.ZooError: a file it is built from cannot be fetched or is damaged.
    """
    sources = b"".join(Path(module.__file__ or "").read_bytes() for module in (face_animation, warp, catalogue))
    version = hashlib.sha256(Path(__file__).read_bytes() + sources).hexdigest()[:12]
    path = zoo.cache().parent / "demo" / f"two-cities-{version}.mp4"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        build_demo(path)
        left_behind_s = time.time() - LEFT_BEHIND_S
        for older in set(path.parent.glob("*two-cities-*.mp4")) - {path}:
            if not older.name.startswith(".") or older.stat().st_mtime < left_behind_s:
                older.unlink(missing_ok=True)
    return path


def build_demo(path: Path, progress: Callable[[float], None] | None = None) -> DemoPlan:
    """Write the clip to `path` (mp4: H.264 at 20 frames/s, AAC mono at 48 kHz) and return its script.

    The lost camera is a gap in the presentation times of the picture; the sound goes on.

    Args:
        path: the file to write; it appears complete or not at all.
        progress: told the share done, 0 to 1.
    """
    plan = DemoPlan()
    voice, rate = read_voice(zoo.path("demo-voice"), plan.duration_s)
    times_s = np.arange(int(plan.duration_s * FRAME_RATE)) / FRAME_RATE
    actor = animator(zoo.path("demo-face"), zoo.path("face"))
    lost_from, lost_to = plan.camera_lost_s
    poses = [
        (t, p) for t, p in zip(times_s, poses_for(voice, rate, times_s), strict=True) if not lost_from <= t < lost_to
    ]
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    try:
        _encode(partial, actor, poses, with_noise(voice, rate, plan), rate, progress or (lambda _: None))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return plan


def poses_for(voice: NDArray[np.float32], rate: int, times_s: NDArray[np.float64]) -> list[Pose]:
    """The puppet's pose at each time: the mouth follows the voice's level, brows and mouth corners the script."""
    half = rate // 25
    centres = (times_s * rate).astype(int)
    power = np.array([np.mean(np.square(voice[max(c - half, 0) : c + half]), dtype=np.float64) for c in centres])
    level_db = 10 * np.log10(np.maximum(power / np.percentile(power, 95), 1e-6))
    open_ = np.clip(1 + level_db / 25, 0, 1) ** 1.5
    open_ = np.convolve(np.pad(open_, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    sober, frown, surprise = (np.interp(times_s, _MOODS[:, 0], column) for column in _MOODS[:, 1:].T)
    blink = np.max([np.clip(1.4 - np.abs(times_s - at) / 0.09, 0, 1) for at in _BLINKS_S], axis=0)

    def sway(hz: float, phase: float) -> NDArray[np.float64]:
        return np.asarray(np.sin(2 * np.pi * (hz * times_s + phase)))

    yaw: NDArray[np.float64] = 0.10 * sway(0.13, 0.0) + 0.03 * sway(0.37, 0.2)
    pitch = 0.05 * sway(0.21, 0.4) + 0.04 * open_
    roll = 0.035 * sway(0.11, 0.3)
    jaw = 0.9 * open_ - 0.25 * sober * (1 - open_)
    return [Pose(*map(float, row)) for row in zip(jaw, sober, frown, surprise, blink, yaw, pitch, roll, strict=True)]


def with_noise(voice: NDArray[np.float32], rate: int, plan: DemoPlan) -> NDArray[np.float32]:
    """The voice with white noise over the scripted stretch, `plan.snr_db` below (or above) its level there."""
    first, last = (int(edge * rate) for edge in plan.noise_s)
    stretch = voice[first:last].astype(np.float64)
    noise = np.random.default_rng(_NOISE_SEED).normal(size=len(stretch))
    noise *= np.sqrt(np.mean(stretch**2) / 10 ** (plan.snr_db / 10))
    ramp = np.clip(np.arange(len(noise)) / (0.05 * rate), 0, 1)
    heard: NDArray[np.float32] = voice.copy()
    heard[first:last] = np.clip(stretch + noise * np.minimum(ramp, ramp[::-1]), -1, 1)
    return heard


def read_voice(path: Path, duration_s: float) -> tuple[NDArray[np.float32], int]:
    """The first `duration_s` of a mono 16-bit wave file, in [-1, 1], and its rate in Hz."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(int(duration_s * rate)), dtype="<i2")
    return (samples / 32768).astype(np.float32), rate


def animator(portrait: Path, landmark_model: Path) -> face_animation.PortraitAnimator:
    """The head and shoulders of the portrait, `SIZE` large and ready to be drawn in any pose.

    Raises:
        models.zoo.ZooError: the portrait cannot be read.
    """
    import cv2  # noqa: PLC0415 - heavy, and only building needs it

    whole = cv2.imread(str(portrait))
    if whole is None:
        raise zoo.ZooError(f"{portrait} is no picture that OpenCV can read")
    crop = cv2.cvtColor(whole, cv2.COLOR_BGR2RGB)[_CROP]
    picture = np.asarray(cv2.resize(crop, SIZE, interpolation=cv2.INTER_CUBIC)).astype(np.uint8)
    return face_animation.PortraitAnimator(picture, face_animation.find_landmarks(picture, landmark_model))


def _encode(
    path: Path,
    actor: face_animation.PortraitAnimator,
    poses: list[tuple[float, Pose]],
    voice: NDArray[np.float32],
    rate: int,
    progress: Callable[[float], None],
) -> None:
    import av  # noqa: PLC0415 - heavy, and only building needs it

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=FRAME_RATE)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.bit_rate = 1_500_000
        # Without B-frames the packets lie in the file in the order of their times, across the gap too.
        video.codec_context.options = {"preset": "superfast", "bf": "0"} if codec == "libx264" else {}
        sound = out.add_stream("aac", rate=rate, layout="mono")
        written = 0
        for count, (time_s, pose) in enumerate(poses):
            frame = av.VideoFrame.from_ndarray(actor.draw(pose), format="rgb24")
            frame.pts, frame.time_base = round(time_s * FRAME_RATE), Fraction(1, FRAME_RATE)
            out.mux(video.encode(frame))
            upto = len(voice) if count + 1 == len(poses) else int(time_s * rate)
            block = av.AudioFrame.from_ndarray(voice[None, written:upto], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate, written, Fraction(1, rate)
            if upto > written:
                out.mux(sound.encode(block))
            written = upto
            progress((count + 1) / len(poses))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
