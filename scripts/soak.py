"""Run the whole program for minutes while its real devices, broker and stages fail at random; count what goes wrong.

    python -m scripts.soak --minutes 30 --chaos 7

The parts are those of the tests (scripts/harness), so it needs what scripts/test installs. The same seed gives the same
faults in the same order. Ends with a table and one line of JSON; the exit code is 1 if there was any violation: a
message that breaks a promise, a gap in the sequence, an event lost or delivered twice, a channel whose counts do not
add up, a fault nobody was told of, a device that did not come back, or the end of the program.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.harness import talking
from scripts.soaking import faults, peers, verdict
from scripts.soaking.faults import Moments
from scripts.soaking.plan import plan
from scripts.soaking.rig import STREAMS, Rig, healthy
from scripts.soaking.starving import Patience
from scripts.soaking.verdict import Outcome, Silence, Usage, p95, seconds, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scripts.harness.live_program import Heard
    from scripts.soaking.faults import Fault

START_S, NOTICE_S, RETURN_S = 600.0, 15.0, 20.0
HOLD_S, REST_S = (1.0, 3.0), (0.2, 1.0)
SETTLE_S = 6.0


class Soak:
    """A run: breaks one part after the other and waits until it is noticed, mended and well again."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.usage, self.outcomes, self.violations = Usage(), list[Outcome](), list[str]()
        self._rng = random.Random(seed)
        self._silence = Silence()
        self._begin_s = self._withheld = 0.0

    def run(self, minutes: float) -> float:
        """Break and mend until the time is over; return the minutes it took."""
        self.rig.speak()
        for stream in STREAMS:
            self.rig.live.first(healthy, 0.0, f"a healthy start of {stream}", "sentiment", START_S, stream)
        begin_s = self._begin_s = time.monotonic()
        for fault in self._plan(minutes):
            if time.monotonic() >= begin_s + minutes * 60:
                break
            self._wait(self._rng.uniform(*REST_S))
            self._suffer(fault, fault.hold_s or self._rng.uniform(*HOLD_S))
            self._all_well(fault)
            if not self.rig.alive:
                self.violations.append(f"the program ended: {self.rig.live.program.text()[-500:]}")
                break
        end_s = time.monotonic()
        self._withheld = self.rig.withheld_s(begin_s, end_s) / (end_s - begin_s)
        self._wait(SETTLE_S)
        patience = Patience(RETURN_S, time.monotonic(), self.rig.withheld_s)
        while verdict.untold(self.rig) and not patience.over(time.monotonic()):
            self._wait(1.0)
        self.violations += verdict.violations(self.rig, self._silence)
        return (end_s - begin_s) / 60

    def summary(self, minutes: float) -> dict[str, Any]:
        """Return the figures of the run."""
        slope, threads, descriptors = self.usage.trend()
        return {
            "minutes": round(minutes, 2),
            "faults": len(self.outcomes),
            "kinds": len({outcome.kind for outcome in self.outcomes}),
            "violations": len(self.violations),
            "noticed_p95_s": p95([outcome.noticed_s for outcome in self.outcomes]),
            "recovered_p95_s": p95([outcome.recovered_s for outcome in self.outcomes]),
            "cadence_gap_max_hops": verdict.longest_gap_hops(self.rig, self._silence),
            "published_gap_max_hops": verdict.longest_published_gap_hops(self.rig),
            "memory_slope_mb_per_min": round(slope, 2),
            "memory_mb": round(self.usage.memory_mb),
            "runs": len(self.rig.live.runs),
            "threads_growth": threads,
            "fds_growth": descriptors,
            "withheld": round(self._withheld, 2),
            "messages": sum(len(self.rig.live.heard("sentiment", stream)) for stream in STREAMS),
            "events": sum(len(self.rig.live.heard("event", stream)) for stream in STREAMS),
        }

    def _plan(self, minutes: float) -> Iterator[Fault]:
        return plan(
            self._rng,
            minutes,
            lambda: [*faults.faults(self.rig), *peers.faults(self.rig)],
            lambda: peers.restarts(self.rig),
            lambda: faults.long_outage(self.rig),
        )

    def _suffer(self, fault: Fault, hold_s: float) -> None:
        outcome = Outcome(fault.kind)
        self.outcomes.append(outcome)
        harmed_s = time.monotonic()
        fault.harm()
        told = self._noticed(fault, harmed_s)
        outcome.noticed_s = told.at_s - harmed_s if told else None
        self._wait(hold_s, speaking=False)
        if fault.gone and told:
            since = self.rig.live.heard("sentiment", fault.stream, told.at_s)
            if any(heard.part(fault.gone)["weight"] for heard in since):
                self._violated(fault, "weighed while gone")
        mended_s = time.monotonic()
        fault.mend()
        back = self._await(fault.back, mended_s, fault.back_s, fault, "recovered")
        if fault.mended is not None:
            self._told_mended(fault, harmed_s)
        # From when it was mended: a part that takes a while to start is not there before.
        outcome.recovered_s = max(0.0, back.at_s - mended_s) if back else None
        if fault.silent:  # each stream has a connection of its own
            for stream in STREAMS:
                first = self._await(fault.back, mended_s, fault.back_s, fault, f"back for {stream}", stream=stream)
                self._silence.add(stream, harmed_s, first.at_s if first else mended_s + fault.back_s)
        if fault.check is not None:
            moments = Moments(harmed_s, mended_s, back.at_s if back else time.monotonic())
            for broken in fault.check(moments):
                self._violated(fault, broken)
        print(
            f"{time.monotonic() - self._begin_s:.0f} s: {fault.kind}: noticed {seconds(outcome.noticed_s)}, "
            f"back {seconds(outcome.recovered_s)}, {self.usage.memory_mb:.0f} MB",
            file=sys.stderr,
        )

    def _told_mended(self, fault: Fault, harmed_s: float) -> None:
        """Wait until it is told that the part works again: what comes next is told of a part that does only."""
        self.rig.keep_speaking()
        self._await(
            lambda heard: (heard.body["component"], heard.body["kind"]) == fault.mended,
            harmed_s,
            fault.back_s,
            fault,
            "told mended",
            "event",
        )

    def _noticed(self, fault: Fault, harmed_s: float) -> Heard | None:
        if fault.event is not None:
            component, kind = fault.event
            return self._await(
                lambda heard: (heard.body["component"], heard.body["kind"]) == (component, kind),
                harmed_s,
                NOTICE_S,
                fault,
                "told",
                "event",
            )
        if fault.noticed is None:
            return None
        return self._await(fault.noticed, harmed_s, NOTICE_S, fault, "noticed", fault.noticed_kind)

    def _all_well(self, fault: Fault) -> None:
        self.rig.keep_speaking()  # a long fault outlasts a talk
        for stream in STREAMS:
            self._await(healthy, time.monotonic(), RETURN_S, fault, f"well in {stream}", stream=stream)

    def _await(
        self,
        holds: Callable[[Heard], object],
        since_s: float,
        timeout_s: float,
        fault: Fault,
        what: str,
        kind: str = "sentiment",
        stream: str | None = None,
    ) -> Heard | None:
        patience = Patience(timeout_s, time.monotonic(), self.rig.withheld_s)
        while not patience.over(time.monotonic()):
            heard = self.rig.live.heard(kind, stream or fault.stream, since_s)
            if (found := next((each for each in heard if holds(each)), None)) is not None:
                return found
            time.sleep(0.05)
        self._violated(fault, f"not {what} within {timeout_s} s")
        return None

    def _violated(self, fault: Fault, what: str) -> None:
        self.violations.append(f"{fault.kind}: {what}")
        print(f"{time.monotonic() - self._begin_s:.0f} s: violation: {self.violations[-1]}", file=sys.stderr)

    def _wait(self, wait_s: float, *, speaking: bool = True) -> None:
        end_s = time.monotonic() + wait_s
        while (left_s := end_s - time.monotonic()) > 0:
            if speaking:
                self.rig.keep_speaking()
            if self.rig.alive:
                self.usage.take(self.rig.process)
            time.sleep(min(1.0, left_s))


def main() -> int:
    """Run and report."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    cli.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    cli.add_argument("--chaos", type=int, default=0, metavar="SEED", help="seed of the faults (default 0)")
    cli.add_argument("--clip", type=Path, help="a person who talks (default: made of the demo's portrait and voice)")
    args = cli.parse_args()
    with ExitStack() as stack:
        soak = Soak(Rig(stack, args.clip or talking.film(talking.BEST)), args.chaos)
        minutes = soak.run(args.minutes)
        summary = soak.summary(minutes)
    for violation in soak.violations[:50]:
        print(f"violation: {violation}", file=sys.stderr)
    print(table(soak.outcomes))
    print(json.dumps(summary))
    return 1 if soak.violations else 0


if __name__ == "__main__":
    sys.exit(main())
