"""Deliberate damage to what a camera and a microphone deliver, before any extractor sees it; reproducible by seed.

KIND:LEVEL - noise:SNR_DB (white noise), babble:SNR_DB (the clip's own reversed speech), drop:SHARE (bursts of frames),
cut:SHARE (bursts of sound), blur:SIGMA_PX, dark:GAIN, freeze:SECONDS, offset:SECONDS (sound after picture),
black:1 (picture black), mute:1 (silence), gone_face:1, gone_voice:1 (the device delivers nothing).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from realtime.types import NS_PER_S, Chunk, Frame, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOUND_ONLY = {"noise", "babble", "cut", "mute", "gone_voice", "offset"}
PICTURE_ONLY = {"drop", "blur", "dark", "black", "freeze", "gone_face"}
KINDS = ("clean", *sorted(SOUND_ONLY), *sorted(PICTURE_ONLY))
BURST_S = 0.4


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done and how much."""

    kind: str
    level: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Damage:
        """Read KIND:LEVEL.

        Raises:
            ValueError: the kind is unknown or the level no number.
        """
        kind, _, level = text.partition(":")
        if kind not in KINDS:
            raise ValueError(f"damage {text!r}: the kinds are {', '.join(KINDS)}")
        return cls(kind, float(level or 1.0))

    def __str__(self) -> str:
        return self.kind if self.kind == "clean" else f"{self.kind}:{self.level:g}"


def damaged(items: Iterable[Frame | Chunk], damage: Damage, seed_text: str) -> Iterator[Frame | Chunk]:
    """Damage the items of a clip; `seed_text` (the clip's name) makes the noise the same at every call."""
    items = list(items)
    rng = np.random.default_rng(zlib.crc32(f"{seed_text}/{damage}".encode()))
    chunks = [item for item in items if isinstance(item, Chunk)]
    frames = [item for item in items if isinstance(item, Frame)]
    new_chunks, new_frames = _sound(chunks, damage, rng), _picture(frames, damage, rng)
    both: list[Frame | Chunk] = [*new_chunks, *new_frames]
    yield from sorted(both, key=item_end_ns)


def _sound(chunks: list[Chunk], damage: Damage, rng: np.random.Generator) -> list[Chunk]:
    kind, level = damage.kind, damage.level
    if not chunks or kind == "gone_voice":
        return []
    sound = np.concatenate([chunk.samples for chunk in chunks])
    if kind in {"noise", "babble"}:
        noise = rng.standard_normal(sound.size) if kind == "noise" else np.roll(sound[::-1], sound.size // 3)
        sound = mixed(sound, noise.astype(np.float32), level)
    elif kind == "mute":
        sound = np.zeros_like(sound)
    begin_ns = chunks[0].t_ns
    shift_ns = int(level * NS_PER_S) if kind == "offset" else 0
    lost = _bursts(chunks, level, rng) if kind == "cut" else set()
    ends = np.cumsum([len(chunk.samples) for chunk in chunks])
    parts = np.split(sound, ends[:-1])
    return [
        replace(chunk, samples=part, t_ns=chunk.t_ns + shift_ns)
        for chunk, part in zip(chunks, parts, strict=True)
        if int((chunk.t_ns - begin_ns) / 1e9 / BURST_S) not in lost
    ]


def _picture(frames: list[Frame], damage: Damage, rng: np.random.Generator) -> list[Frame]:
    kind, level = damage.kind, damage.level
    if not frames or kind == "gone_face":
        return []
    begin_ns = frames[0].t_ns
    if kind == "drop":
        lost = _bursts(frames, level, rng)
        return [frame for frame in frames if int((frame.t_ns - begin_ns) / 1e9 / BURST_S) not in lost]
    if kind == "blur":
        return [replace(frame, image=_u8(cv2.GaussianBlur(frame.image, (0, 0), level))) for frame in frames]
    if kind in {"dark", "black"}:
        gain = level if kind == "dark" else 0.0
        return [replace(frame, image=_u8(cv2.convertScaleAbs(frame.image, alpha=gain))) for frame in frames]
    if kind == "freeze":
        stop_ns = max(begin_ns, frames[-1].t_ns - int(level * NS_PER_S))
        still = next(frame.image for frame in frames if frame.t_ns >= stop_ns)
        return [frame if frame.t_ns < stop_ns else replace(frame, image=still) for frame in frames]
    return frames


def mixed(sound: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio over the whole clip; scaled back where it would clip."""
    power = float(np.mean(sound**2)) or 1e-9
    gain = np.sqrt(power / 10 ** (snr_db / 10) / max(1e-12, float(np.mean(noise**2))))
    out = sound + gain * noise
    scaled: np.ndarray = (out / max(1.0, float(np.abs(out).max()))).astype(np.float32)
    return scaled


def _bursts(items: list[Chunk] | list[Frame], share: float, rng: np.random.Generator) -> set[int]:
    bursts = int((items[-1].t_ns - items[0].t_ns) / 1e9 / BURST_S) + 1
    return set(rng.permutation(bursts)[: round(share * bursts)].tolist())


def _u8(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image, np.uint8)
