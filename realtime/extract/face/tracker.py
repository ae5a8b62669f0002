"""Which face of a picture is the main one: the largest at first, then the same one for as long as it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLD_S: Final = 1.0
"""How long the main face may be away before another takes its place."""
FORGET_S: Final = 10.0
"""A face that comes back to the same place within this time is the same person."""
TAKEOVER_S: Final = 2.0
"""How long another face must be much larger before it becomes the main one."""
TAKEOVER_AREA: Final = 2.0
SAME_IOU: Final = 0.15
SAME_DISTANCE: Final = 0.6
"""Distance of the centres, in face sizes, up to which it is the same face."""


@dataclass(frozen=True, slots=True)
class Box:
    """A face, in heights of the picture: a camera may change its resolution."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Square heights of the picture."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    @property
    def size(self) -> float:
        """Side of a square of the same area."""
        return math.sqrt(self.area)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0.0, width) * max(0.0, height)
        return shared / (self.area + other.area - shared) if shared else 0.0

    def distance(self, other: Box) -> float:
        """Distance of the centres in sizes of the larger box."""
        across = (self.left + self.right - other.left - other.right) / 2
        down = (self.top + self.bottom - other.top - other.bottom) / 2
        return math.hypot(across, down) / max(1e-6, self.size, other.size)


class MainFace:
    """Follows the main face over the pictures; `face_id` counts the persons followed so far."""

    def __init__(self) -> None:
        self.face_id = 0
        self._box: Box | None = None
        self._seen_ns = 0
        self._rival_since_ns: int | None = None

    def snapshot(self) -> tuple[int, Box | None, int]:
        """Return the number of persons followed so far, where the last one was, and when."""
        return self.face_id, self._box, self._seen_ns

    def restore(self, face_id: int, box: Box | None, seen_ns: int) -> None:
        """Go on from what another one returned."""
        self.face_id, self._box, self._seen_ns = face_id, box, seen_ns
        self._rival_since_ns = None

    def pick(self, boxes: Sequence[Box], t_ns: int) -> int | None:
        """Return the index of the main face among the boxes, or None while it is away."""
        if not boxes:
            self._rival_since_ns = None
            return None
        self._seen_ns = min(self._seen_ns, t_ns)  # a clock that went back must not hold a face for ever
        largest = max(range(len(boxes)), key=lambda i: boxes[i].area)
        away_s = (t_ns - self._seen_ns) / NS_PER_S
        same = self._same(boxes) if away_s <= FORGET_S else None
        if self._box is None or (same is None and away_s > HOLD_S):
            self.face_id += 1
            same = largest
        if same is None:
            return None
        if self._rivalled(boxes[same], boxes[largest], t_ns):
            self.face_id += 1
            same = largest
        self._box, self._seen_ns = boxes[same], t_ns
        return same

    def _same(self, boxes: Sequence[Box]) -> int | None:
        last = self._box
        if last is None:
            return None
        nearest = max(range(len(boxes)), key=lambda i: (boxes[i].iou(last), -boxes[i].distance(last)))
        near = boxes[nearest].iou(last) >= SAME_IOU or boxes[nearest].distance(last) <= SAME_DISTANCE
        return nearest if near else None

    def _rivalled(self, main: Box, largest: Box, t_ns: int) -> bool:
        if largest.area < TAKEOVER_AREA * main.area:
            self._rival_since_ns = None
            return False
        if self._rival_since_ns is None:
            self._rival_since_ns = t_ns
        if t_ns - self._rival_since_ns < TAKEOVER_S * NS_PER_S:
            return False
        self._rival_since_ns = None
        return True
