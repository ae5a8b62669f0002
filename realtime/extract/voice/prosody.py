"""Blocks of sound to vectors, those of several voices in one pass: what a pass costs, it costs once.

A pass runs a graph that `python -m scripts.export` made of prosody_net.py. A vector depends on its own block and voice
only (to rounding).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from pydantic import Field

from models import graphs, manifest
from realtime.config.section import Section
from realtime.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realtime.types import Floats

BLOCK: Final = 1600
"""Samples of a block (100 ms): one vector each."""
HOP: Final = 160
"""Samples from frame to frame (10 ms)."""
FRAME: Final = 400
"""Samples of a frame (25 ms)."""
PITCH_FRAME: Final = 640
"""Samples of a pitch frame (40 ms): three periods at 75 Hz."""
PAST: Final = PITCH_FRAME - HOP
"""Samples before a block that its first frame reaches back to."""

LEVEL_PRIOR_DB: Final = -26.0
PITCH_PRIOR_OCT: Final = float(np.log2(170.0))
"""Level and pitch of a voice nobody has heard yet, worth PRIOR_S seconds of voiced sound."""
PRIOR_S: Final = 4.0
ADAPT_S: Final = 30.0
"""Voiced seconds over which the level and pitch of this voice are averaged."""

GRAPH = manifest.SHIPPED / "voice.onnx"
FORMAT = "agfn.voice.onnx/1"
INPUTS = ("samples", "usual")
OUTPUTS = ("values", "heard")


class VoiceState(Section):
    """What is usual for one voice: means, and over how many seconds each was taken."""

    level_db: float = Field(ge=-200, le=20)
    level_s: float = Field(gt=0, le=ADAPT_S)
    pitch_oct: float = Field(ge=0, le=20)
    pitch_s: float = Field(gt=0, le=ADAPT_S)


class OwnVoice:
    """What is usual for one voice: a mean that starts from a prior and forgets.

    `usual` (4,) is its level in dB, its pitch in octaves (log2 of Hz), and over how many voiced seconds each was taken.
    """

    def __init__(self) -> None:
        self.usual: Floats = np.array([LEVEL_PRIOR_DB, PITCH_PRIOR_OCT, PRIOR_S, PRIOR_S], np.float32)

    def snapshot(self, _t0_ns: int = 0) -> VoiceState:
        """Return what it remembers, from any thread: all of it is exchanged at once."""
        level_db, pitch_oct, level_s, pitch_s = self.usual.tolist()
        return VoiceState(
            level_db=round(level_db, 3),
            level_s=round(level_s, 2),
            pitch_oct=round(pitch_oct, 4),
            pitch_s=round(pitch_s, 2),
        )

    def restore(self, state: VoiceState, _t0_ns: int = 0) -> None:
        """Go on from what another one remembered."""
        self.usual = np.array([state.level_db, state.pitch_oct, state.level_s, state.pitch_s], np.float32)


class Block(NamedTuple):
    """Sound (PAST + BLOCK,), its past first, and whose it is."""

    samples: Floats
    own: OwnVoice


class Prosody:
    """The analysis; blocks of one call are of different voices.

    Args:
        graph: what scripts/export.py wrote.

    Raises:
        ModelError: the graph is missing, or not what SHA256SUMS beside it lists.
    """

    def __init__(self, graph: Path = GRAPH) -> None:
        try:
            content = graphs.read(graph)
            problem = manifest.problem(graph, content, listed=True)
            if problem is None:
                self._session = graphs.session(content)
                about = self._session.get_modelmeta().custom_metadata_map
                problem = None if about.get("format") == FORMAT else "is of another version"
        except graphs.GraphError as error:
            raise ModelError(f"{graph}: {error}; install the program again") from None
        if problem is not None:
            raise ModelError(f"{graph}: {problem}; install the program again")

    def __call__(self, blocks: Sequence[Block]) -> list[Floats]:
        """Return a vector (VOICE_DIM,) for each block, and let each voice hear its own."""
        given = (np.stack([block.samples for block in blocks]), np.stack([block.own.usual for block in blocks]))
        values, heard = self._session.run(OUTPUTS, dict(zip(INPUTS, given, strict=True)))
        for block, usual in zip(blocks, heard, strict=True):
            block.own.usual = usual
        return list(values)


@cache
def prosody() -> Prosody:
    """Return the analysis of the process; its tables are the same for all."""
    return Prosody()


def alone(block: Block) -> Floats:
    """Analyse one block by itself."""
    return prosody()([block])[0]
