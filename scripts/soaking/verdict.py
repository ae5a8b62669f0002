"""What came of a run: times per fault, use of resources, and every promise that was broken."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.harness.live_program import HOP_S, breaks_in, faults_of
from scripts.soaking.checks import unexplained
from scripts.soaking.rig import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psutil

    from scripts.harness.live_program import Run
    from scripts.soaking.rig import Rig

WARM_UP = 0.25
"""Share of the run in which memory may still grow: caches and models fill."""
HOUR_S = 3600


@dataclass
class Outcome:
    """What came of one fault, in seconds from the harm and from the mending."""

    kind: str
    noticed_s: float | None = None
    recovered_s: float | None = None


@dataclass
class Usage:
    """Resources of the program over time: seconds, megabytes, threads, descriptors, for each process that ran it."""

    samples: dict[int, list[tuple[float, float, int, int]]] = field(default_factory=dict)

    def take(self, process: psutil.Process) -> None:
        """Add what the program uses now."""
        memory_mb = process.memory_info().rss / 1e6
        own = self.samples.setdefault(process.pid, [])
        own.append((time.monotonic(), memory_mb, process.num_threads(), process.num_fds()))

    @property
    def memory_mb(self) -> float:
        """What the program used last."""
        return [*self.samples.values()][-1][-1][1] if self.samples else 0.0

    def trend(self) -> tuple[float, int, int]:
        """Megabytes per minute, and growth of threads and descriptors, after the warm-up of the longest run."""
        longest = max(self.samples.values(), key=len, default=[])
        values = np.array(longest[int(len(longest) * WARM_UP) :])
        if len(values) < 4:
            return 0.0, 0, 0
        slope = np.polyfit(values[:, 0] / 60, values[:, 1], 1)[0]
        tenth = max(1, len(values) // 10)
        growth = np.median(values[-tenth:, 2:], axis=0) - np.median(values[:tenth, 2:], axis=0)
        return float(slope), int(growth[0]), int(growth[1])


@dataclass
class Silence:
    """Times in which the subscriber heard nothing of a stream because the broker was away."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, stream: str, gone_s: float, back_s: float) -> None:
        """Note one."""
        self.spans.setdefault(stream, []).append((gone_s, back_s))

    def covers(self, stream: str, begin_s: float, end_s: float) -> bool:
        """Whether any of it lies between two moments."""
        return any(begin_s <= back_s and end_s >= gone_s for gone_s, back_s in self.spans.get(stream, ()))


def violations(rig: Rig, silence: Silence) -> Iterator[str]:
    """Look at everything that was heard and written; yield each broken promise."""
    for run in rig.live.runs:
        for stream in STREAMS:
            yield from _sentiment(run, stream, silence)
            yield from _events(run, stream)
            for health in run.heard("health", stream):
                for name, part in health.body["components"].items():
                    count = part["channel"]
                    if count and count["pushed"] != count["popped"] + count["dropped"] + count["pending"]:
                        yield f"{stream} {name}: channel {count}"
        if "Traceback" in run.text():
            yield f"a traceback: {run.text().partition('Traceback')[2][:500]}"


def _sentiment(run: Run, stream: str, silence: Silence) -> Iterator[str]:
    heard, written = run.heard("sentiment", stream), run.written("sentiment", stream)
    for body in written:
        for fault in faults_of(body):
            yield f"{stream} {body['seq']}: {fault}"
    yield from (
        f"{stream}: {fault}" for fault in unexplained(breaks_in(written), written, run.written("event", stream))
    )
    seqs = [each.body["seq"] for each in heard]
    if seqs != sorted(set(seqs)):
        yield f"{stream}: a subscriber got sentiment twice or out of order"
    gaps = [
        (late.body["seq"] - early.body["seq"] - 1, early.body["seq"])
        for early, late in itertools.pairwise(heard)
        if not silence.covers(stream, early.at_s, late.at_s)
    ]
    if sum(missing for missing, _ in gaps) > _counted(run, stream):
        yield from (f"{stream}: {missing} lost after {seq}" for missing, seq in gaps if missing)


def _counted(run: Run, stream: str) -> int:
    """Messages that the program says it dropped, too old to be of use or for want of room."""
    published = [body["publisher"] for body in run.written("health", stream)]
    return published[-1]["stale"] + published[-1]["queue"]["dropped"] if published and published[-1] else 0


def untold(rig: Rig) -> bool:
    """Whether the program that runs has told of something that the subscriber has not heard yet."""
    run = rig.live.runs[-1]
    return any(
        {body["id"] for body in run.written("event", stream)} - {each.body["id"] for each in run.heard("event", stream)}
        for stream in STREAMS
    )


def _events(run: Run, stream: str) -> Iterator[str]:
    ids = [each.body["id"] for each in run.heard("event", stream)]
    told = [body["id"] for body in run.written("event", stream)]
    if len(ids) != len(set(ids)):
        yield f"{stream}: an event came twice"
    if [each for each in told if each in set(ids)] != list(dict.fromkeys(ids)):
        yield f"{stream}: events came out of order"
    if lost := set(told) - set(ids):
        yield f"{stream}: events that never came: {sorted(lost)}"


def longest_gap_hops(rig: Rig, silence: Silence) -> float:
    """Longest wait of the subscriber for sentiment, without what the machine withheld from it."""
    waits = [
        late.at_s - early.at_s - rig.pacemaker.withheld_s(early.at_s, late.at_s)
        for stream in STREAMS
        for early, late in itertools.pairwise(rig.live.heard("sentiment", stream))
        if not silence.covers(stream, early.at_s, late.at_s)
    ]
    return round(max(waits, default=0.0) / HOP_S, 2)


def longest_published_gap_hops(rig: Rig) -> float:
    """The same by the program's own stamps, over the whole run; the steps of the wall clock are whole hours.

    What lies between windows that were left out, and were told of, is no gap.
    """
    gaps_s = [0.0]
    for run in rig.live.runs:
        for stream in STREAMS:
            for early, late in itertools.pairwise(run.written("sentiment", stream)):
                if late["window"]["end_s"] - early["window"]["end_s"] < 1.5 * HOP_S:
                    gaps_s.append((_utc(late) - _utc(early)).total_seconds())
    return round(max(gap_s - HOUR_S * round(gap_s / HOUR_S) for gap_s in gaps_s) / HOP_S, 2)


def _utc(body: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(body["utc"].rstrip("Z"))


def p95(values: Sequence[float | None]) -> float | None:
    """95th percentile of what is known."""
    known = [value for value in values if value is not None]
    return round(float(np.percentile(known, 95)), 2) if known else None


def seconds(value: float | None) -> str:
    """A time for people."""
    return "-" if value is None else f"{value:.2f} s"


def table(outcomes: Sequence[Outcome]) -> str:
    """Lay out what came of the faults by kind, as Markdown."""
    lines = [
        "| fault | times | noticed, median | noticed, longest | back, median | back, longest |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted({outcome.kind for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        cells = [kind, str(len(own))]
        for values in ([outcome.noticed_s for outcome in own], [outcome.recovered_s for outcome in own]):
            known = [value for value in values if value is not None]
            cells += [seconds(float(np.median(known))), seconds(max(known))] if known else ["-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
