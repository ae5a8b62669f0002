"""What a face extractor remembers of a stream: whom it follows, and what this face looks like at rest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from models.affect import EXPRESSIONS
from realtime.config.section import Ms, Section
from realtime.extract.face.baseline import Baseline
from realtime.extract.face.tracker import Box, MainFace
from realtime.extract.schema import BLENDSHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Floats

NS_PER_MS = 1_000_000
REST_STEP = 1e-4
"""What is kept of the rest of a face is in whole numbers of this: a third of the bytes, and finer than any effect."""
RESTS = len(BLENDSHAPES) + len(EXPRESSIONS)
Place = Annotated[float, Field(ge=-100, le=100)]
Steps = Annotated[int, Field(ge=-20_000, le=20_000)]


class FaceState(Section):
    """What is remembered of a face; times are milliseconds since the stream began."""

    face_id: int = Field(ge=0, le=1_000_000_000)
    """Persons followed so far."""
    box: tuple[Place, Place, Place, Place] | None = None
    """Where the face was, in heights of the picture: left, top, right, bottom."""
    seen_ms: Ms = 0
    rest: tuple[Steps, ...] = Field(min_length=RESTS, max_length=RESTS)
    """Blendshapes, then expressions, at rest, in steps of 1e-4."""
    rest_s: float = Field(ge=0, le=3600)
    """Over how many seconds they were learned."""
    rest_ms: Ms | None = None


class FaceMemory:
    """Follows the main face and its rest; one thread feeds it, any may take a snapshot.

    Args:
        prior: blendshapes of the usual face, and the probabilities of its expressions (D,).
        time_s: time constant of the rest.
    """

    def __init__(self, prior: Floats, time_s: float) -> None:
        self._lock = threading.Lock()
        self._baseline = Baseline(prior, time_s)
        self.forget()

    @property
    def face_id(self) -> int:
        """Persons followed so far."""
        return self._main.face_id

    def forget(self) -> None:
        """Start afresh, as with a picture that stands for itself."""
        with self._lock:
            self._main = MainFace()
            self._baseline.reset()

    def pick(self, boxes: Sequence[Box], t_ns: int) -> int | None:
        """Return the index of the main face among the boxes, None while it is away; another face has another rest."""
        with self._lock:
            before = self._main.face_id
            chosen = self._main.pick(boxes, t_ns)
            if self._main.face_id != before:
                self._baseline.reset()
            return chosen

    def apart(self, values: Floats) -> Floats:
        """Return the first of the values (d,), d <= D, minus their rest; see Baseline."""
        with self._lock:
            return self._baseline.apart(values)

    def subtract(self, values: Floats, t_ns: int) -> Floats:
        """Return values (D,) minus the rest, then learn from them; see Baseline."""
        with self._lock:
            return self._baseline.subtract(values, t_ns)

    def snapshot(self, t0_ns: int) -> FaceState:
        """Return what is remembered, with times since `t0_ns`."""
        with self._lock:
            (face_id, box, seen_ns), (rest, rest_s, rest_ns) = self._main.snapshot(), self._baseline.snapshot()
        return FaceState(
            face_id=face_id,
            box=None if box is None else tuple(round(side, 3) for side in (box.left, box.top, box.right, box.bottom)),
            seen_ms=(seen_ns - t0_ns) // NS_PER_MS if box is not None else 0,
            rest=tuple(round(float(value) / REST_STEP) for value in rest),
            rest_s=round(rest_s, 2),
            rest_ms=None if rest_ns is None else (rest_ns - t0_ns) // NS_PER_MS,
        )

    def restore(self, state: FaceState, t0_ns: int) -> None:
        """Go on from what another one remembered, of a stream that began at `t0_ns`."""
        box = None if state.box is None else Box(*state.box)
        rest_ns = None if state.rest_ms is None else t0_ns + state.rest_ms * NS_PER_MS
        with self._lock:
            self._main.restore(state.face_id, box, t0_ns + state.seen_ms * NS_PER_MS)
            self._baseline.restore(np.array(state.rest, np.float32) * np.float32(REST_STEP), state.rest_s, rest_ns)
