"""The whole program on real parts, and what an independent subscriber hears of it."""

from __future__ import annotations

import bisect
import itertools
import json
import math
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.harness.mosquitto import Subscriber
from scripts.harness.processes import Program, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

HOP_S = 0.25
LATENESS_S = 0.15


@dataclass(frozen=True, slots=True)
class Heard:
    """A message with the monotonic time it arrived at the subscriber."""

    at_s: float
    body: dict[str, Any]

    def part(self, name: str) -> dict[str, Any]:
        """What a sentiment message says of a modality."""
        found: dict[str, Any] = self.body["modalities"][name]
        return found


class Live:
    """A running program and its subscriber.

    Args:
        folder: for its output.
        port: of the broker on loopback.
        options: of realtime.run, besides the broker's.
        env: the program's whole environment.
        session: name of a session that the broker keeps for the subscriber.
        program: what Python runs.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        options: Sequence[str],
        env: Mapping[str, str],
        session: str | None = None,
        program: Sequence[str] = ("-m", "realtime.run"),
    ) -> None:
        self._folder, self._options, self._env = folder, options, env
        self._command = [sys.executable, *program, "--no-view", "--mqtt", f"mqtt://127.0.0.1:{port}"]
        self._runs: list[tuple[float, Path]] = []
        self._parsed = 0
        self._heard: defaultdict[str, list[Heard]] = defaultdict(list)
        self.subscriber = Subscriber(port, "agfn/#", session=session)
        self.start()

    def start(self, *more: str) -> None:
        """Start the program, again after its end, with more options than those that it always has."""
        name = f"live-{len(self._runs) + 1}" if self._runs else "live"
        self._runs.append((time.monotonic() if self._runs else 0.0, self._folder / f"{name}.jsonl"))
        command = [*self._command, "--output", str(self.output), *self._options, *more]
        self.program = Program(command, self._folder / f"{name}.log", self._env)

    @property
    def output(self) -> Path:
        """Where the program writes every message."""
        return self._runs[-1][1]

    @property
    def runs(self) -> list[Run]:
        """What each run of the program had to say, the newest last."""
        ends_s = [begin_s for begin_s, _ in self._runs[1:]] + [math.inf]
        return [Run(self, begin_s, end_s, path) for (begin_s, path), end_s in zip(self._runs, ends_s, strict=True)]

    def heard(self, kind: str = "sentiment", stream: str = "desk", since_s: float = 0.0) -> list[Heard]:
        """Messages of a kind that arrived since then."""
        for message in self.subscriber.messages[self._parsed :]:
            self._parsed += 1
            if message.payload.startswith(b"{"):
                self._heard[message.topic].append(Heard(message.timestamp, json.loads(message.payload)))
        found = self._heard[f"agfn/{stream}/{kind}"]
        return found[bisect.bisect_left(found, since_s, key=lambda each: each.at_s) :]

    def written(self, kind: str, stream: str = "desk") -> list[dict[str, Any]]:
        """Messages of a kind that the program wrote to its own file."""
        return self.runs[-1].written(kind, stream)

    def statuses(self, stream: str, since_s: float) -> list[str]:
        """What came on the topic of a stream's status since then."""
        messages = list(self.subscriber.messages)
        wanted = [each for each in messages if each.topic == f"agfn/{stream}/status" and each.timestamp >= since_s]
        return [bytes(each.payload).decode() for each in wanted]

    def first(
        self,
        holds: Callable[[Heard], object],
        since_s: float,
        what: str,
        kind: str = "sentiment",
        timeout_s: float = 20,
        stream: str = "desk",
    ) -> Heard:
        """Wait for the first message that arrived after `since_s` and fulfils the condition."""

        def found() -> Heard | None:
            return next((each for each in self.heard(kind, stream, since_s) if holds(each)), None)

        try:
            wait_until(found, timeout_s, what)
        except AssertionError as error:
            last = self.heard(kind, stream)[-1:]
            raise AssertionError(f"{error}; last {kind}: {last}; log: {self.program.text()[-2000:]}") from None
        heard = found()
        assert heard is not None, what
        return heard

    def close(self) -> None:
        """End the program and the subscriber."""
        self.program.thaw()
        self.program.process.terminate()
        try:
            self.program.process.wait(30)
        finally:
            self.program.kill()
            self.subscriber.close()


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the program: from its start to the start of the next one, in monotonic seconds."""

    live: Live
    begin_s: float
    end_s: float
    output: Path

    def text(self) -> str:
        """What it printed so far."""
        return self.output.with_suffix(".log").read_text(errors="replace")

    def heard(self, kind: str, stream: str) -> list[Heard]:
        """Messages of a kind that arrived in its time."""
        return [each for each in self.live.heard(kind, stream, self.begin_s) if each.at_s < self.end_s]

    def written(self, kind: str, stream: str) -> list[dict[str, Any]]:
        """Messages of a kind that it wrote to its own file."""
        lines = self.output.read_text().splitlines() if self.output.exists() else []
        bodies = [json.loads(line) for line in lines if f'"agfn.{kind}/' in line[:40] and line.endswith("}")]
        return [body for body in bodies if body["stream"] == stream]


def faults_of(body: dict[str, Any]) -> list[str]:
    """What a sentiment message breaks of what every one of them promises."""
    parts = body["modalities"]
    numbers = [body["confidence"], *(part[key] for part in parts.values() for key in ("weight", "reliability"))]
    found = [f"not finite: {number}" for number in numbers if not math.isfinite(number)]
    weights = sum(part["weight"] for part in parts.values())
    if body["state"] in {"no_signal", "paused"}:
        found += [f"{body['state']} with weights" for _ in range(weights != 0)]
        found += [f"{body['state']} with a score" for _ in range(body["score"] is not None)]
    else:
        found += [f"weights sum to {weights}" for _ in range(abs(weights - 1) > 1e-3)]
        if not -3 <= body["interval"][0] <= body["score"] <= body["interval"][1] <= 3:
            found.append(f"score {body['score']} outside of {body['interval']}")
    for name, part in parts.items():
        if part["state"] in {"lost", "off"} and (part["weight"] or part["reliability"]):
            found.append(f"{name} is {part['state']} and weighs {part['weight']}")
        if part["weight"] and not part["reliability"]:
            found.append(f"{name} weighs {part['weight']} at reliability 0")
    return found


def of_grid(body: dict[str, Any]) -> bool:
    """Whether a sentiment message is one of those that come every hop, not one for a word between two."""
    return bool(body.get("reason", "hop") == "hop")


def breaks_in(bodies: Sequence[dict[str, Any]]) -> list[str]:
    """What a row of sentiment messages breaks: numbers by one, windows of the grid by a hop, at most one in between."""
    found = []
    last_s: float | None = None
    for early, late in itertools.pairwise(bodies):
        if of_grid(early):
            last_s = early["window"]["end_s"]
        if late["seq"] != early["seq"] + 1:
            found.append(f"seq {early['seq']} then {late['seq']}")
            last_s = None
        elif not of_grid(early) and not of_grid(late):
            found.append(f"two words between two hops: seq {late['seq']}")
        elif of_grid(late) and last_s is not None and abs(late["window"]["end_s"] - last_s - HOP_S) > 0.002:
            found.append(f"windows end at {last_s} then {late['window']['end_s']}")
    return found


class Pacemaker:
    """A thread that does nothing but wake every 20 ms: how late it is says what the machine withholds from anyone."""

    STEP_S = 0.02

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def withheld_s(self, begin_s: float, end_s: float) -> float:
        """Time that was withheld between two moments."""
        return sum(late_s for at_s, late_s in list(self._late) if begin_s <= at_s <= end_s + self.STEP_S)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(1)

    def _run(self) -> None:
        before_s = time.monotonic()
        while not self._stop.wait(self.STEP_S):
            now_s = time.monotonic()
            if (late_s := now_s - before_s - self.STEP_S) > 0.01:
                self._late.append((now_s, late_s))
            before_s = now_s
