"""The presentation times of a file, as far as they can be believed: one line of time for all its streams.

A stamp that a few packets later is contradicted was damaged and is replaced by where the stream had to go on. A jump
that stays is a hole if the file can be that long; else it is left out. Times that begin anew (files put together with
`cat`) go on where the longest stream had ended, by the same shift for all streams, so that sound and picture stay
together.

Pure arithmetic on the packets of all streams in the order of the file: whoever reads the file, whichever of its streams
are decoded, gets the same times.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

JUMP_NS = NS_PER_S
"""A step forward beyond this is looked into, whatever comes next."""
BACK_NS = 3 * NS_PER_S // 10
"""So far decoding times may fall back by the rounding of containers."""
STEP_NS = 6 * NS_PER_S // 100
"""A time that is off by more than this, but the next ones are not, is damaged: small holes are the sound's and the
picture's own matter, but a packet that comes a tenth of a second too late costs as much sound."""
NEXT_PACKETS = 3
LEAD_NS = 5 * NS_PER_S
"""The first packets of a stream may lie so far before the beginning: encoders put pictures in another order."""
LONGEST_GAP_NS = 10 * NS_PER_S
"""All streams of a file are silent for no longer, unless the file declares that it lasts so long."""
LINES_KEPT = 4


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a packet is due, in ns since the beginning of the file; `ordered` for decoding times, which never fall."""

    stream: int
    t_ns: int | None
    duration_ns: int
    ordered: bool = True


class Timeline:
    """Says what is to be added to the times of each packet.

    Args:
        end_ns: how long the file is as it declares itself; None if it doesn't, or only guesses.
        restarts: times may begin anew in this format; that is no damage.
        warn: takes each problem in words, and the stream it was found in.
    """

    def __init__(self, end_ns: int | None, *, restarts: bool, warn: Callable[[int, str], None]) -> None:
        self._end_ns, self._restarts, self._warn = end_ns, restarts, warn
        self._next_ns: dict[int, int] = {}
        self._shift_ns: dict[int, int] = {}
        self._lines: deque[int] = deque([0], maxlen=LINES_KEPT)
        """Shifts in use, the newest last: a stream that jumps goes over to that of another one, or back to its own."""

    @property
    def reached_ns(self) -> int:
        """Where the longest stream ends, of what was seen."""
        return max(self._next_ns.values(), default=0)

    def shift_ns(self, stamp: Stamp, ahead: Callable[[], Iterable[Stamp]]) -> int:
        """Return the ns to add to the times of a packet.

        Args:
            stamp: of the packet.
            ahead: gives the stamps of the packets after it, as many as are looked at; asked only in doubt.
        """
        stream, shift_ns = stamp.stream, self._shift_ns.get(stamp.stream, 0)
        expected_ns = self._next_ns.get(stream, 0)
        if stamp.t_ns is None:
            self._next_ns[stream] = expected_ns + stamp.duration_ns
            return shift_ns
        t_ns = stamp.t_ns + shift_ns
        back_ns = LEAD_NS if stream not in self._next_ns else BACK_NS if stamp.ordered else JUMP_NS
        if not -back_ns <= t_ns - expected_ns <= JUMP_NS:
            if self._returns(stamp, expected_ns, shift_ns, ahead()):
                self._warn(stream, "a damaged time stamp")
                shift_ns += expected_ns - t_ns
            elif t_ns < expected_ns or not self._plausible(t_ns):
                if t_ns > expected_ns:
                    self._warn(stream, f"its times jump by {_spoken(t_ns - expected_ns)}, which was left out")
                elif not self._restarts:
                    self._warn(stream, f"its times fall back by {_spoken(expected_ns - t_ns)}")
                shift_ns = self._shift_ns[stream] = self._line(stamp.t_ns, expected_ns, shift_ns, ahead)
            t_ns = stamp.t_ns + shift_ns
        elif stamp.ordered and stream in self._next_ns and self._alone(stamp, expected_ns, shift_ns, ahead):
            self._warn(stream, "a damaged time stamp")
            shift_ns += expected_ns - t_ns
            t_ns = expected_ns
        goes_on_ns = t_ns + stamp.duration_ns
        self._next_ns[stream] = goes_on_ns if stamp.ordered else max(expected_ns, goes_on_ns)
        return shift_ns

    def _plausible(self, t_ns: int) -> bool:
        if self._end_ns is not None and not any(self._shift_ns.values()):
            return t_ns <= self._end_ns + JUMP_NS
        return t_ns - self.reached_ns <= LONGEST_GAP_NS

    def _line(self, t_ns: int, expected_ns: int, shift_ns: int, ahead: Callable[[], Iterable[Stamp]]) -> int:
        """Choose the shift for a stream whose times have jumped for good."""
        newest_ns = self._lines[-1]
        if newest_ns != shift_ns and -JUMP_NS <= t_ns + newest_ns - expected_ns <= LONGEST_GAP_NS:
            return newest_ns
        for known_ns in reversed(self._lines):
            if -BACK_NS <= t_ns + known_ns - expected_ns <= JUMP_NS:
                return known_ns
        line_ns = expected_ns - t_ns
        if self._restarts or t_ns + shift_ns < expected_ns:
            line_ns = self.reached_ns - min([t_ns, *self._jumped(t_ns, ahead())])
        self._lines.append(line_ns)
        return line_ns

    def _jumped(self, t_ns: int, ahead: Iterable[Stamp]) -> Iterator[int]:
        """Yield the times of other streams that have jumped to about the same time."""
        for later in ahead:
            expected_ns = self._next_ns.get(later.stream, 0) - self._shift_ns.get(later.stream, 0)
            if later.t_ns is not None and abs(later.t_ns - t_ns) < JUMP_NS < abs(later.t_ns - expected_ns):
                yield later.t_ns

    @staticmethod
    def _alone(stamp: Stamp, expected_ns: int, shift_ns: int, ahead: Callable[[], Iterable[Stamp]]) -> bool:
        """Whether a small step is this packet's alone: one of the next is where it would be without it."""
        t_ns = (stamp.t_ns or 0) + shift_ns
        if abs(t_ns - expected_ns) <= STEP_NS:
            return False
        own = (later for later in ahead() if later.stream == stamp.stream and later.t_ns is not None)
        expected_ns, goes_on_ns = expected_ns + stamp.duration_ns, t_ns + stamp.duration_ns
        for later in itertools.islice(own, NEXT_PACKETS):
            later_ns = (later.t_ns or 0) + shift_ns
            if abs(later_ns - expected_ns) <= STEP_NS // 2 < abs(later_ns - goes_on_ns):
                return True
            expected_ns, goes_on_ns = expected_ns + later.duration_ns, goes_on_ns + later.duration_ns
        return False

    @staticmethod
    def _returns(stamp: Stamp, expected_ns: int, shift_ns: int, ahead: Iterable[Stamp]) -> bool:
        """Whether the stream soon is where it would be without this packet's jump."""
        line_ns = (stamp.t_ns or 0) + shift_ns + stamp.duration_ns
        expected_ns += stamp.duration_ns
        for later in ahead:
            if later.stream != stamp.stream or later.t_ns is None:
                continue
            t_ns = later.t_ns + shift_ns
            if not -BACK_NS <= t_ns - line_ns <= JUMP_NS:
                return -BACK_NS <= t_ns - expected_ns <= JUMP_NS
            line_ns = t_ns + later.duration_ns
            expected_ns += later.duration_ns
        return False


def _spoken(jump_ns: int) -> str:
    seconds = jump_ns / NS_PER_S
    return f"{seconds / 3600:.1f} h" if abs(seconds) >= 3600 else f"{seconds:.1f} s"
