"""The names of the optional channels with their units and meanings; nothing heavy is imported for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from models.affect import EXPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

Unit = Literal["-1..1", "probability", "normalized", "words/s", "Hz", "semitones"]


class About(NamedTuple):
    """A channel's unit and what it is."""

    unit: Unit
    meaning: str


ACTIONS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "inner_brow_raiser": ("AU1", ("browInnerUp",)),
    "outer_brow_raiser": ("AU2", ("browOuterUpLeft", "browOuterUpRight")),
    "frown": ("AU4", ("browDownLeft", "browDownRight")),
    "upper_lid_raiser": ("AU5", ("eyeWideLeft", "eyeWideRight")),
    "lid_tightener": ("AU7", ("eyeSquintLeft", "eyeSquintRight")),
    "upper_lip_raiser": ("AU10", ("mouthUpperUpLeft", "mouthUpperUpRight")),
    "smile": ("AU12", ("mouthSmileLeft", "mouthSmileRight")),
    "lip_corner_depressor": ("AU15", ("mouthFrownLeft", "mouthFrownRight")),
    "chin_raiser": ("AU17", ("mouthShrugLower",)),
    "lip_stretcher": ("AU20", ("mouthStretchLeft", "mouthStretchRight")),
    "lip_pressor": ("AU24", ("mouthPressLeft", "mouthPressRight")),
    "jaw_drop": ("AU26", ("jawOpen",)),
}
"""Facial actions by the name of the action unit that they are like, and the blendshapes whose mean they are."""

CHANNELS: Final[Mapping[str, About]] = {
    "valence": About("-1..1", "how pleasant the face looks: its expressions by their probabilities"),
    "arousal": About("-1..1", "how excited the voice sounds"),
    **{name: About("probability", "of this expression of the face") for name in EXPRESSIONS},
    **{
        name: About("normalized", f"like action unit {unit[2:]}: above the face at rest, 1 is as far as faces go")
        for name, (unit, _) in ACTIONS.items()
    },
    "speech_rate": About("words/s", "words a second of the present utterance, pauses included"),
    "pause_ratio": About("normalized", "share of silence between the first and the last speech of the window"),
    "pitch_mean": About("Hz", "mean pitch of the voiced sound (geometric)"),
    "pitch_range": About("semitones", "from the 10th to the 90th percentile of the pitch"),
}
"""Every channel, in the order of the messages."""
