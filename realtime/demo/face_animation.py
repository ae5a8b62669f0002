"""A portrait made to move: its own landmarks say where jaw, mouth corners, brows and lids are, and warps move them.

First the expression is drawn with the head at rest: one backward warp per action, added up. The inside of the mouth and
the lids of a blink are painted, because no warp shows what was hidden. Then the head is turned by a warp that follows
the landmarks' depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.demo import warp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from realtime.demo.warp import Field, Points

    Image = NDArray[np.uint8]  # (H, W, 3) RGB

# Landmark indices of MediaPipe's face mesh.
_INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
_UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409, 191, 80, 81, 82, 13, 312, 311, 310, 415)
_LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324)
_CORNERS = (61, 291)
# Each eye from corner to corner, and each brow from its inner end.
_UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
_LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
_BROWS = ((55, 46, 107, 66, 105, 63, 70), (285, 276, 336, 296, 334, 293, 300))
_OUTER_EYES = (33, 263)
_CHIN, _NOSE_BASE = 152, 2
_MESH = 468  # landmarks beyond are the irises
_CAVITY_RGB = (62, 24, 26)
_LASHES_RGB = (92, 64, 54)
_GRID_PX = 3


@dataclass(frozen=True)
class Pose:
    """One moment of the puppet: actions in [0, 1] (jaw from -0.3, lips pressed), head angles in radians."""

    jaw: float = 0.0
    sober: float = 0.0
    frown: float = 0.0
    surprise: float = 0.0
    blink: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0


WARPED = ("jaw", "sober", "frown", "surprise")


def find_landmarks(image: Image, model: Path) -> NDArray[np.float64]:
    """The 478 landmarks of the one face in `image` as (478, 3) in pixels, depth in the same unit, nearer is smaller.

    Raises:
        ValueError: no face is found.
    """
    from realtime.system.mediapipe import BaseOptions, mediapipe, vision  # noqa: PLC0415 - takes a while to import

    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)))
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        found = landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
    if not found.face_landmarks:
        raise ValueError("no face found in the portrait")
    height, width = image.shape[:2]
    return np.array([(p.x * width, p.y * height, p.z * width) for p in found.face_landmarks[0]])


def action_moves(points: Points) -> dict[str, Points]:
    """How far each landmark (N, 2) moves when each of `WARPED` is at 1, in pixels."""
    unit = float(np.linalg.norm(points[_OUTER_EYES[1]] - points[_OUTER_EYES[0]]))
    corners = points[list(_CORNERS)]
    mouth = corners.mean(axis=0)
    half_mouth = float(np.linalg.norm(corners[1] - corners[0])) / 2
    moves = {name: np.zeros_like(points) for name in WARPED}

    sideways, below = np.abs(points[:, 0] - mouth[0]), points[:, 1] - mouth[1]
    # The jaw carries everything below the mouth, less towards the cheeks; the lips hang at their corners.
    jaw = np.clip(1 - (sideways / (0.8 * unit)) ** 2, 0, 1) * np.clip(below / (0.25 * unit), 0, 1)
    lower = list(_LOWER_LIP)
    jaw[lower] = np.clip(1 - (sideways[lower] / half_mouth) ** 2, 0, 1)
    jaw[list(_UPPER_LIP)] = 0
    moves["jaw"][:, 1] = 0.18 * unit * jaw

    below_nose = np.clip((points[:, 1] - points[_NOSE_BASE, 1]) / (0.1 * unit), 0, 1)
    for corner, inwards in zip(corners, (1, -1), strict=True):
        near = below_nose * np.exp(-((points - corner) ** 2).sum(axis=1) / (2 * (0.22 * unit) ** 2))
        moves["sober"] += near[:, None] * np.array([inwards * 0.09, 0.13]) * unit

    eyes = points[list(_OUTER_EYES), 1].mean()
    above_eyes = np.clip((eyes - points[:, 1]) / (0.15 * unit), 0, 1)
    for brow in _BROWS:
        ends, centre = points[list(brow[:2])], points[list(brow)].mean(axis=0)
        inner = ends[0]
        near = above_eyes * np.exp(-((points - inner) ** 2).sum(axis=1) / (2 * (0.2 * unit) ** 2))
        moves["frown"] += near[:, None] * np.array([np.sign(mouth[0] - inner[0]) * 0.05, 0.09]) * unit
        near = above_eyes * np.exp(-((points - centre) ** 2).sum(axis=1) / (2 * (0.25 * unit) ** 2))
        moves["surprise"][:, 1] -= 0.1 * unit * near
    return moves


class PortraitAnimator:
    """A portrait with its warps worked out; `draw()` gives it in a pose.

    Args:
        image: the portrait, (H, W, 3) RGB.
        landmarks: from `find_landmarks()`.
    """

    def __init__(self, image: Image, landmarks: NDArray[np.float64]) -> None:
        import cv2  # noqa: PLC0415 - heavy, and only drawing needs it

        self._cv2: Any = cv2
        self._image = image
        height, width = image.shape[:2]
        points = landmarks[:_MESH, :2]
        self._lips = points[list(_INNER_LIPS)]
        self._moves = action_moves(points)
        unit = float(np.linalg.norm(points[_OUTER_EYES[1]] - points[_OUTER_EYES[0]]))
        # Expressions stay in a box around the face, so that the warps are worked out finely and added up quickly.
        x0, y0 = np.maximum(points.min(axis=0) - 0.5 * unit, 0).astype(int)
        x1, y1 = np.minimum(points.max(axis=0) + 0.5 * unit, (width, height)).astype(int)
        self._box = (slice(y0, y1), slice(x0, x1))
        self._corner = np.array([x0, y0])
        size = (int(y1 - y0), int(x1 - x0))
        at = points - self._corner
        self._fields: dict[str, Field] = {n: warp.field(at + m, m, size, _GRID_PX) for n, m in self._moves.items()}
        self._lids = [
            (points[list(upper)] - self._corner, points[list(lower)] - self._corner)
            for upper, lower in zip(_UPPER_LIDS, _LOWER_LIDS, strict=True)
        ]
        self._inside = self._polygon(self._lips - self._corner, size)
        self._grid = _grid(size)
        self._head = self._head_fields(landmarks[:_MESH], (height, width), unit)
        self._full_grid = _grid((height, width))

    def draw(self, pose: Pose) -> Image:
        """The portrait in `pose`, (H, W, 3) RGB."""
        cv2 = self._cv2
        picture = self._image.copy()
        picture[self._box] = self._expression(pose)
        yaw, pitch, roll = self._head
        turn = self._full_grid + pose.yaw * yaw + pose.pitch * pitch + pose.roll * roll
        drawn: Image = cv2.remap(picture, turn, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return drawn

    def _expression(self, pose: Pose) -> Image:
        cv2, face = self._cv2, self._image[self._box]
        still = self._grid + sum(getattr(pose, n) * self._fields[n] for n in WARPED if n != "jaw")
        whole = cv2.remap(face, still + pose.jaw * self._fields["jaw"], None, cv2.INTER_LINEAR)
        # Between the lips: the teeth keep to the upper jaw, and below them it is dark.
        teeth = cv2.remap(face, still, None, cv2.INTER_LINEAR)
        are_teeth = cv2.remap(self._inside, still, None, cv2.INTER_LINEAR)[..., None]
        lips = self._lips + sum(getattr(pose, n) * self._moves[n][list(_INNER_LIPS)] for n in WARPED)
        between = self._polygon(lips - self._corner, face.shape[:2])[..., None]
        inside = are_teeth * teeth + (1 - are_teeth) * np.array(_CAVITY_RGB, np.float32)
        mixed: Image = (between * inside + (1 - between) * whole).astype(np.uint8)
        if pose.blink > 0:
            self._close_lids(mixed, pose.blink)
        return mixed

    def _close_lids(self, face: Image, how_far: float) -> None:
        """Paint both lids `how_far` (0 to 1) down, in the colour of the skin above them, with their lashes."""
        cv2 = self._cv2
        for upper, lower in self._lids:
            edge = upper + how_far * (lower - upper)
            x, y = np.round(upper[len(upper) // 2]).astype(int)
            above = self._image[self._box][y - 12 : y - 6, x - 4 : x + 5].reshape(-1, 3)
            skin = 0.94 * np.median(above, axis=0)
            lid = self._polygon(np.vstack([upper - (0, 5 * how_far), edge[::-1]]), face.shape[:2], softness_px=1.5)[
                ..., None
            ]
            face[:] = (lid * skin + (1 - lid) * face).astype(np.uint8)
            line = [np.round(edge * 16).astype(np.int32)]
            cv2.polylines(face, line, isClosed=False, color=_LASHES_RGB, thickness=2, lineType=cv2.LINE_AA, shift=4)

    def _polygon(self, corners: Points, size: tuple[int, int], softness_px: float = 1.2) -> NDArray[np.float32]:
        """A soft-edged mask (H, W) in [0, 1] of the inside of a polygon."""
        cv2, mask = self._cv2, np.zeros(size, np.float32)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_8, shift=4)
        soft: NDArray[np.float32] = cv2.GaussianBlur(mask, (0, 0), softness_px)
        return soft

    @staticmethod
    def _head_fields(points: NDArray[np.float64], size: tuple[int, int], unit: float) -> tuple[Field, Field, Field]:
        """The warps of a turn by one radian each: yaw and pitch follow the depth, roll goes about the neck."""
        height, width = size
        neck = points[_CHIN, :2] + (0, 0.4 * unit)
        middle = points[:, :2].mean(axis=0)
        depth = points[:, 2].max() - points[:, 2]  # 0 at the cheeks, larger towards the nose
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
        # Beyond the face the hair goes along and the surroundings fade out.
        apart = np.hypot((xs - middle[0]) / (1.5 * unit), (ys - middle[1] + 0.2 * unit) / (1.7 * unit))
        fade = np.clip(1.6 - apart, 0, 1) ** 2 * (3 - 2 * np.clip(1.6 - apart, 0, 1))
        fade *= np.clip((neck[1] + 0.3 * unit - ys) / unit, 0, 1)
        round_ = np.exp(-(apart**2)) * float(np.percentile(depth, 90))
        zero = np.zeros_like(xs)
        yaw = np.stack([-(round_ + 0.4 * unit) * fade, zero], axis=-1)
        pitch = np.stack([zero, -(round_ + 0.3 * unit) * fade], axis=-1)
        roll = np.stack([-(ys - neck[1]) * fade, (xs - neck[0]) * fade], axis=-1)
        return yaw.astype(np.float32), pitch.astype(np.float32), roll.astype(np.float32)


def _grid(size: tuple[int, int]) -> Field:
    ys, xs = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    return np.stack([xs, ys], axis=-1)
