"""Pictures to the expression of the main face: MediaPipe's blendshapes against this face's own rest, and the pose.

MediaPipe Face Landmarker (Apache-2.0): BlazeFace, 478 landmarks, 52 blendshapes, a pose matrix.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from realtime.extract.face.aligned import aligned, anchors
from realtime.extract.face.everyone import Everyone
from realtime.extract.face.mediapipe_options import LocalOptions
from realtime.extract.face.memory import FaceMemory
from realtime.extract.face.neutral_blendshapes import NEUTRAL_BLENDSHAPES, NEUTRAL_EXPRESSIONS
from realtime.extract.face.tracker import Box
from realtime.extract.schema import BLENDSHAPES, FACE_DIM
from realtime.system.mediapipe import mediapipe as mp
from realtime.system.mediapipe import vision
from realtime.system.stderr import native_lines_to_log
from realtime.types import FaceFeatures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from models.expression import ExpressionReader
    from realtime.config.schema import FaceConfig
    from realtime.types import Floats, Frame, Image, Person

SMALLEST_PX: Final = 32
"""A picture with a shorter side shows no usable face."""
LARGEST_PX: Final = 960
"""Longer sides are scaled down first: the models look at 256 px."""
CROP_PX: Final = 112
SCORE_EVERY: Final = 5
"""The detector's score is asked for anew every so many pictures: it changes slowly."""
SCORE_MARGIN: Final = 0.5
"""What the detector sees around the face, in face sizes on each side."""
SCORE_IOU: Final = 0.2
LOWEST_SCORE: Final = 0.1
DETECTOR_MEMBER: Final = "face_detector.tflite"
PROBE_STEP_PX: Final = 4


