"""What is still on its way to a window: a watermark per stage, the time up to which it has reported.

A window is whole once every stage that works has reported past its end: nothing that lies in it can come any more, so
waiting longer would change nothing. Pictures are moments, often far apart: that none is missing is known from a later
one of the camera, looked at or not, and then only the analysis of those before it is waited for. Sound has no gaps: it
is whole once it has been worked off up to the end. What is lost or stale is never waited for, and words never are: they
come when they come. No thread and no clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

from realtime.fuse.reliability import LATE_AFTER_S, LOST_AFTER_S
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.types import Modality

StageName = Literal["face", "voice", "speech"]
STAGES: dict[StageName, tuple[Modality, ...]] = {"face": ("face",), "voice": ("voice",), "speech": ("voice", "text")}
"""The stages whose results a window needs in time, and the modalities that are judged by them."""
MOMENTS = frozenset({"face"})
"""The stages that take pictures."""
UNSEEN = 256
"""Pictures in analysis that are remembered: seventeen seconds, and after two a stage is stale."""
LOST_NS = int(LOST_AFTER_S * NS_PER_S)
LATE_NS = int(LATE_AFTER_S * NS_PER_S)


class Due:
    """What one stream still waits for. Times of a device, and of a stage, must not fall.

    Args:
        devices: name of the device behind each modality; one that is missing is off.
    """

    def __init__(self, devices: Mapping[Modality, str]) -> None:
        found = {stage: [devices[name] for name in judged if name in devices] for stage, judged in STAGES.items()}
        self._devices = {stage: named[0] for stage, named in found.items() if named}
        self.reset()

    def reset(self) -> None:
        """Forget all, as after a pause."""
        self._first_ns: dict[str, int] = {}
        self._seen_ns: dict[str, int] = {}
        self._passed_ns: dict[str, int] = {}
        self._lost: set[str] = set()
        self._done_ns: dict[str, int] = {}
        self._in_work_ns: deque[int] = deque(maxlen=UNSEEN)

    def saw(self, device: str, t_ns: int) -> None:
        """Note a picture of this moment, or sound up to it, before anything is computed from it."""
        self._first_ns.setdefault(device, t_ns)
        self._seen_ns[device] = t_ns
        self._lost.discard(device)
        if device == self._devices.get("face"):
            self._in_work_ns.append(t_ns)

    def passed_over(self, device: str, t_ns: int) -> None:
        """Note that a picture of this moment is not looked at; those before it that are have been seen."""
        self._passed_ns[device] = t_ns

    def lost(self, device: str) -> None:
        """Note that a device is lost; until it delivers again nothing of it is waited for."""
        self._lost.add(device)

    def worked_off(self, stage: StageName, t_ns: int) -> None:
        """Note that a stage has worked off its input up to this time, and has handed on what came of it."""
        self._done_ns[stage] = t_ns
        if stage in MOMENTS:
            while self._in_work_ns and self._in_work_ns[0] <= t_ns:
                self._in_work_ns.popleft()

    def nothing(self, end_ns: int) -> bool:
        """Whether nothing that belongs to the window that ends then is on its way any more."""
        return not any(self._waits(stage, device, end_ns) for stage, device in self._devices.items())

    def _waits(self, stage: StageName, device: str, end_ns: int) -> bool:
        seen_ns = self._seen_ns.get(device)
        if seen_ns is None or device in self._lost or end_ns - seen_ns > LOST_NS:
            return False
        done_ns = self._done_ns.get(stage, self._first_ns[device])
        if end_ns - done_ns > LATE_NS:
            return False
        if stage in MOMENTS:
            newest_ns = max(seen_ns, self._passed_ns.get(device, seen_ns))
            return newest_ns < end_ns or bool(self._in_work_ns and self._in_work_ns[0] <= end_ns)
        return done_ns < end_ns
