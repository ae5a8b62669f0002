"""Chaos by seed: hosts killed and stopped, the broker restarted, streams moved, added and removed, hosts drained.

Some faults overlap, but one host is always left in peace. `python -m scripts.fleet --chaos-minutes M` runs it and
`verdict.judge` says what it broke.
"""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from scripts.fleeting.verdict import Faults, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fleeting.rig import Rig

WEIGHTS = {"kill": 4, "stop": 4, "broker": 2, "move": 4, "drain": 1, "add": 2, "remove": 2}
EVERY_S = (2.0, 10.0)
"""From one fault to the next, evenly spread."""
STOPPED_S = (4.0, 12.0)
"""Longer than the lease: a shorter stop is a late window, as on one machine."""
AWAY_S = (0.5, 4.0)
DRAINED_S = (8.0, 15.0)
STEP_S = 0.1


class Chaos:
    """Faults that come and go.

    Args:
        rig: the fleet.
        seed: of which fault comes when.
    """

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig, self._rng = rig, random.Random(seed)
        begun_s = time.time()
        self.faults = Faults()
        self.wanted = {name: Wanted(begun_s) for name in rig.names}
        self.counts: Counter[str] = Counter()
        self._hurt: set[str] = set()
        self._drained: set[str] = set()
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._broker_gone = False
        self._gone: list[str] = []

    def run(self, seconds: float) -> None:
        """Do harm for so long, then end all that is open."""
        end_s, next_s = time.time() + seconds, time.time()
        while time.time() < end_s:
            self._end_what_is_due(time.time())
            if time.time() >= next_s:
                self._do()
                next_s = time.time() + self._rng.uniform(*EVERY_S)
            time.sleep(STEP_S)
        self._end_what_is_due(float("inf"))

    def _do(self) -> None:
        """Do what chance says, or the next thing that is possible."""
        kinds = list(WEIGHTS)
        first = self._rng.choices(kinds, list(WEIGHTS.values()))[0]
        for kind in (first, *self._rng.sample(kinds, len(kinds))):
            if getattr(self, f"_{kind}")():
                self.counts[kind] += 1
                return

    def _later(self, seconds: tuple[float, float], end: Callable[[], None]) -> None:
        heapq.heappush(self._ends, (time.time() + self._rng.uniform(*seconds), next(self._number), end))

    def _end_what_is_due(self, now_s: float) -> None:
        while self._ends and self._ends[0][0] <= now_s:
            heapq.heappop(self._ends)[2]()

    def _victim(self) -> str | None:
        """A host that may be harmed: another one is well."""
        well = sorted(self._well())
        return self._rng.choice(well) if len(well) > 1 else None

    def _well(self) -> set[str]:
        return {name for name, host in self._rig.hosts().items() if host["state"] == "ready"} - self._hurt

    def _harm(self, host: str, number: signal.Signals) -> bool:
        try:
            self.faults.harms.append(self._rig.harm(host, number))
        except (KeyError, ProcessLookupError):
            return False  # it has ended by itself
        return True

    # The faults: each says whether it was possible.

    def _kill(self) -> bool:
        return (host := self._victim()) is not None and self._harm(host, signal.SIGKILL)

    def _stop(self) -> bool:
        if (host := self._victim()) is None or not self._harm(host, signal.SIGSTOP):
            return False
        pid = self._rig.pids().get(host)
        self._hurt.add(host)

        def go_on() -> None:
            self._hurt.discard(host)
            if pid is not None and self._rig.pids().get(host) == pid:
                self._rig.harm(host, signal.SIGCONT)

        self._later(STOPPED_S, go_on)
        return True

    def _broker(self) -> bool:
        if self._broker_gone:
            return False
        self._broker_gone, gone_s = True, time.time()
        self._rig.broker.kill()

        def back() -> None:
            self._rig.broker.start()
            self._broker_gone = False
            self.faults.outages.append((gone_s, time.time()))

        self._later(AWAY_S, back)
        return True

    def _move(self) -> bool:
        stream, hosts = self._rng.choice(self._rig.names), sorted(self._well())
        if not hosts:
            return False
        self._rig.fleet.placer.move(stream, self._rng.choice(hosts))
        return True

    def _drain(self) -> bool:
        if self._drained or len(self._well()) < 3 or (host := self._victim()) is None:
            return False
        self._drained.add(host)
        self._rig.fleet.placer.drain(host)

        def undrain() -> None:
            self._drained.discard(host)
            self._rig.fleet.placer.drain(host, draining=False)

        self._later(DRAINED_S, undrain)
        return True

    def _add(self) -> bool:
        """Add a stream: every other time one that was there before."""
        again = self._gone and self._rng.random() < 0.5
        name = self._gone.pop(0) if again else f"c{len(self.wanted):04}"
        self._rig.want(name)
        self.wanted.setdefault(name, Wanted(time.time())).begin(time.time())
        return True

    def _remove(self) -> bool:
        if len(self._rig.names) < 2:
            return False
        name = self._rng.choice(self._rig.names)
        self._rig.forget(name)
        self.wanted[name].end(time.time())
        self._gone.append(name)
        return True
