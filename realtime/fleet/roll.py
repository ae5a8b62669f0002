"""The hosts of a fleet as its placer knows them: who runs, who answers, who is to be emptied, and what each said last.

A host that was started anew is another one: what its earlier run said counts no more. Times are given, but for answers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from realtime.fleet.engine import Engine, HostInfo, Json

log = logging.getLogger(__name__)


State = Literal["starting", "ready", "draining", "silent"]


@dataclass(slots=True)
class Run:
    """What is known of a host since it was started."""

    number: int
    answered_ns: int | None = None
    asked_ns: int | None = None
    report: Json = field(default_factory=dict)
    asked: Future[Json] | None = None
    silent: bool = False


class Roll:
    """Who is there.

    Args:
        engine: runs the hosts.
        report_s: a host is asked for its report so often.
        lease_ns: a host that has not answered for so long is silent.

    Attributes:
        hosts: all that the engine knows, by name.
        draining: those that are to be emptied.
        joined_ns: when the newest one came.
    """

    def __init__(self, engine: Engine, report_s: float, lease_ns: int) -> None:
        self.hosts: dict[str, HostInfo] = {}
        self.draining: set[str] = set()
        self.joined_ns: int | None = None
        self._engine, self._report_ns, self._lease_ns = engine, int(report_s * NS_PER_S), lease_ns
        self._runs: dict[str, Run] = {}

    def poll(self) -> None:
        """Have the engine say who is there."""
        self.hosts = self._engine.poll()

    def look(self, now_ns: int) -> list[str]:
        """See who has come, and return those whose run has ended."""
        hosts = self.hosts
        ended = [
            name
            for name, run in self._runs.items()
            if name not in hosts or not hosts[name].up or hosts[name].run != run.number
        ]
        for name in ended:
            del self._runs[name]
        for name, info in hosts.items():
            if info.up and name not in self._runs:
                self._runs[name] = Run(info.run)
                self.joined_ns = now_ns
        return ended

    def ask(self, now_ns: int) -> Iterator[tuple[str, Run, Future[Json]]]:
        """Ask those whose report is due, and give out the answers to come."""
        for name, run in self._runs.items():
            due = run.asked_ns is None or now_ns - run.asked_ns >= self._report_ns
            if run.asked is None and due:
                run.asked_ns, run.asked = now_ns, self._engine.ask(name, "report")
                yield name, run, run.asked

    def take(self, name: str, run: Run, answer: Future[Json], now_ns: int) -> bool:
        """Take an answer; False where it is none, or of an earlier run."""
        run.asked = None
        if self._runs.get(name) is not run:
            return False
        if (error := answer.exception()) is not None:
            log.warning("host %s: no report: %s", name, error)
            return False
        if run.silent:
            log.warning("host %s answers again", name)
        run.report, run.answered_ns, run.silent = answer.result(), now_ns, False
        return True

    def note_silence(self, now_ns: int) -> None:
        """See who has not answered for a lease."""
        for run in self._runs.values():
            run.silent = run.answered_ns is not None and now_ns - run.answered_ns >= self._lease_ns

    def delay(self, late_ns: int) -> None:
        """Let so much time count for no host's silence."""
        for run in self._runs.values():
            if run.answered_ns is not None:
                run.answered_ns += late_ns

    def ready(self) -> list[HostInfo]:
        """Return those that answer; they may be about to be emptied."""
        return [self.hosts[name] for name, run in self._runs.items() if run.answered_ns is not None and not run.silent]

    def reports(self) -> dict[str, Json]:
        """Return what each host that runs said last, by name; empty before its first answer."""
        return {name: run.report for name, run in dict(self._runs).items()}  # a copy: other threads ask, too

    def report(self, host: str) -> Json:
        """Return what a host said last; empty where nothing is known."""
        run = self._runs.get(host)
        return {} if run is None else run.report

    def state_of(self, info: HostInfo) -> State:
        """Say in a word how a host is."""
        run = self._runs.get(info.name)
        if not info.up or run is None:
            return "starting"
        if run.silent:
            return "silent"
        if info.name in self.draining:
            return "draining"
        return "starting" if run.answered_ns is None else "ready"
