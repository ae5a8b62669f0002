"""Run the whole program for minutes while its real devices and broker fail at random, and count what goes wrong.

    python scripts/soak.py --minutes 30 --chaos 7

Camera, microphone and broker are those of the tests (tests/parts), so it needs what scripts/test installs. The same
seed gives the same faults in the same order. Ends with a table and one line of JSON; the exit code is 1 if there was
any violation: a message that breaks a promise, a gap in the sequence, an event lost or delivered twice, a channel whose
counts do not add up, a fault nobody was told of, a device that did not come back, or the end of the program.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from parts import clips  # noqa: E402 - found by the line above, as the next ones
from parts.camera import V4l2Camera, built, child_env  # noqa: E402
from parts.live import HOP_S, Heard, Live, Pacemaker, breaks_in, faults_of  # noqa: E402
from parts.mosquitto import Mosquitto  # noqa: E402
from parts.sound import SoundServer, sound_server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIP = "mosi_clips/03bSnISJMiM_1.mp4"
NOTICE_S, RETURN_S = 10.0, 15.0
HOLD_S, REST_S = (1.5, 5.0), (1.0, 4.0)
SPEAK_EVERY_S = 30.0
WARM_UP = 0.25
"""Share of the run in which memory may still grow: caches and models fill."""
SAVED_S = 2.5
KEEP = ("allow_anonymous true", "user root", "persistence true", "autosave_on_changes true", "autosave_interval 1")


@dataclass(frozen=True)
class Fault:
    """A way to break a part and to mend it; noticed when the modality `watch` weighs nothing, or by an `event`."""

    kind: str
    watch: str | None
    harm: Callable[[], object]
    mend: Callable[[], object]
    event: str | None = None


@dataclass
class Outcome:
    """What came of one fault, in seconds from the harm and from the mending."""

    kind: str
    noticed_s: float | None = None
    recovered_s: float | None = None


@dataclass
class Usage:
    """Resources of the program over time: seconds, megabytes, threads, descriptors."""

    samples: list[tuple[float, float, int, int]] = field(default_factory=list)

    def take(self, process: psutil.Process) -> None:
        """Add what the program uses now."""
        memory_mb = process.memory_info().rss / 1e6
        self.samples.append((time.monotonic(), memory_mb, process.num_threads(), process.num_fds()))

    def trend(self) -> tuple[float, int, int]:
        """Megabytes per minute, and growth of threads and descriptors, after the warm-up."""
        values = np.array(self.samples[int(len(self.samples) * WARM_UP) :])
        if len(values) < 4:
            return 0.0, 0, 0
        slope = np.polyfit(values[:, 0] / 60, values[:, 1], 1)[0]
        tenth = max(1, len(values) // 10)
        growth = np.median(values[-tenth:, 2:], axis=0) - np.median(values[:tenth, 2:], axis=0)
        return float(slope), int(growth[0]), int(growth[1])


class Soak:
    """The parts, the program, and the faults done to them."""

    def __init__(self, stack: ExitStack, clip: Path, seed: int) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        self._rng = random.Random(seed)
        self._jpegs, self._black = clips.jpegs(clip), clips.black_jpegs(count=10)
        voice = clips.sound(clip)
        self._speech = np.tile(voice * (0.5 / np.abs(voice).max()), 16)
        self._spoke_s = 0.0
        self.camera = V4l2Camera(built(folder), folder, self._jpegs)
        self.sound: SoundServer = stack.enter_context(sound_server())
        self.broker = Mosquitto(folder, (*KEEP, f"persistence_location {folder}/"))
        stack.callback(self.broker.close)
        env = child_env(self.camera, self.sound) | {"OMP_NUM_THREADS": "1"}
        self.live = Live(folder, self.broker.port, ["--camera", "0", "--mic", "default"], env, session="soak")
        stack.callback(self.live.close)
        self.pacemaker = Pacemaker()
        stack.callback(self.pacemaker.close)
        self.usage, self.outcomes, self.violations = Usage(), list[Outcome](), list[str]()
        self._process = psutil.Process(self.live.program.process.pid)
        self._quiet: list[tuple[float, float]] = []  # while the broker was away

    def run(self, minutes: float) -> float:
        """Break and mend until the time is over; return the minutes it took."""
        self._speak()
        self.live.first(_healthy, 0.0, "a healthy start", timeout_s=90)
        begin_s = time.monotonic()
        while time.monotonic() < begin_s + minutes * 60:
            self._wait(self._rng.uniform(*REST_S))
            fault, hold_s = self._rng.choice(self._faults()), self._rng.uniform(*HOLD_S)
            self._suffer(fault, hold_s)
            if self.live.program.process.poll() is not None:
                self.violations.append(f"the program ended: {self.live.program.text()[-500:]}")
                break
        end_s = time.monotonic()
        self._wait(6)
        self._judge()
        return (end_s - begin_s) / 60

    def summary(self, minutes: float) -> dict[str, Any]:
        """Return the figures of the run."""
        slope, threads, descriptors = self.usage.trend()
        return {
            "minutes": round(minutes, 2),
            "faults": len(self.outcomes),
            "kinds": len({outcome.kind for outcome in self.outcomes}),
            "violations": len(self.violations),
            "noticed_p95_s": _p95([outcome.noticed_s for outcome in self.outcomes]),
            "recovered_p95_s": _p95([outcome.recovered_s for outcome in self.outcomes]),
            "cadence_gap_max_hops": round(self._longest_gap_s() / HOP_S, 2),
            "published_gap_max_hops": round(self._longest_published_gap_s() / HOP_S, 2),
            "memory_slope_mb_per_min": round(slope, 2),
            "threads_growth": threads,
            "fds_growth": descriptors,
            "messages": len(self.live.heard()),
            "events": len(self.live.heard("event")),
        }

    def _faults(self) -> list[Fault]:
        camera, sound, broker = self.camera, self.sound, self.broker
        return [
            Fault("camera unplugged", "face", camera.unplug, camera.run),
            Fault("camera stalled", "face", camera.stall, camera.run),
            Fault("picture frozen", "face", camera.freeze, camera.run),
            Fault("lens covered", "face", lambda: camera.show(self._black), lambda: camera.show(self._jpegs)),
            Fault("camera slow", None, lambda: camera.set_fps(3), lambda: camera.set_fps(25), "slow"),
            Fault("microphone muted", "voice", sound.mute, lambda: sound.mute(False)),
            Fault("microphone removed", "voice", self._pull_out, self._plug_in),
            Fault("sound server frozen", "voice", sound.freeze, sound.thaw),
            Fault("sound server killed", "voice", sound.kill, self._restart_sound),
            Fault("broker killed", None, self._kill_broker, broker.start),
            Fault("broker frozen", None, broker.freeze, broker.thaw),
        ]

    def _suffer(self, fault: Fault, hold_s: float) -> None:
        outcome = Outcome(fault.kind)
        self.outcomes.append(outcome)
        harmed_s = time.monotonic()
        fault.harm()
        if fault.watch:
            lost = self._await(
                lambda heard: heard.part(fault.watch)["weight"] == 0, harmed_s, NOTICE_S, fault, "noticed"
            )
            outcome.noticed_s = lost and lost.at_s - harmed_s
        elif fault.event:
            told = self._await(
                lambda heard: heard.body["kind"] == fault.event, harmed_s, NOTICE_S, fault, "told", "event"
            )
            outcome.noticed_s = told and told.at_s - harmed_s
        self._wait(hold_s, speaking=False)
        if fault.watch and outcome.noticed_s:
            begin_s = harmed_s + outcome.noticed_s
            gone = [heard for heard in self.live.heard() if heard.at_s >= begin_s]
            self._blame(any(heard.part(fault.watch)["weight"] for heard in gone), f"{fault.kind}: weighed while gone")
        fault.mend()
        mended_s = time.monotonic()
        back = self._await(_healthy if fault.watch else _any, mended_s, RETURN_S, fault, "recovered")
        outcome.recovered_s = back and back.at_s - mended_s
        if fault.kind.startswith("broker"):
            self._quiet.append((harmed_s, back.at_s if back else mended_s + RETURN_S))
        print(f"{fault.kind}: noticed {_text(outcome.noticed_s)}, back {_text(outcome.recovered_s)}", file=sys.stderr)

    def _await(
        self,
        holds: Callable[[Heard], object],
        since_s: float,
        timeout_s: float,
        fault: Fault,
        what: str,
        kind: str = "sentiment",
    ) -> Heard | None:
        try:
            return self.live.first(holds, since_s, what, kind, timeout_s)
        except AssertionError:
            self.violations.append(f"{fault.kind}: not {what} within {timeout_s} s")
            return None

    def _judge(self) -> None:
        """Look at everything that was heard and written."""
        heard, written = self.live.heard(), self.live.written("sentiment")
        self.violations += [f"{body['seq']}: {fault}" for body in written for fault in faults_of(body)]
        self.violations += breaks_in(written)
        seqs = [each.body["seq"] for each in heard]
        self._blame(seqs != sorted(set(seqs)), "a subscriber got sentiment twice or out of order")
        for early, late in itertools.pairwise(heard):
            missing = late.body["seq"] - early.body["seq"] - 1
            self._blame(missing and not self._away(early.at_s, late.at_s), f"{missing} lost after {early.body['seq']}")
        ids = [each.body["id"] for each in self.live.heard("event")]
        self._blame(len(ids) != len(set(ids)), "an event came twice")
        lost = {body["id"] for body in self.live.written("event")} - set(ids)
        self._blame(lost, f"events that never came: {sorted(lost)}")
        for health in self.live.heard("health"):
            for name, part in health.body["components"].items():
                count = part["channel"]
                adds_up = not count or count["pushed"] == count["popped"] + count["dropped"] + count["pending"]
                self._blame(not adds_up, f"{name}: channel {count}")

    def _longest_gap_s(self) -> float:
        """Longest wait of the subscriber for sentiment, without what the machine withheld from it."""
        pairs = itertools.pairwise(heard.at_s for heard in self.live.heard())
        waits = [
            late_s - early_s - self.pacemaker.withheld_s(early_s, late_s)
            for early_s, late_s in pairs
            if not self._away(early_s, late_s)
        ]
        return max(waits, default=0.0)

    def _longest_published_gap_s(self) -> float:
        """The same by the program's own stamps, over the whole run."""
        stamps = [datetime.fromisoformat(body["utc"].rstrip("Z")) for body in self.live.written("sentiment")]
        return max(((late - early).total_seconds() for early, late in itertools.pairwise(stamps)), default=0.0)

    def _away(self, begin_s: float, end_s: float) -> bool:
        return any(begin_s <= back_s and end_s >= gone_s for gone_s, back_s in self._quiet)

    def _blame(self, wrong: object, what: str) -> None:
        if wrong:
            self.violations.append(what)

    def _wait(self, seconds: float, *, speaking: bool = True) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            if speaking and time.monotonic() - self._spoke_s > SPEAK_EVERY_S:
                self._speak()
            if self.live.program.process.poll() is None:
                self.usage.take(self._process)
            time.sleep(min(1.0, left_s))

    def _speak(self) -> None:
        self.sound.hush()
        self.sound.play(self._speech)
        self._spoke_s = time.monotonic()

    def _pull_out(self) -> None:
        self.sound.hush()
        self.sound.remove_sinks()

    def _plug_in(self) -> None:
        self.sound.add_sink()
        self._speak()

    def _kill_broker(self) -> None:
        """Kill it, but not before it has saved which events were taken: it would give them out again itself."""
        while any(heard.at_s > time.monotonic() - SAVED_S for heard in self.live.heard("event")):
            time.sleep(0.1)
        self.broker.kill()

    def _restart_sound(self) -> None:
        self.sound.start()
        self._speak()


def _healthy(heard: Heard) -> bool:
    return heard.part("face")["weight"] > 0 and heard.part("voice")["weight"] > 0


def _any(_: Heard) -> bool:
    return True


def _p95(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.percentile(known, 95)), 2) if known else None


def _text(value: float | None) -> str:
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
            cells += [_text(float(np.median(known))), _text(max(known))] if known else ["-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run and report."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    cli.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    cli.add_argument("--chaos", type=int, default=0, metavar="SEED", help="seed of the faults (default 0)")
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", ROOT.parent / "shared" / "data")))
    args = cli.parse_args()
    with ExitStack() as stack:
        soak = Soak(stack, args.data / CLIP, args.chaos)
        minutes = soak.run(args.minutes)
        summary = soak.summary(minutes)
    for violation in soak.violations[:50]:
        print(f"violation: {violation}", file=sys.stderr)
    print(table(soak.outcomes))
    print(json.dumps(summary))
    return 1 if soak.violations else 0


if __name__ == "__main__":
    sys.exit(main())
