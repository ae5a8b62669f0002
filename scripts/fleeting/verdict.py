"""What chaos broke, by what an independent subscriber heard: pure, of arrivals, faults and what was wanted when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.fleeting.arrivals import newest_epoch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.fleeting.arrivals import Heard

BACK_S = 6.0
"""So long after a broker is back clients may take to be back: messages of QoS 0 are lost meanwhile."""
SILENT_S = 10.0
"""A stream speaks again so long after the last harm,"""
SILENT_MOST_S = 20.0
"""and whatever else is done to its hosts, so long after its last word."""
GHOST_S = 20.0
"""A stream that was removed may still be heard for so long: from a host that was stopped just then."""
GRID_S = 0.05


@dataclass
class Faults:
    """When what was harmed, by the wall clock: hosts, and when the broker went and came back."""

    harms: list[float] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def gone_s(self, begin_s: float, end_s: float) -> float:
        """For how much of a time the broker was gone, or its clients not back yet."""
        away = [(max(begin_s, one), min(end_s, other + BACK_S)) for one, other in self.outages]
        covered_s, last_s = 0.0, begin_s
        for one, other in sorted(away):
            covered_s += max(0.0, other - max(one, last_s))
            last_s = max(last_s, other)
        return covered_s


@dataclass
class Wanted:
    """When a stream was wanted: from, and until (infinity while it is)."""

    since_s: float
    periods: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """It is wanted from the begin on."""
        self.periods.append((self.since_s, float("inf")))

    def begin(self, now_s: float) -> None:
        """Want it again."""
        if self.periods[-1][1] != float("inf"):
            self.periods.append((now_s, float("inf")))

    def end(self, now_s: float) -> None:
        """Want it no more."""
        self.periods[-1] = (self.periods[-1][0], now_s)

    @property
    def now(self) -> bool:
        """Whether it is."""
        return self.periods[-1][1] == float("inf")


@dataclass
class Verdict:
    """How much of what must not be there was found, and how long the longest silence without a broker's fault was."""

    windows: int = 0
    gaps: int = 0
    """Windows of one epoch that never came, though the broker was there."""
    twice: int = 0
    """Messages that a client takes although another host, or the same one, has said that window or a later one."""
    off_grid: int = 0
    silent: int = 0
    """Streams that did not speak for too long."""
    ghosts: int = 0
    """Messages of streams that had long been removed."""
    rejected: int = 0
    """Messages that a client rejects by their epoch: no violation."""
    longest_s: float = 0.0

    @property
    def violations(self) -> int:
        """All of them."""
        return self.gaps + self.twice + self.off_grid + self.silent + self.ghosts


def judge(
    heard: Mapping[str, Sequence[Heard]], wanted: Mapping[str, Wanted], faults: Faults, hop_s: float, end_s: float
) -> Verdict:
    """Judge all that was heard until a moment at which nothing had been harmed for a while."""
    found = Verdict()
    for stream, known in wanted.items():
        taken, stale = newest_epoch(heard.get(stream, ()))
        found.windows += len(taken)
        found.rejected += len(stale)
        _judge_order(found, taken, faults, hop_s)
        for begin_s, until_s in known.periods:
            last_s = min(until_s, end_s)
            said = [each.at_s for each in taken if begin_s <= each.at_s <= last_s]
            for early_s, late_s in itertools.pairwise([begin_s, *said, last_s]):
                _judge_silence(found, early_s, late_s, faults)
        ends = [(until_s, known.periods[number + 1 :]) for number, (_, until_s) in enumerate(known.periods)]
        for until_s, later in ends:
            again_s = later[0][0] if later else end_s
            found.ghosts += sum(until_s + GHOST_S < each.at_s < again_s for each in taken)
    return found


def _judge_order(found: Verdict, taken: Sequence[Heard], faults: Faults, hop_s: float) -> None:
    for early, late in itertools.pairwise(taken):
        if early.epoch != late.epoch:
            continue
        steps = late.seq - early.seq
        found.twice += steps <= 0 or early.host != late.host
        if steps > 1 and not faults.gone_s(early.at_s, late.at_s):
            found.gaps += steps - 1
        found.off_grid += abs(late.end_s - early.end_s - steps * hop_s) > GRID_S


def _judge_silence(found: Verdict, early_s: float, late_s: float, faults: Faults) -> None:
    silent_s = late_s - early_s - faults.gone_s(early_s, late_s)
    found.longest_s = max(found.longest_s, silent_s)
    harmed_s = max((each for each in faults.harms if early_s <= each <= late_s), default=early_s)
    since_s = late_s - harmed_s - faults.gone_s(harmed_s, late_s)
    found.silent += since_s > SILENT_S or silent_s > SILENT_MOST_S
