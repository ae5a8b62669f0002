"""The columns of every modality, and one hash over all that decides what a feature means.

A weights file carries the hash of the features it was trained on; with any other it is refused. Whoever changes what
a column means without changing its name raises the version of the modality.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

FACE_VERSION: Final = 1
VOICE_VERSION: Final = 1
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
FACE_COLUMNS: Final = (*BLENDSHAPES, "yaw_rad", "pitch_rad", "roll_rad")

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

FACE_DIM: Final = len(FACE_COLUMNS)
VOICE_DIM: Final = len(VOICE_COLUMNS)
TEXT_COLUMNS: Final = ("location", "log_scale")
"""Of a Laplace distribution over the sentiment of the present utterance up to and including the word."""
TEXT_DIM: Final = len(TEXT_COLUMNS)


def schema() -> Mapping[str, Any]:
    """What the features are: columns, rates and versions."""
    return {
        "face": {"version": FACE_VERSION, "columns": FACE_COLUMNS, "model": "mediapipe face_landmarker"},
        "voice": {
            "version": VOICE_VERSION,
            "columns": VOICE_COLUMNS,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "step_s": VOICE_STEP_S,
        },
        "text": {"version": TEXT_VERSION, "columns": TEXT_COLUMNS},
    }


def schema_hash() -> str:
    """Return the sha256 of the canonical JSON of `schema`, in hex."""
    canonical = json.dumps(schema(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
