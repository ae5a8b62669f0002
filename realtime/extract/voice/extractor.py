"""Sound to one vector per 100 ms: spectrum, energy, pitch and voicing, relative to this voice's own running level.

A block is analysed with a little of the sound before it, and never across a gap, so any chunking of the same sound
gives the same vectors and no sample is made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from realtime.extract.voice.prosody import BLOCK, PAST, Block, OwnVoice, alone
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, VoiceFeatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime.types import Chunk, Floats

_NS_PER_SAMPLE: Final = NS_PER_S // SAMPLE_RATE_HZ
_JUMP_NS: Final = NS_PER_S // 10


class VoiceExtractor:
    """Sound in, one vector (VOICE_DIM,) per 100 ms out; see VOICE_COLUMNS.

    Args:
        analyse: a block of a voice to its vector; by default each by itself.

    Attributes:
        memory: what is usual for this voice.
    """

    def __init__(self, analyse: Callable[[Block], Floats] = alone) -> None:
        self._analyse = analyse
        self.memory = OwnVoice()
        self._held: Floats = np.zeros(0, np.float32)
        self._end_ns = 0

    def feed(self, item: Chunk, /) -> Iterable[VoiceFeatures]:
        """Take a chunk and return the vectors of the blocks it completes."""
        if item.lost_samples or abs(item.t_ns - self._end_ns) > _JUMP_NS:
            self._held = self._held[:0]
        samples = np.nan_to_num(item.samples.astype(np.float32), posinf=0.0, neginf=0.0)
        self._held = np.concatenate((self._held, samples))
        self._end_ns = item.t_ns + len(samples) * _NS_PER_SAMPLE
        out = []
        while len(self._held) >= PAST + BLOCK:
            left = len(self._held) - PAST - BLOCK
            values = self._analyse(Block(self._held[: PAST + BLOCK], self.memory))
            out.append(VoiceFeatures(self._end_ns - left * _NS_PER_SAMPLE, values))
            self._held = self._held[BLOCK:]
        return out

    def flush(self) -> Iterable[VoiceFeatures]:
        """Drop the incomplete block: a shorter one would not be comparable."""
        self._held = self._held[:0]
        return ()

    def close(self) -> None:
        """Let go of the sound."""
        self._held = self._held[:0]
