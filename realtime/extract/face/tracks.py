"""Which face of a picture is whose: an id for every face, kept over short losses and while two people cross.

A face is expected where it was heading, and looks as it did: of two who meet, each goes on as the one it moves and
looks like. Pairs are matched the best first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from realtime.extract.face.tracker import FORGET_S, Box
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Floats

REACH: Final = 0.7
"""Face sizes that somebody may be from where they were expected, just after they were seen."""
REACH_PER_S: Final = 1.2
FARTHEST: Final = 2.5
"""Face sizes from the expected place beyond which nobody is taken for the same, however long they were away."""
COAST_S: Final = 1.5
"""Somebody who is hidden is expected to go on for so long, then to stay."""
LOOK_WEIGHT: Final = 2.0
"""What another look counts, against one face size of distance."""
STRANGER: Final = 0.6
"""A look that differs by so much (1 minus the correlation) is somebody else's."""
GROWTH: Final = 0.6
"""Logarithm of the ratio of two sizes up to which they may be the same face's."""
SAME_FACE_IOU: Final = 0.6
"""Two boxes that share so much are one face, found twice."""
LEARN: Final = 0.1
"""Share of a new picture in what somebody looks like."""
STEADY_S: Final = 0.3
"""Time constant of the speed."""


@dataclass(slots=True)
class _Track:
    id: int
    box: Box
    look: Floats
    seen_ns: int
    speed: tuple[float, float] = (0.0, 0.0)
    """Of the centre, heights of the picture per second."""

    def expected(self, t_ns: int) -> Box:
        """Where the face should be now."""
        ahead_s = min(COAST_S, (t_ns - self.seen_ns) / NS_PER_S)
        return _moved(self.box, self.speed[0] * ahead_s, self.speed[1] * ahead_s)

    def seen(self, box: Box, look: Floats, t_ns: int) -> None:
        """Take in a picture of this face."""
        passed_s = (t_ns - self.seen_ns) / NS_PER_S
        if passed_s > 0:
            share = min(1.0, passed_s / (STEADY_S + passed_s))
            moved = (_centre(box)[axis] - _centre(self.box)[axis] for axis in (0, 1))
            self.speed = tuple(
                old + share * (distance / passed_s - old) for old, distance in zip(self.speed, moved, strict=True)
            )  # type: ignore[assignment] # two of two
        self.box, self.seen_ns = box, t_ns
        self.look = unit(self.look + LEARN * (look - self.look))


class Tracks:
    """Follows every face; ids count from 1."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._last_id = 0

    @property
    def ids(self) -> set[int]:
        """Those who are remembered."""
        return {track.id for track in self._tracks}

    def follow(self, boxes: Sequence[Box], looks: Sequence[Floats], t_ns: int) -> list[int | None]:
        """Return the id of each face of a picture; None for one that was found twice.

        Args:
            boxes: of the faces.
            looks: (D,) of length 1 each: faces of one person have a high product.
            t_ns: time of the picture.
        """
        for track in self._tracks:
            track.seen_ns = min(track.seen_ns, t_ns)  # a clock that went back must not keep anybody for ever
        self._tracks = [track for track in self._tracks if t_ns - track.seen_ns <= FORGET_S * NS_PER_S]
        found: list[int | None] = [None] * len(boxes)
        free = _once(boxes)
        pairs = sorted(
            (cost, track.id, index)
            for track in self._tracks
            for index in free
            if (cost := _cost(track, boxes[index], looks[index], t_ns)) is not None
        )
        known = {track.id: track for track in self._tracks}
        for _, number, index in pairs:
            if number in known and index in free:
                free.remove(index)
                known.pop(number).seen(boxes[index], looks[index], t_ns)
                found[index] = number
        for index in free:
            self._last_id += 1
            self._tracks.append(_Track(self._last_id, boxes[index], looks[index], t_ns))
            found[index] = self._last_id
        return found


def unit(look: Floats) -> Floats:
    """Return a look of length 1."""
    scaled: Floats = (look / max(1e-6, float(np.linalg.norm(look)))).astype(np.float32)
    return scaled


def _cost(track: _Track, box: Box, look: Floats, t_ns: int) -> float | None:
    """How badly a face fits a track; None where it can't be the same."""
    away_s = (t_ns - track.seen_ns) / NS_PER_S
    distance, strange = box.distance(track.expected(t_ns)), 1.0 - float(track.look @ look)
    grown = abs(math.log(max(1e-6, box.size) / max(1e-6, track.box.size)))
    if distance > min(FARTHEST, REACH + REACH_PER_S * away_s) or strange > STRANGER or grown > GROWTH:
        return None
    return distance + LOOK_WEIGHT * strange


def _once(boxes: Sequence[Box]) -> list[int]:
    """Indices of the boxes without those that lie on an earlier one."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(box.iou(boxes[other]) < SAME_FACE_IOU for other in kept):
            kept.append(index)
    return kept


def _centre(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def _moved(box: Box, across: float, down: float) -> Box:
    return Box(box.left + across, box.top + down, box.right + across, box.bottom + down)
