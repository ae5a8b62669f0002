"""When the pictures and the sound of a network camera were taken, by our clock.

The camera's clock says how far apart two packets were taken, picture and sound alike; ours says when each arrived. On
the way a packet can only lose time: the least difference between the two clocks in the last seconds is the one to
believe. So jitter moves nothing, what piled up in a stall keeps its own times, lips stay with the voice, and a camera
whose clock drifts is followed. What even the fastest packet took, in the encoder and on the wire, can't be told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from realtime.types import NS_PER_S

BUCKET_NS = NS_PER_S
BUCKETS = 5
"""Seconds that are remembered: longer than jitter lasts, and so soon another way of the packets is got used to."""
MOST_APART_NS = 2 * NS_PER_S
"""No camera sends sound and picture of one moment further apart: then their times have not the same beginning."""
BACK_NS = 3 * NS_PER_S // 10
"""A clock that goes by more than this was set: packets are not so much out of order, nor so much faster of a sudden."""


SLEW = 0.01
"""Times are put right by so much of the time that passes: sound can follow, and lips stay with it meanwhile."""
STEP_NS = NS_PER_S // 10
"""Where the way has become longer by more than this there is a hole anyway: all that follows is put right at once."""


@dataclass(frozen=True, slots=True)
class Offset:
    """What turns the times of a stream into ours.

    `ahead_ns` is to be added to them; a stream comes `lag_ns` later than that by itself, as pictures that take longer
    to encode than the sound of the same moment.
    """

    ahead_ns: int
    lag_ns: int = 0


class ArrivalLine:
    """Maps the times of a camera to ours. Pure arithmetic: fed by who reads the packets."""

    def __init__(self) -> None:
        self._least: dict[str, deque[tuple[int, int]]] = {}
        self._decoded_ns: dict[str, int] = {}
        self._believed: dict[frozenset[str], tuple[int, int]] = {}

    def feed(self, kind: str, camera_ns: int, decoded_ns: int, arrived_ns: int) -> None:
        """Take a packet.

        Args:
            kind: `audio` or `video`.
            camera_ns: when it was taken, by the camera's clock.
            decoded_ns: the place of the packet in the order of decoding, by the same clock.
            arrived_ns: when it arrived, by ours.
        """
        least = self._least.setdefault(kind, deque(maxlen=BUCKETS))
        if decoded_ns < self._decoded_ns.get(kind, decoded_ns) - BACK_NS:
            least.clear()
        self._decoded_ns[kind] = decoded_ns
        bucket, ahead_ns = arrived_ns // BUCKET_NS, arrived_ns - camera_ns
        if least and least[-1][0] == bucket:
            least[-1] = (bucket, min(least[-1][1], ahead_ns))
        else:
            least.append((bucket, ahead_ns))

    def offset(self, kind: str, arrived_ns: int) -> Offset | None:
        """Return what holds for a packet that arrived then; None where nothing is known of its stream."""
        known = {name: min(ahead for _, ahead in least) for name, least in self._least.items() if least}
        if (own := known.get(kind)) is None:
            return None
        together = {name: ahead for name, ahead in known.items() if abs(ahead - own) <= MOST_APART_NS}
        believed = self._follow(frozenset(together), min(together.values()), arrived_ns)
        return Offset(believed, max(0, own - believed))

    def _follow(self, together: frozenset[str], least_ns: int, arrived_ns: int) -> int:
        before_ns, at_ns = self._believed.get(together, (least_ns, arrived_ns))
        change_ns, most_ns = least_ns - before_ns, int(SLEW * (arrived_ns - at_ns))
        if -BACK_NS <= change_ns <= STEP_NS:
            change_ns = max(-most_ns, min(most_ns, change_ns))
        self._believed[together] = before_ns + change_ns, arrived_ns
        return before_ns + change_ns
