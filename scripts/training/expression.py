"""FER2013 for the expression network: every picture once, a third held out, and what is done to those trained on."""

from __future__ import annotations

import math
import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from models import zoo
from models.affect import EXPRESSIONS
from models.expression import SHAPES, SIDE
from realtime.extract.face.aligned import ANCHORS, anchors
from realtime.extract.face.extractor import head_pose
from realtime.extract.face.mediapipe_options import LocalOptions
from realtime.extract.face.neutral_blendshapes import NEUTRAL_BLENDSHAPES
from realtime.extract.schema import BLENDSHAPES
from realtime.system.mediapipe import mediapipe as mp
from realtime.system.mediapipe import vision
from scripts.neutral_face import BORDER_PX, FACE_PX
from scripts.training import corpora

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from realtime.types import Floats, Image

HELD_EVERY: Final = 3
DEV_EVERY: Final = 30
"""Of the pictures that are not held out, so many are kept from both readers: what adds them is fitted there."""
DAMAGED_SHARE: Final = 0.35


@dataclass(frozen=True)
class Faces:
    """Grey pictures (N, 48, 48) uint8, the number of each one's expression (N,), and the name of each."""

    pictures: Image
    label: np.ndarray
    ids: np.ndarray

    def part(self, name: str) -> np.ndarray:
        """Rows of `held`, `dev` or `train`, the same in every run."""
        row = np.arange(len(self.label))
        held, dev = row % HELD_EVERY == 0, row % DEV_EVERY == 1
        return np.flatnonzero({"held": held, "dev": dev, "train": ~held & ~dev}[name])


