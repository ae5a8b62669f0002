"""Tapes, sentences and single faces as windows: what AGFN is trained on, built by the live window and reliability."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.clock import VirtualClock
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_INPUT_DIM
from realtime.extract.utterances import CONTEXT_S
from realtime.fuse.reliability import settled
from realtime.fuse.window import Window
from realtime.session.ticks import Ticks
from realtime.types import (
    MODALITIES,
    FaceFeatures,
    Reading,
    Segment,
    SpeechFrame,
    TextFeatures,
    Transcript,
    VoiceFeatures,
    WindowView,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime.config.schema import Config
    from realtime.extract.text import TextExtractor

DIMS = {"text": TEXT_DIM, "voice": VOICE_INPUT_DIM, "face": FACE_DIM}
WORDS_PER_S = 2.6
"""Speaking rate that a written sentence is laid out with; measured on CMU-MOSI."""

PICTURES_PER_S = 15.0


def replay(
    tape: tuple[list[tuple[int, Any]], dict[str, list[int]]],
    text: TextExtractor | None,
    config: Config,
    *,
    every: int = 1,
) -> Iterator[tuple[WindowView, bool]]:
    """Yield the windows of a tape as the live session would close them, and whether each is the last.

    Args:
        tape: items with their arrival, and the sample times of each device.
        text: embeds the transcripts; None leaves text off.
        config: window length, hop and lateness.
        every: keep each n-th window; the last one always.
    """
    items, seen = tape
    clock = VirtualClock()
    devices = {"face": "picture", "voice": "sound", **({"text": "sound"} if text else {})}
    window = Window("tape", config.window, devices, clock)  # type: ignore[arg-type]
    for device in set(devices.values()) - set(seen):
        window.lost(device, f"no {device}")
    events = sorted(
        [*((at, item) for at, item in items), *((t_ns, device) for device, times in seen.items() for t_ns in times)],
        key=lambda pair: pair[0],
    )
    ticks = Ticks(0, config)
    end_ns = max((t_ns for times in seen.values() for t_ns in times), default=0)
    cursor = number = 0
    while ticks.end_ns < end_ns + ticks.hop_ns:
        last = ticks.end_ns >= end_ns
        # What arrives just when a window is due comes after it, as in a live session.
        while cursor < len(events) and (last or events[cursor][0] < ticks.due_ns):
            at_ns, item = events[cursor]
            clock.advance_to(at_ns)
            _add(window, item, text, at_ns)
            cursor += 1
        clock.advance_to(ticks.due_ns)
        view = window.close(ticks.next())
        number += 1
        if last or number % every == 0:
            yield view, last


def _add(window: Window, item: Any, text: TextExtractor | None, at_ns: int) -> None:  # noqa: ANN401 - a tape's item
    if isinstance(item, str):
        window.saw(item, at_ns)
    elif isinstance(item, FaceFeatures):
        window.add_face(item)
    elif isinstance(item, VoiceFeatures):
        window.add_voice(item)
    elif isinstance(item, SpeechFrame):
        window.add_speech(item)
    elif isinstance(item, TextFeatures):
        window.add_text(item)
    elif isinstance(item, Transcript | Reading) and text is not None:
        for features in text.feed(item):
            window.add_text(features)
    elif isinstance(item, Transcript) and item.embedding is not None:
        # Nobody looks at the words, but they are how the voice's embedding comes.
        window.add_text(TextFeatures(item.t_ns, (), np.zeros((0, TEXT_DIM), np.float32), embedding=item.embedding))


def sentence_view(vectors: np.ndarray, rng: np.random.Generator, config: Config) -> WindowView:
    """Lay a written sentence out as if it had just been said."""
    offset_s = float(rng.uniform(0.0, config.window.length_s / 2))
    times_s = -offset_s - np.arange(len(vectors))[::-1] / WORDS_PER_S
    keep = times_s > -CONTEXT_S
    reliability = float(rng.uniform(0.6, 1.0))
    segment = Segment(vectors[keep].astype(np.float32), times_s[keep].astype(np.float32), reliability, "ok", None, 0)
    return _view({"text": segment})


def face_view(vector: np.ndarray, rng: np.random.Generator, seen_s: float = 0.0) -> WindowView:
    """Hold a single face for a while, at least for so many seconds."""
    steps = int(rng.integers(1 + math.ceil(seen_s * PICTURES_PER_S), 60))
    values = np.repeat(vector[None], steps, 0) + rng.normal(0, 0.01, (steps, len(vector)))
    times_s = -np.arange(steps)[::-1] / PICTURES_PER_S
    values *= settled(int(1e9 * times_s[0]), 0)
    reliability = float(rng.uniform(0.5, 1.0))
    segment = Segment(values.astype(np.float32), times_s.astype(np.float32), reliability, "ok", None, 0)
    return _view({"face": segment})


def _view(segments: dict[str, Segment]) -> WindowView:
    return WindowView("train", 0, 0, 0, {name: segments.get(name, absent(name)) for name in MODALITIES})


def absent(name: str) -> Segment:
    """Return the segment of a modality that isn't there."""
    return Segment(np.zeros((0, DIMS[name]), np.float32), np.zeros(0, np.float32), 0.0, "off", None, None)
