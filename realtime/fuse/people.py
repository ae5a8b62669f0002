"""Everyone in a window, each with a reading of their own face and a guess whether the voice is theirs.

Who speaks is told by the lips: those of the speaker open with the loudness of the voice, those of a listener don't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.affect import EXPRESSIONS
from realtime.fuse.channels import valence
from realtime.fuse.reliability import RECENT_S, ramp, settled
from realtime.fuse.speaking import Speaking
from realtime.types import NS_PER_S, Presence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.types import FaceFeatures, Person, SpeechFrame

AWAY_S: Final = 1.0
"""Who has not been seen for so long is not there."""
LEAST_PICTURES: Final = 3
"""A face in fewer pictures may be no face."""
SIZE: Final = (0.04, 0.12)
"""Height of a face, in heights of the picture, from which it can be read at all, and as well as any."""


class People:
    """What is said of the people in the windows of one stream, one window after the other."""

    def __init__(self) -> None:
        self._speaking = Speaking()
        self._first_ns: dict[int, int] = {}

    def close(self, faces: Sequence[FaceFeatures], speech: Sequence[SpeechFrame], end_ns: int) -> tuple[Presence, ...]:
        """Return who is there, in the order of their ids.

        Args:
            faces: the features of the pictures in the window, in order of time.
            speech: the steps of the speech detector in it.
            end_ns: its end.
        """
        seen: dict[int, list[tuple[int, Person]]] = {}
        for face in faces:
            for person in face.people or ():
                seen.setdefault(person.id, []).append((face.t_ns, person))
        self._first_ns = {number: self._first_ns.get(number, times[0][0]) for number, times in seen.items()}
        there = {
            number: pictures
            for number, pictures in sorted(seen.items())
            if len(pictures) >= LEAST_PICTURES and end_ns - pictures[-1][0] <= AWAY_S * NS_PER_S
        }
        speaking = self._speaking.close(
            {number: [(at, person.mouth) for at, person in pictures] for number, pictures in there.items()},
            speech,
            end_ns,
        )
        return tuple(
            _presence(pictures, settled(self._first_ns[number], end_ns), speaking.get(number), end_ns)
            for number, pictures in there.items()
        )


def _presence(pictures: Sequence[tuple[int, Person]], known: float, speaking: float | None, end_ns: int) -> Presence:
    newest = pictures[-1][1]
    recent = [person for at, person in pictures if end_ns - at <= RECENT_S * NS_PER_S]
    read = [person.likely for person in recent if person.likely is not None]
    worth = known * _quality(recent) if read else 0.0
    likely = np.mean(read, axis=0) if worth else None
    return Presence(
        id=newest.id,
        main=newest.main,
        box=newest.box,
        expression=None if likely is None else EXPRESSIONS[int(likely.argmax())],
        valence=None if likely is None else valence(likely),
        reliability=worth,
        speaking=speaking,
    )


def _quality(people: Sequence[Person]) -> float:
    """What the pictures of a face are worth by their size, sharpness and brightness, 0 to 1."""
    height = float(np.mean([person.box[3] - person.box[1] for person in people]))
    sharpness = float(np.mean([person.sharpness for person in people]))
    brightness = float(np.mean([person.brightness for person in people]))
    return ramp(height, *SIZE) * ramp(sharpness, 10.0, 100.0) * ramp(brightness, 0.03, 0.15)
