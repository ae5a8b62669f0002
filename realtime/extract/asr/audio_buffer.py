"""The sound of one utterance that is still being decoded, and where in it somebody speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from realtime.extract.asr.local_agreement import Spoken
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, SpeechFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime.extract.asr.whisper import Timed
    from realtime.types import Floats


ONSET_LATE_NS = 64_000_000
"""The detector is sure of speech about two frames after it begins."""

JOINED_NS = 1_000_000
"""Frames in a row are closer than that: only the rounding of their times lies between them."""


class SoundBuffer:
    """Frames in a row without gaps; the beginning can be cut off.

    Attributes:
        frames: pairs of a frame and whether it is speech.
    """

    def __init__(self) -> None:
        self.frames: list[tuple[SpeechFrame, bool]] = []

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def start_ns(self) -> int:
        """Time of the first sample."""
        return self.frames[0][0].t_ns

    @property
    def end_ns(self) -> int:
        """Time just after the last sample."""
        return self.frames[-1][0].end_ns

    @property
    def duration_s(self) -> float:
        """Length of the sound."""
        return sum(len(frame.samples) for frame, _ in self.frames) / SAMPLE_RATE_HZ

    def append(self, frame: SpeechFrame, *, speech: bool) -> None:
        """Add a frame."""
        self.frames.append((frame, speech))

    def samples(self) -> Floats:
        """All sound, (N,) float32."""
        return np.concatenate([frame.samples for frame, _ in self.frames])

    def speech_s(self, since_ns: int) -> float:
        """Time of speech after `since_ns`."""
        return (
            sum(len(frame.samples) for frame, speech in self.frames if speech and frame.t_ns >= since_ns)
            / SAMPLE_RATE_HZ
        )

    def speech(self, since_ns: int) -> tuple[tuple[int, int], ...]:
        """Intervals of speech after `since_ns`, (start_ns, end_ns)."""
        spans: list[tuple[int, int]] = []
        for frame, speech in self.frames:
            if not speech or frame.t_ns < since_ns:
                continue
            if spans and frame.t_ns - spans[-1][1] < JOINED_NS:
                spans[-1] = (spans[-1][0], frame.end_ns)
            else:
                spans.append((frame.t_ns, frame.end_ns))
        return tuple(spans)

    def snap(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Shrink an interval to the speech in it; without speech in it, return it as it is.

        The alignment gives a pause to the word beside it; the speech detector knows better.
        """
        inside = [frame for frame, speech in self.frames if speech and frame.end_ns > start_ns and frame.t_ns < end_ns]
        if not inside:
            return start_ns, end_ns
        return max(start_ns, inside[0].t_ns - ONSET_LATE_NS), min(end_ns, inside[-1].end_ns)

    def place(self, words: Iterable[Timed]) -> list[Spoken]:
        """Give the words of a hypothesis about this sound their times; none lies beyond its end."""
        placed = []
        for word in words:
            start_ns, end_ns = (min(self.time_ns(at_s), self.end_ns) for at_s in (word.start_s, word.end_s))
            start_ns, end_ns = self.snap(start_ns, end_ns)
            placed.append(Spoken(start_ns, end_ns, word.text, word.probability, word.tokens, word.marks))
        return placed

    def time_ns(self, offset_s: float) -> int:
        """Time of the sound at `offset_s` from the beginning."""
        return self.start_ns + int(offset_s * NS_PER_S)

    def cut(self, to_ns: int) -> None:
        """Forget the frames that end at or before `to_ns`."""
        self.frames = [pair for pair in self.frames if pair[0].end_ns > to_ns]

    def tail(self, count: int) -> list[SpeechFrame]:
        """Return the last `count` frames."""
        return [frame for frame, _ in self.frames[-count:]]

    def clear(self) -> None:
        """Forget everything."""
        self.frames = []


def silence(t_ns: int, samples: int) -> SpeechFrame:
    """Stand in for a few lost samples, so that what follows keeps its time."""
    return SpeechFrame(t_ns, np.zeros(samples, np.float32), 0.0, -120.0, None, 0.0)
