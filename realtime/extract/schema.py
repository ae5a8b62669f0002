"""The columns of every modality, and one hash over all that decides what a feature means.

A weights file carries the hash of the features it was trained on; with any other it is refused. Whoever changes what
a column means without changing its name raises the version of the modality.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from models.affect import EXPRESSIONS
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

FACE_VERSION: Final = 2
VOICE_VERSION: Final = 2
TEXT_VERSION: Final = 3

BLENDSHAPES: Final = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""MediaPipe's blendshapes but for `_neutral`, which is always 0; minus the running baseline of the face."""
FACE_SHAPES: Final = (*BLENDSHAPES, "yaw_rad", "pitch_rad", "roll_rad")
FACE_COLUMNS: Final = (*FACE_SHAPES, *(f"expression_{name}" for name in EXPRESSIONS), "expression_known")
"""Then the probabilities of the expressions minus those of this face at rest, and whether they were read (0 or 1)."""

MELS: Final = 32
CEPSTRA: Final = 13
VOICE_STEP_S: Final = 0.1
"""One voice vector per block of so many seconds."""
VOICE_COLUMNS: Final = (
    *(f"mel{i}_mean" for i in range(MELS)),
    *(f"mfcc{i}_std" for i in range(CEPSTRA)),
    *(f"mfcc{i}_slope" for i in range(1, CEPSTRA)),
    *["level_mean", "level_max", "level_std", "level_slope"],
    *["f0_mean", "f0_relative", "f0_std", "f0_slope", "periodicity_mean", "periodicity_max", "voiced_share"],
    *["centroid_mean", "centroid_std", "spread_mean", "flatness_mean", "rolloff_mean", "flux_mean", "crossings_mean"],
    *["tilt", "hammarberg"],
)

EMBEDDING_DIM: Final = 10
VOICE_INPUTS: Final = (
    *VOICE_COLUMNS,
    *(f"embedding{i}" for i in range(EMBEDDING_DIM)),
    "embedding_known",
    "embedding_age_s",
)
"""Of the voice in a window: those of each block, then the newest embedding of the utterance minus the speaker's mean,
whether there is one (0 or 1), and its age at the end of the window."""

FACE_DIM: Final = len(FACE_COLUMNS)
VOICE_DIM: Final = len(VOICE_COLUMNS)
VOICE_INPUT_DIM: Final = len(VOICE_INPUTS)
TEXT_COLUMNS: Final = ("location", "log_scale")
"""Of a Laplace distribution over the sentiment of the present utterance up to and including the word."""
TEXT_DIM: Final = len(TEXT_COLUMNS)


def schema() -> Mapping[str, Any]:
    """What the features are: columns, rates and versions."""
    return {
        "face": {"version": FACE_VERSION, "columns": FACE_COLUMNS, "model": "mediapipe face_landmarker"},
        "voice": {
            "version": VOICE_VERSION,
            "columns": VOICE_INPUTS,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "step_s": VOICE_STEP_S,
        },
        "text": {"version": TEXT_VERSION, "columns": TEXT_COLUMNS},
    }


OLDER: Final[Mapping[str, Mapping[str, int]]] = {
    "f6b761997d0cebbc32031d4c0c09a0dafe87bb1e211c88458c968aaba6a4bf00": {"text": 2, "voice": 77, "face": 54},
}
"""Schemas of older weights and recordings that this program still takes, by their hash: so many of today's columns,
from the first on, mean what they meant."""


def schema_hash() -> str:
    """Return the sha256 of the canonical JSON of `schema`, in hex."""
    canonical = json.dumps(schema(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
