"""Two clips in one picture with the sound of one of them: side by side, or changing places slowly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig
from realtime.types import NS_PER_S, Chunk, Frame, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime.types import Image

RATE_HZ: Final = 15
CANVAS: Final = (360, 800)
"""Height and width."""
PATCH: Final = (300, 260)
"""Height and width of each clip in it: its middle."""
ENDS: Final = (20, 520)
"""Left edge of a patch at the left and at the right."""


class SideBySide:
    """What a replay plays (session/files.py: Media): two clips, each looped there and back.

    Args:
        clips: left and right at first.
        heard: whose sound is played.
        seconds: how long it lasts; None for as long as the clip that is heard.
        crossing: whether they change places on the way, the first in front of the second.
        mirrored: whether the second is mirrored.
    """

    has_picture = has_sound = True
    path = Path("side-by-side.mp4")

    def __init__(
        self,
        clips: Sequence[Path],
        heard: int = 0,
        seconds: float | None = None,
        *,
        crossing: bool = False,
        mirrored: bool = False,
    ) -> None:
        played = [list(MediaFile(clip, CameraConfig(max_fps=RATE_HZ)).items(0)) for clip in clips]
        self._pictures = [[_patch(item.image) for item in items if isinstance(item, Frame)] for items in played]
        if mirrored:
            self._pictures[1] = [np.ascontiguousarray(picture[:, ::-1]) for picture in self._pictures[1]]
        self._sound = [item for item in played[heard] if isinstance(item, Chunk)]
        self._crossing = crossing
        self.seconds = seconds or self._sound[-1].end_ns / NS_PER_S

    def lefts(self, t_s: float) -> tuple[int, int]:
        """Left edge of each patch at a time."""
        share = 0.0
        if self._crossing:
            share = min(1.0, max(0.0, (t_s - 1.0) / max(0.1, self.seconds - 2.0)))
        far = ENDS[1] - ENDS[0]
        return round(ENDS[0] + share * far), round(ENDS[1] - share * far)

    def owner(self, centre: float, t_s: float) -> int:
        """Return which clip's patch is nearer to a place, given as a share of the width."""
        places = [(left + PATCH[1] / 2) / CANVAS[1] for left in self.lefts(t_s)]
        return int(abs(places[1] - centre) < abs(places[0] - centre))

    def items(self, start_ns: int) -> Iterator[Frame | Chunk]:
        """Pictures and sound in the order of their times."""
        pictures = [
            Frame(start_ns + number * NS_PER_S // RATE_HZ, self._compose(number))
            for number in range(int(self.seconds * RATE_HZ))
        ]
        last_ns = int(self.seconds * NS_PER_S)
        sound = [Chunk(start_ns + c.t_ns, c.samples, c.lost_samples) for c in self._sound if c.end_ns <= last_ns]
        items: list[Frame | Chunk] = [*pictures, *sound]
        yield from sorted(items, key=item_end_ns)

    def _compose(self, number: int) -> Image:
        canvas = np.full((*CANVAS, 3), 96, np.uint8)
        top = (CANVAS[0] - PATCH[0]) // 2
        lefts = self.lefts(number / RATE_HZ)
        for which in (1, 0):
            pictures = self._pictures[which]
            around = number % (2 * len(pictures))
            picture = pictures[min(around, 2 * len(pictures) - 1 - around)]
            canvas[top : top + PATCH[0], lefts[which] : lefts[which] + PATCH[1]] = picture
        return canvas


def _patch(image: Image) -> Image:
    """The middle of a picture in the shape of a patch."""
    height, width = image.shape[:2]
    kept = min(width, round(height * PATCH[1] / PATCH[0]))
    left = (width - kept) // 2
    middle = image[:, left : left + kept]
    return np.asarray(cv2.resize(middle, PATCH[::-1], interpolation=cv2.INTER_AREA), np.uint8)