def read(data: Path) -> Faces:
    """Read FER2013 without byte-identical copies, in an order that is shuffled and always the same.

    Raises:
        FileNotFoundError: it is not there.
    """
    examples = list(corpora.fer2013(data, dict.fromkeys(EXPRESSIONS, 0.0)))
    if not examples:
        raise FileNotFoundError(f"no fer2013/fer2013_48.zip in {data}")
    order = np.random.default_rng(0).permutation(len(examples))
    chosen = [examples[index] for index in order]
    with zipfile.ZipFile(str(chosen[0].path)) as archive:
        pictures = [
            np.asarray(
                cv2.imdecode(np.frombuffer(archive.read(example.member), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8
            )
            for example in chosen
        ]
    label = [EXPRESSIONS.index(example.member.split("/")[-2]) for example in chosen]
    return Faces(np.stack(pictures), np.array(label), np.array([example.id for example in chosen]))


def look(faces: Faces, rows: Sequence[int], minutes: float = math.inf) -> tuple[Floats, Floats]:
    """Find the face in pictures, as the live program does in a single one, until the time is up.

    Returns:
        For the N first of them shapes (N, SHAPES): blendshapes minus the usual face at rest, then pose; and eyes and
        mouth (N, 3, 2) in pixels of the 48 x 48 picture. Both NaN where no face is found.
    """
    shapes = np.full((len(rows), SHAPES), np.nan, np.float32)
    points = np.full((len(rows), len(ANCHORS), 2), np.nan, np.float32)
    until_s = time.monotonic() + 60 * minutes
    rest = np.array([NEUTRAL_BLENDSHAPES[name] for name in BLENDSHAPES], np.float32)
    options = vision.FaceLandmarkerOptions(
        base_options=LocalOptions(model_asset_path=str(zoo.path("face"))),
        running_mode=vision.RunningMode.IMAGE,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for at, row in enumerate(tqdm(rows, desc="faces", mininterval=10)):
            if time.monotonic() > until_s:
                return shapes[:at], points[:at]
            image = framed(faces.pictures[row])
            found: Any = landmarker.detect(_picture(image))
            if not found.face_landmarks:
                continue
            scores = {shape.category_name: shape.score for shape in found.face_blendshapes[0]}
            raw = np.array([scores[name] for name in BLENDSHAPES], np.float32) - rest
            shapes[at] = np.concatenate((raw, head_pose(np.asarray(found.facial_transformation_matrixes[0]))))
            height, width = image.shape[:2]
            points[at] = (anchors(found.face_landmarks[0], width, height) - BORDER_PX) * SIDE / FACE_PX
    return shapes, points


def framed(grey: Image) -> Image:
    """Return a small picture of a face large, with a frame around it, in colour: as MediaPipe finds faces."""
    large = cv2.resize(grey, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    wide = cv2.copyMakeBorder(large, BORDER_PX, BORDER_PX, BORDER_PX, BORDER_PX, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(wide, cv2.COLOR_GRAY2BGR), np.uint8)


def _picture(image: Image) -> Any:  # noqa: ANN401 - mediapipe has no types
    return mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(image[..., ::-1]))


def augmented(pictures: Tensor, random: torch.Generator, side: int = SIDE) -> Tensor:
    """Mirror, turn, move and scale pictures (B, 48, 48) float, change their contrast, and damage some of them.

    Returns:
        (B, side, side).
    """
    count = len(pictures)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=random)

    angle, scale = between(-0.2, 0.2), between(0.87, 1.13)
    flip = torch.where(between(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    move_x, move_y = between(-0.12, 0.12), between(-0.12, 0.12)
    turn = torch.stack([torch.stack([cos * flip, -sin, move_x], 1), torch.stack([sin * flip, cos, move_y], 1)], 1)
    grid = functional.affine_grid(turn, [count, 1, side, side], align_corners=False)
    out = functional.grid_sample(pictures.unsqueeze(1), grid, padding_mode="border", align_corners=False)[:, 0]
    gamma = torch.exp(between(-0.4, 0.4))[:, None, None]
    out = 255.0 * (out / 255.0).clamp(0, 1) ** gamma
    for number, kind in enumerate((blurred, noisy, dark, half_hidden)):
        chosen = torch.rand(count, generator=random) * 4 / DAMAGED_SHARE
        rows = ((chosen >= number) & (chosen < number + 1)).nonzero()[:, 0]
        if len(rows):
            out[rows] = kind(out[rows], random)
    return out


def blurred(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Blur pictures (B, 48, 48) by a Gaussian of 0.8 to 2.2 pixels."""
    sigma = 0.8 + 1.4 * float(torch.rand(1, generator=random))
    steps = torch.arange(-5, 6, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    wide = functional.pad(pictures.unsqueeze(1), (5, 5, 5, 5), mode="replicate")
    across = functional.conv2d(wide, kernel[None, None, None, :])
    return functional.conv2d(across, kernel[None, None, :, None])[:, 0]


def noisy(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Add white noise of 8 to 35 grey levels to pictures (B, 48, 48)."""
    level = 8 + 27 * torch.rand(len(pictures), 1, 1, generator=random)
    return (pictures + level * torch.randn(pictures.shape, generator=random)).clamp(0, 255)


def dark(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Leave 5 to 25 % of the light of pictures (B, 48, 48), with the noise and the steps of a camera in the dark."""
    gain = 0.05 + 0.2 * torch.rand(len(pictures), 1, 1, generator=random)
    return (pictures * gain + 1.5 * torch.randn(pictures.shape, generator=random)).round().clamp(0, 255)


def half_hidden(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Hide the left, right, upper or lower half of pictures (B, 48, 48), or less of it, behind one grey."""
    out = pictures.clone()
    for picture in out:
        side, share = (
            int(torch.randint(4, (1,), generator=random)),
            0.25 + 0.25 * float(torch.rand(1, generator=random)),
        )
        cut, grey = round(share * len(picture)), 255 * float(torch.rand(1, generator=random))
        hidden = (picture[:cut], picture[-cut:], picture[:, :cut], picture[:, -cut:])[side]
        hidden.fill_(grey)
    return out


DAMAGES: Final = {"blurred": blurred, "noisy": noisy, "dark": dark, "half hidden": half_hidden}
