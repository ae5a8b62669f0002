"""The picture of a face turned upright and brought to one size, as the expression network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import Floats, Image

SIDE_PX: Final = 48
FINER: Final = 2
"""The picture is cut at a multiple of its size first, and averaged: a large face sampled sparsely is all grain."""
ANCHORS: Final = ((33, 133), (362, 263), (61, 291))
"""Landmarks whose means are both eyes and the mouth."""
TEMPLATE: Final = np.array([[15.5, 18.8], [32.3, 18.7], [24.1, 36.7]], np.float32)
"""Where they lie on average in FER2013, which was trained on: `python -m scripts.train_expression look` says it."""


def anchors(landmarks: Sequence[Any], width: int, height: int) -> Floats:
    """Return eyes and mouth (3, 2) in pixels of the picture, from normalised landmarks."""
    points = [[(landmarks[i].x * width, landmarks[i].y * height) for i in pair] for pair in ANCHORS]
    found: Floats = np.asarray(points, np.float32).mean(1)
    return found


def aligned(image: Image, points: Floats) -> Image:
    """Return the face (48, 48), grey, with eyes and mouth as near to the template as turning and scaling brings them.

    Args:
        image: (H, W, 3) BGR, or (H, W) grey.
        points: of `anchors`, in its pixels.
    """
    side = FINER * SIDE_PX
    # The similarity with the least square error, in closed form on complex numbers.
    ours, wanted = (each[:, 0] + 1j * each[:, 1] for each in (points, FINER * TEMPLATE))
    spread = ours - ours.mean()
    turn = (spread.conj() * (wanted - wanted.mean())).sum() / max(1e-6, float((spread.conj() * spread).real.sum()))
    shift = wanted.mean() - turn * ours.mean()
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    cut = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grey = cut if cut.ndim == 2 else cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)
