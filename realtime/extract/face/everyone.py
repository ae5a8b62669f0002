"""Every face of a picture by itself: who it is, its lips, and now and then its expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from realtime.extract.face.aligned import aligned, anchors
from realtime.extract.face.baseline import Baseline
from realtime.extract.face.tracks import Tracks, unit
from realtime.types import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.expression import ExpressionReader
    from realtime.extract.face.tracker import Box
    from realtime.types import Floats, Image

LOOK_PX: Final = 12
LIPS: Final = (13, 14)
"""Landmarks of the inner edges of the upper and the lower lip."""


class Everyone:
    """Follows all faces of one camera, each with a rest of its own.

    The main face has been read, of the others one is in every picture, in turns: a crowd costs no more than two people.

    Args:
        reader: of expressions.
        rest: the usual face at rest (D,).
        time_s: time constant of each face's own rest.
    """

    def __init__(self, reader: ExpressionReader, rest: Floats, time_s: float) -> None:
        self._reader = reader
        self._tracks = Tracks()
        self._new_rest: Callable[[], Baseline] = lambda: Baseline(rest, time_s)
        self._rests: dict[int, Baseline] = {}
        self._turn = 0

    def see(
        self,
        image: Image,
        faces: Sequence[Sequence[Any]],
        boxes: Sequence[Box],
        shapes: Sequence[Floats],
        poses: Sequence[Floats],
        main: int | None,
        main_likely: Floats | None,
        t_ns: int,
    ) -> tuple[Person, ...]:
        """Return the people of a picture, in the order of their ids.

        Args:
            image: (H, W, 3) BGR.
            faces: landmarks of each face, in shares of the picture.
            boxes: of each face.
            shapes: blendshapes (D,) of each face.
            poses: yaw, pitch and roll (3,) of each face.
            main: which of them is the main one.
            main_likely: probabilities of its expressions.
            t_ns: time of the picture.
        """
        height, width = image.shape[:2]
        points = [anchors(face, width, height) for face in faces]
        cuts = [aligned(image, each) for each in points]
        ids = self._tracks.follow(boxes, [look(cut) for cut in cuts], t_ns)
        self._rests = {number: rest for number, rest in self._rests.items() if number in self._tracks.ids}
        others = sorted(number for at, number in enumerate(ids) if number is not None and at != main)
        self._turn += 1
        read = others[self._turn % len(others)] if others else None
        people = []
        for at, number in enumerate(ids):
            if number is None:
                continue
            above_rest = self._rests.setdefault(number, self._new_rest()).subtract(shapes[at], t_ns)
            likely = main_likely if at == main else None
            if number == read:
                likely = self._reader.read(cuts[at], np.concatenate((above_rest, poses[at])).astype(np.float32))
            box, aspect = boxes[at], width / height
            people.append(
                Person(
                    id=number,
                    main=at == main,
                    box=(box.left / aspect, box.top, box.right / aspect, box.bottom),
                    mouth=mouth(faces[at], points[at], width, height),
                    sharpness=float(cv2.Laplacian(cuts[at], cv2.CV_64F).var()),
                    brightness=float(cuts[at].mean() / 255),
                    likely=likely,
                )
            )
        return tuple(sorted(people, key=lambda person: person.id))


def look(cut: Image) -> Floats:
    """Return what an aligned face looks like: its lights and shades, coarse, (144,) of length 1."""
    coarse = cv2.resize(cut, (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    return unit(coarse - coarse.mean())


def mouth(face: Sequence[Any], points: Floats, width: int, height: int) -> float:
    """How far the lips are open, in distances from the eyes to the mouth."""
    upper, lower = (np.array([face[i].x * width, face[i].y * height]) for i in LIPS)
    size = np.linalg.norm(points[:2].mean(0) - points[2])
    return float(np.linalg.norm(upper - lower) / max(1.0, float(size)))
