"""The expressions that faces are read as, and the valence that people see in each."""

from __future__ import annotations

from typing import Final

EXPRESSIONS: Final = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The classes of FER2013, in the order of the probabilities."""
VALENCE: Final = {
    "angry": -0.51,
    "disgust": -0.60,
    "fear": -0.64,
    "happy": 0.81,
    "neutral": 0.0,
    "sad": -0.63,
    "surprise": 0.40,
}
"""Of each expression, -1 to 1, as people rate the words (Russell and Mehrabian 1977)."""