class FaceExtractor:
    """Follows the main face of one camera.

    Args:
        config: how many faces are looked for, the time constant of the baseline, and whether people are told apart.
        model_path: `face_landmarker.task`.
        reader: of expressions; without one they are not known.
        stills: every picture stands for itself, without tracking and with the usual face as baseline.

    Attributes:
        memory: whom it follows, and what this face looks like at rest.
    """

    def __init__(
        self, config: FaceConfig, model_path: Path, reader: ExpressionReader | None = None, *, stills: bool = False
    ) -> None:
        self._video = not stills
        mode = vision.RunningMode.VIDEO if self._video else vision.RunningMode.IMAGE
        with native_lines_to_log():
            self._landmarker = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=LocalOptions(model_asset_path=str(model_path)),
                    running_mode=mode,
                    num_faces=config.max_faces,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )
            with zipfile.ZipFile(model_path) as members:
                detector = members.read(DETECTOR_MEMBER)
            self._detector = vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(
                    base_options=LocalOptions(model_asset_buffer=detector),
                    running_mode=vision.RunningMode.IMAGE,
                    min_detection_confidence=LOWEST_SCORE,
                )
            )
            self._detector.detect(
                mp.Image(mp.ImageFormat.SRGB, np.zeros((CROP_PX, CROP_PX, 3), np.uint8))
            )  # warm it up
        rest = np.array([NEUTRAL_BLENDSHAPES[name] for name in BLENDSHAPES], np.float32)
        self.memory = FaceMemory(np.concatenate((rest, NEUTRAL_EXPRESSIONS)), config.baseline_s)
        self._reader = reader
        self._everyone = Everyone(reader, rest, config.baseline_s) if config.people and reader is not None else None
        self._previous: Image | None = None
        self._face_id = 0
        self._warm = False
        self._last_ms = -1
        self._score = 0.0
        self._score_due = 0

    def feed(self, item: Frame, /) -> Iterable[FaceFeatures]:
        """Take a picture and return what its main face shows."""
        image = item.image
        motion = self._motion(image)
        if min(image.shape[:2]) < SMALLEST_PX:
            bright = float(image.mean() / 255) if image.size else 0.0
            return (_nothing(item.t_ns, 0, bright, motion, None if self._everyone is None else ()),)
        image = np.ascontiguousarray(_limited(image))
        result = self._detect(image, item.t_ns)
        boxes = [_box(face, image.shape[1] / image.shape[0]) for face in result.face_landmarks]
        if not self._video:
            self.memory.forget()
        chosen = self.memory.pick(boxes, item.t_ns)
        raw = pose = likely = None
        if chosen is not None:
            raw, pose = _shapes(result, chosen), head_pose(np.asarray(result.facial_transformation_matrixes[chosen]))
            likely = self._expression(image, result.face_landmarks[chosen], raw, pose)
        people = self._people(image, result, boxes, chosen, likely, item.t_ns)
        if chosen is None or raw is None or pose is None:
            return (_nothing(item.t_ns, len(boxes), float(image.mean() / 255), motion, people),)
        if self.memory.face_id != self._face_id or not self._video:
            self._face_id = self.memory.face_id
            self._score_due = 0
        values = self._values(raw, pose, likely, item.t_ns)
        crop = cv2.cvtColor(_cut(image, boxes[chosen], 0.0)[0], cv2.COLOR_BGR2GRAY)
        sharpness, brightness = clarity(np.asarray(crop, np.uint8))
        return (
            FaceFeatures(
                t_ns=item.t_ns,
                values=values,
                found=True,
                faces=len(boxes),
                score=self._scored(image, boxes[chosen]),
                sharpness=sharpness,
                brightness=brightness,
                motion=motion,
                face_id=self._face_id,
                likely=likely,
                people=people,
            ),
        )

    def flush(self) -> Iterable[FaceFeatures]:
        """Nothing is held back: every picture is answered at once."""
        return ()

    def close(self) -> None:
        """Release the models."""
        with native_lines_to_log():
            self._landmarker.close()
            self._detector.close()

    def _detect(self, image: Image, t_ns: int) -> vision.FaceLandmarkerResult:
        picture = mp.Image(mp.ImageFormat.SRGB, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        if not self._video:
            return self._landmarker.detect(picture)
        # Times must rise strictly in whole milliseconds, whatever a camera or a replay does.
        self._last_ms = max(self._last_ms + 1, t_ns // 1_000_000)
        if self._warm:
            return self._landmarker.detect_for_video(picture, self._last_ms)
        with (
            native_lines_to_log()
        ):  # what comes after the detector is set up when the first face is found, not without words
            result = self._landmarker.detect_for_video(picture, self._last_ms)
        self._warm = bool(result.face_landmarks)
        return result

    def _people(
        self,
        image: Image,
        result: vision.FaceLandmarkerResult,
        boxes: list[Box],
        chosen: int | None,
        likely: Floats | None,
        t_ns: int,
    ) -> tuple[Person, ...] | None:
        if self._everyone is None:
            return None
        shapes = [_shapes(result, at) for at in range(len(boxes))]
        poses = [head_pose(np.asarray(matrix)) for matrix in result.facial_transformation_matrixes]
        return self._everyone.see(image, result.face_landmarks, boxes, shapes, poses, chosen, likely, t_ns)

    def _expression(self, image: Image, face: Sequence[Any], raw: Floats, pose: Floats) -> Floats | None:
        """Probabilities of the main face's expressions, where there is a reader."""
        if self._reader is None:
            return None
        shapes = np.concatenate((self.memory.apart(raw), pose))
        return self._reader.read(aligned(image, anchors(face, image.shape[1], image.shape[0])), shapes)

    def _values(self, raw: Floats, pose: Floats, likely: Floats | None, t_ns: int) -> Floats:
        """Blendshapes minus their rest, pose, expressions minus theirs, and whether those are known."""
        known = likely is not None
        apart = self.memory.subtract(np.concatenate((raw, NEUTRAL_EXPRESSIONS if likely is None else likely)), t_ns)
        shapes, expressions = apart[: len(BLENDSHAPES)], apart[len(BLENDSHAPES) :]
        values: Floats = np.concatenate((shapes, pose, expressions * known, [known])).astype(np.float32)
        return values

    def _scored(self, image: Image, face: Box) -> float:
        if self._score_due > 0:
            self._score_due -= 1
            return self._score
        self._score_due = SCORE_EVERY - 1
        crop, left, top = _cut(image, face, SCORE_MARGIN)
        rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
        seen = self._detector.detect(mp.Image(mp.ImageFormat.SRGB, rgb)).detections
        self._score = max(
            (
                float(found.categories[0].score)
                for found in seen
                if _box_of_detection(found.bounding_box, left, top, image.shape[0]).iou(face) >= SCORE_IOU
            ),
            default=0.0,
        )
        return self._score

    def _motion(self, image: Image) -> float:
        """Mean absolute difference to the picture before, in [0, 1]; 0 only when every pixel is the same."""
        previous, self._previous = self._previous, image
        if previous is None or previous.shape != image.shape or not image.size:
            return 1.0
        probe = (slice(None, None, PROBE_STEP_PX), slice(None, None, PROBE_STEP_PX))
        motion = float(cv2.absdiff(image[probe], previous[probe]).mean() / 255)
        if motion == 0 and not np.array_equal(image, previous):
            motion = float(cv2.absdiff(image, previous).mean() / 255)
        return motion


def head_pose(matrix: Floats) -> Floats:
    """Yaw, pitch and roll in radians (3,) of a 4x4 pose matrix; all 0 looking straight at the camera.

    Positive: turned to the right of the picture, lifted, tilted toward the left of the picture.
    """
    turn = matrix[:3, :3] / np.maximum(np.linalg.norm(matrix[:3, :3], axis=0), 1e-9)
    yaw = np.arctan2(turn[0, 2], turn[2, 2])
    pitch = np.arcsin(np.clip(-turn[1, 2], -1.0, 1.0))
    roll = np.arctan2(turn[1, 0], turn[1, 1])
    return np.array([yaw, -pitch, roll], np.float32)


def clarity(grey: Image) -> tuple[float, float]:
    """Sharpness and brightness of a grey picture of a face, as `FaceFeatures` has them."""
    small = cv2.resize(grey, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_64F).var()), float(small.mean() / 255)


def _nothing(
    t_ns: int, faces: int, brightness: float, motion: float, people: tuple[Person, ...] | None
) -> FaceFeatures:
    values = np.zeros(FACE_DIM, np.float32)
    return FaceFeatures(t_ns, values, False, faces, 0.0, 0.0, brightness, motion, people=people)


def _shapes(result: vision.FaceLandmarkerResult, at: int) -> Floats:
    """Blendshapes (D,) of one of the faces."""
    scores = {shape.category_name: shape.score for shape in result.face_blendshapes[at]}
    return np.array([scores[name] for name in BLENDSHAPES], np.float32)


def _limited(image: Image) -> Image:
    scale = LARGEST_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _box(landmarks: Sequence[Any], aspect: float) -> Box:
    across, down = [point.x * aspect for point in landmarks], [point.y for point in landmarks]
    return Box(min(across), min(down), max(across), max(down))


def _box_of_detection(box: Any, left: int, top: int, height: int) -> Box:  # noqa: ANN401 - a type of mediapipe
    x, y = (box.origin_x + left) / height, (box.origin_y + top) / height
    return Box(x, y, x + box.width / height, y + box.height / height)


def _cut(image: Image, box: Box, margin: float) -> tuple[Image, int, int]:
    """Cut a box with a margin in face sizes; returns the part inside the picture, at least 1 px, and its corner."""
    extra, (height, width) = margin * box.size, image.shape[:2]
    left = int(np.clip((box.left - extra) * height, 0, width - 1))
    top = int(np.clip((box.top - extra) * height, 0, height - 1))
    right = int(np.clip((box.right + extra) * height, left + 1, width))
    bottom = int(np.clip((box.bottom + extra) * height, top + 1, height))
    return np.ascontiguousarray(image[top:bottom, left:right]), left, top
