"""How a voice is embedded on average: what is subtracted of an utterance's embedding, so that the change is left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field

from realtime.config.section import Section
from realtime.extract.schema import EMBEDDING_DIM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Floats

PRIOR: Final = 2.0
"""Utterances that the usual voice (0) counts as: of the first one little is subtracted of itself."""
MOST: Final = 60.0
"""Utterances that the mean reaches back over."""
STEP: Final = 0.01
"""What is kept of the mean is in whole numbers of this."""
Steps = Annotated[int, Field(ge=-1000, le=1000)]


class VoiceMeanState(Section):
    """The mean of a voice."""

    mean: tuple[Steps, ...] = Field(min_length=EMBEDDING_DIM, max_length=EMBEDDING_DIM)
    """In steps of .01."""
    heard: float = Field(ge=0, le=MOST)
    """Utterances that it was learned from."""


class VoiceMean:
    """Running mean of the embeddings of a stream's utterances; one thread feeds it, any may take a snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mean = np.zeros(EMBEDDING_DIM, np.float64)
        self._heard = 0.0

    def subtract(self, embedding: Sequence[float]) -> Floats:
        """Return an embedding (EMBEDDING_DIM,) minus the mean, which counts the more the more was heard."""
        with self._lock:
            usual = self._mean * (self._heard / (self._heard + PRIOR))
        found: Floats = (np.asarray(embedding) - usual).astype(np.float32)
        return found

    def learn(self, embedding: Sequence[float]) -> None:
        """Take an utterance that has ended into the mean."""
        with self._lock:
            self._heard = min(MOST, self._heard + 1)
            self._mean += (np.asarray(embedding) - self._mean) / self._heard

    def snapshot(self, _t0_ns: int = 0) -> VoiceMeanState:
        """Return what is remembered; times do not matter."""
        with self._lock:
            return VoiceMeanState(mean=tuple(round(float(part) / STEP) for part in self._mean), heard=self._heard)

    def restore(self, state: VoiceMeanState, _t0_ns: int = 0) -> None:
        """Go on from what another one remembered."""
        with self._lock:
            self._mean, self._heard = np.array(state.mean, np.float64) * STEP, state.heard
