"""The usual face at rest: medians of 1472 neutral faces, by scripts/neutral_face.py."""

from __future__ import annotations

from typing import Final

import numpy as np

NEUTRAL_BLENDSHAPES: Final = {
    "browDownLeft": 0.011,
    "browDownRight": 0.011,
    "browInnerUp": 0.076,
    "browOuterUpLeft": 0.214,
    "browOuterUpRight": 0.132,
    "cheekPuff": 0.000,
    "cheekSquintLeft": 0.000,
    "cheekSquintRight": 0.000,
    "eyeBlinkLeft": 0.087,
    "eyeBlinkRight": 0.064,
    "eyeLookDownLeft": 0.120,
    "eyeLookDownRight": 0.127,
    "eyeLookInLeft": 0.037,
    "eyeLookInRight": 0.116,
    "eyeLookOutLeft": 0.120,
    "eyeLookOutRight": 0.041,
    "eyeLookUpLeft": 0.080,
    "eyeLookUpRight": 0.078,
    "eyeSquintLeft": 0.281,
    "eyeSquintRight": 0.193,
    "eyeWideLeft": 0.010,
    "eyeWideRight": 0.009,
    "jawForward": 0.000,
    "jawLeft": 0.002,
    "jawOpen": 0.008,
    "jawRight": 0.000,
    "mouthClose": 0.001,
    "mouthDimpleLeft": 0.002,
    "mouthDimpleRight": 0.002,
    "mouthFrownLeft": 0.004,
    "mouthFrownRight": 0.005,
    "mouthFunnel": 0.002,
    "mouthLeft": 0.002,
    "mouthLowerDownLeft": 0.002,
    "mouthLowerDownRight": 0.002,
    "mouthPressLeft": 0.011,
    "mouthPressRight": 0.013,
    "mouthPucker": 0.068,
    "mouthRight": 0.000,
    "mouthRollLower": 0.023,
    "mouthRollUpper": 0.007,
    "mouthShrugLower": 0.021,
    "mouthShrugUpper": 0.023,
    "mouthSmileLeft": 0.000,
    "mouthSmileRight": 0.000,
    "mouthStretchLeft": 0.002,
    "mouthStretchRight": 0.004,
    "mouthUpperUpLeft": 0.000,
    "mouthUpperUpRight": 0.000,
    "noseSneerLeft": 0.000,
    "noseSneerRight": 0.000,
}
NEUTRAL_EXPRESSIONS: Final = np.array([0.05, 0.0, 0.08, 0.04, 0.66, 0.15, 0.02], np.float32)
"""Mean probabilities of the expressions of those that are labelled neutral, in the order of EXPRESSIONS."""
