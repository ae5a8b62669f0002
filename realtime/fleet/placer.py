"""The placer of a fleet: keeps every wanted stream on one host, whatever happens to the hosts.

One thread, one round after the other, and no round waits for a host. Each round looks at the hosts, takes their
reports, frees the streams of those that are gone or have not answered for a lease, and gives each free stream to a host
by the next epoch, with the state that its last host told of it.

- A stream is moved by giving it to its new host first (`make before break`): the old one is told to end it when the new
  one has sent a message, or at once where both would need the same device (`exclusive`: break before make).
- Whoever reports a stream by an epoch that is not the book's is told to end it: so a host that stood still, and what it
  kept, is no danger once it wakes up. Until then the broker cuts it off, and subscribers pass an older epoch over.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.fleet.placement import Budget, Host, Limits, Move, Need, move_budget, plan
from realtime.fleet.roll import Roll
from realtime.fleet.status import status_of
from realtime.system import backoff
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from realtime.clock import Clock
    from realtime.fleet.book import Book, Entry
    from realtime.fleet.engine import Engine, HostInfo, Json
    from realtime.fleet.roll import Run

log = logging.getLogger(__name__)

MINUTE_NS = 60 * NS_PER_S
EWMA = 0.2
"""How much the newest measurement of a stream's cost counts."""
MOVES_KEPT = 100
MOST_RETRY_S = 60.0
"""Longest wait before a stream that can't be begun is tried again."""
STOOD_STILL_NS = NS_PER_S
"""A round that comes so late says that this placer stood still, not that its hosts did."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a placer goes by; times in seconds."""

    lease_s: float = 3.0
    """A host that has not answered for so long has lost its streams."""
    cores: float = 0.6
    """What a stream takes before it was measured."""
    limits: Limits = field(default_factory=Limits)
    round_s: float = 0.2
    report_s: float = 1.0
    """A host is asked for its report so often."""
    add_s: float = 20.0
    """A stream that its host does not show after so long is placed anew."""
    retry_s: float = 2.0
    """First wait before a stream that a host could not begin is tried again; doubles up to a minute."""
    handover_s: float = 10.0
    """The old host of a stream keeps it for so long at most while the new one has not spoken."""


@dataclass(slots=True)
class _Trouble:
    """A stream that could not be begun: how often, why, and when it is tried again."""

    times: int
    why: str
    again_ns: int


class Placer:
    """Places the streams of a book on the hosts of an engine.

    Args:
        engine: runs the hosts.
        book: what is wanted and who has it; kept by this placer alone.
        clock: of the book's leases.
        rules: what it goes by.
        exclusive: says of a stream whether its devices can be open on one host only.
        on_change: called with each entry that changed in what an heir of the book must know, and with the name of a
            stream that is wanted no more.
    """

    def __init__(
        self,
        engine: Engine,
        book: Book,
        clock: Clock,
        rules: Rules | None = None,
        *,
        exclusive: Callable[[Mapping[str, Any]], bool] = lambda _: False,
        on_change: Callable[[Entry | str], None] = lambda _: None,
    ) -> None:
        self.moves: deque[tuple[int, Move, int]] = deque(maxlen=MOVES_KEPT)
        """What was placed and moved: when, what, and by which epoch; the source is who had the stream before."""
        self._last: dict[str, str] = {}
        self._engine, self._book, self._clock = engine, book, clock
        self._rules, self._on_change = rules or Rules(), on_change
        self._lease_ns = int(self._rules.lease_s * NS_PER_S)
        self._exclusive = exclusive
        self._roll = Roll(engine, self._rules.report_s, self._lease_ns)
        self._moved_ns: dict[str, deque[int]] = {"balance": deque(), "drain": deque(), "asked": deque(maxlen=1)}
        self._asked_for: dict[str, str] = {}
        self._placed_ns: dict[str, int] = {}
        self._handovers: dict[tuple[str, str], int] = {}
        self._trouble: dict[str, _Trouble] = {}
        self._homeless: dict[str, str] = {}
        self._answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._unproved: set[str] = set()
        self._round_ns: int | None = None
        self._placements: Counter[str] = Counter()

    # What may be asked of it, from any thread.

    def want(self, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> None:
        """Want a stream; takes effect in the next round."""
        self._orders.put(lambda: self._want(spec, labels))

    def forget(self, stream: str) -> None:
        """Want a stream no more."""
        self._orders.put(lambda: self._forget(stream))

    def restore(self, entry: Entry) -> None:
        """Take over what an earlier keeper of the book wrote down; its host keeps the stream if it still shows it."""
        self._orders.put(lambda: self._restore(entry))

    def drain(self, host: str, *, draining: bool = True) -> None:
        """Empty a host, or let it take streams again."""
        self._orders.put(lambda: self._drain(host, draining=draining))

    def move(self, stream: str, host: str) -> None:
        """Move a stream to a host, within what that host can take."""
        self._orders.put(lambda: self._asked_for.update({stream: host}))

    def check_host(self, host: str, stream: str | None = None) -> None:
        """See that there is such a host, and that it has the labels that a stream asks for.

        Raises:
            UsageError: there is none, or it hasn't.
        """
        if (known := self._roll.hosts.get(host)) is None:
            raise UsageError(f"no host {host}; there are {', '.join(sorted(self._roll.hosts)) or 'none'}")
        entry = None if stream is None else self._book.get(stream)
        if entry is not None and (
            missing := [key for key, value in entry.labels.items() if known.labels.get(key) != value]
        ):
            raise UsageError(f"host {host} lacks what stream {stream} asks for: {', '.join(missing)}")

    # The loop.

    def run(self, stop: threading.Event) -> None:
        """Round after round until stopped."""
        while not stop.is_set():
            try:
                self.step()
            except Exception:
                # A round that fails must not leave the streams alone for good.
                log.exception("a round of the placer failed")
            stop.wait(self._rules.round_s)

    def step(self) -> None:
        """One round."""
        _work_off(self._orders)
        self._roll.poll()
        now_ns = self._clock.now_ns()
        self._make_up_for_standing_still(now_ns)
        self._see(now_ns)
        _work_off(self._answers)
        self._free(now_ns)
        self._place(self._roll.ready(), now_ns)
        self._end_what_is_old(now_ns)

    def status(self) -> Json:
        """How the fleet is: hosts with their loads, streams with their host and epoch, the newest moves."""
        return status_of(
            self._roll, list(self._book), self._why, dict(self._placements), list(self.moves), self._clock.now_ns()
        )

    # Orders.

    def _want(self, spec: Mapping[str, Any], labels: Mapping[str, str] | None) -> None:
        name = str(spec["name"])
        known = self._book.get(name)
        self._book.want(spec, labels)
        if known is not None and known.host is not None and (known.spec, known.labels) != (spec, labels or {}):
            self._remove(known.host, name, known.epoch)  # what was changed begins anew, from where it was
            self._book.release(name, lost=False)
        self._changed(name)

    def _restore(self, entry: Entry) -> None:
        self._book.restore(entry, self._clock.now_ns())
        if entry.host is not None:
            self._last[entry.name] = entry.host
            self._unproved.add(entry.name)

    def _forget(self, stream: str) -> None:
        entry = self._book.get(stream)
        self._book.forget(stream)
        for known in (self._placed_ns, self._trouble, self._homeless, self._asked_for, self._last):
            known.pop(stream, None)
        if entry is not None:
            self._on_change(stream)
            if entry.host is not None:
                self._remove(entry.host, stream, entry.epoch)

    def _drain(self, host: str, *, draining: bool) -> None:
        if draining:
            self._roll.draining.add(host)
        else:
            self._roll.draining.discard(host)

    # Hosts.

    def _make_up_for_standing_still(self, now_ns: int) -> None:
        """Count the time in which this placer did not look for no host's silence: a machine may have been suspended."""
        late_ns = 0 if self._round_ns is None else now_ns - self._round_ns - int(self._rules.round_s * NS_PER_S)
        self._round_ns = now_ns
        if late_ns < STOOD_STILL_NS:
            return
        log.warning("the placer stood still for %.1f s", late_ns / NS_PER_S)
        self._book.delay(late_ns)
        self._roll.delay(late_ns)
        for stream in self._placed_ns:
            self._placed_ns[stream] += late_ns

    def _see(self, now_ns: int) -> None:
        for name in self._roll.look(now_ns):
            self._lose(name, "has ended")
        for name, run, asked in self._roll.ask(now_ns):
            asked.add_done_callback(self._later(self._reported, name, run))

    def _later(self, take: Callable[..., None], *given: Any) -> Callable[[Future[Json]], None]:  # noqa: ANN401
        """Have an answer taken in the next round, in this placer's thread."""
        return lambda future: self._answers.put(lambda: take(*given, future))

    def _reported(self, name: str, run: Run, answer: Future[Json]) -> None:
        now_ns = self._clock.now_ns()
        if not self._roll.take(name, run, answer, now_ns):
            return
        self._book.hold(name, now_ns)
        for stream in [each for each in self._unproved if (entry := self._book.get(each)) and entry.host == name]:
            self._unproved.discard(stream)
            if stream not in run.report["streams"]:
                self._book.release(stream, lost=True)
        for stream, told in run.report["streams"].items():
            self._take(name, stream, told, now_ns)

    def _take(self, host: str, stream: str, told: Json, now_ns: int) -> None:
        entry = self._book.get(stream)
        if entry is None:
            return
        cores = told["cores"] if entry.cores is None else entry.cores + EWMA * (told["cores"] - entry.cores)
        if self._book.renew(stream, host, told["epoch"], now_ns, told["state"], cores):
            if told["fenced"]:
                log.warning("stream %s was taken over from host %s by another client; placed anew", stream, host)
                self._book.release(stream, lost=True)
            elif told["messages"]:
                self._trouble.pop(stream, None)
                if told["state"] is not None:
                    self._changed(stream)

    def _free(self, now_ns: int) -> None:
        """Free the streams of hosts that have not answered for a lease, and those that a host does not show."""
        self._roll.note_silence(now_ns)
        for name in self._book.expired(now_ns):
            self._lose(name, f"has not answered for {self._lease_ns / NS_PER_S:.1f} s")
        for stream, placed_ns in list(self._placed_ns.items()):
            entry = self._book.get(stream)
            if entry is None or entry.host is None:
                del self._placed_ns[stream]
                continue
            told = self._roll.report(entry.host).get("streams", {}).get(stream)
            if told is not None and told["epoch"] == entry.epoch:
                continue
            if now_ns - placed_ns > self._rules.add_s * NS_PER_S:
                self._fail(stream, entry.epoch, f"host {entry.host} does not show it", now_ns)

    def _lose(self, host: str, why: str) -> None:
        lost = self._book.release_all(host)
        if lost:
            log.warning("host %s %s: %d streams are placed anew", host, why, len(lost))
        for pair in [pair for pair in self._handovers if pair[1] == host]:
            del self._handovers[pair]

    # Streams.

    def _place(self, hosts: list[HostInfo], now_ns: int) -> None:
        waits = {name for name, trouble in self._trouble.items() if trouble.again_ns > now_ns}
        entries = [entry for entry in self._book if entry.host is not None or entry.name not in waits]
        needs = [
            Need(entry.name, self._rules.cores if entry.cores is None else entry.cores, entry.labels, lost=entry.lost)
            for entry in entries
        ]
        ready = [Host(info.name, info.cores, info.labels, draining=info.name in self._roll.draining) for info in hosts]
        # A stream whose host does not answer keeps it until the lease runs out.
        held = {entry.name for entry in entries if entry.host is not None and entry.host not in {h.name for h in ready}}
        at = {entry.name: entry.host for entry in entries if entry.host is not None}
        found = plan(
            [need for need in needs if need.stream not in held],
            ready,
            {name: host for name, host in at.items() if name not in held},
            self._budget(len(needs), len(ready), now_ns),
            self._rules.limits,
        )
        self._homeless = dict(found.homeless)
        moves = list(found.moves) + self._asked_moves(ready, at)
        orders: dict[str, list[Json]] = {}
        for move in moves:
            self._carry_out(move, now_ns, orders)
        for host, streams in orders.items():
            self._add(host, streams)

    def _add(self, host: str, streams: list[Json]) -> None:
        epochs = {order["spec"]["name"]: order["epoch"] for order in streams}
        future = self._engine.ask(host, "add", streams=streams)
        future.add_done_callback(self._later(self._added, host, epochs))

    def _asked_moves(self, ready: list[Host], at: Mapping[str, str]) -> list[Move]:
        asked, self._asked_for = self._asked_for, {}
        names = {host.name for host in ready}
        return [
            Move(stream, at[stream], host, "asked")
            for stream, host in asked.items()
            if host in names and stream in at and at[stream] != host
        ]

    def _carry_out(self, move: Move, now_ns: int, orders: dict[str, list[Json]]) -> None:
        before = self._book.get(move.stream)
        if before is None:
            return
        entry = self._book.assign(move.stream, move.target, now_ns)
        self._placed_ns[move.stream] = now_ns
        self.moves.append((now_ns, replace(move, source=self._last.get(move.stream)), entry.epoch))
        self._last[move.stream] = move.target
        self._placements[move.why] += 1
        self._changed(move.stream)
        state = None if entry.state is None else dict(entry.state)
        order: Json = {"spec": dict(entry.spec), "epoch": entry.epoch, "state": state}
        if move.source is None:
            orders.setdefault(move.target, []).append(order)
            return
        self._moved_ns[move.why].append(now_ns)
        if self._exclusive(entry.spec):  # the devices are let go of first
            future = self._remove_all(move.source, {move.stream: before.epoch})
            future.add_done_callback(self._later(self._let_go, move, order))
        else:
            self._handovers[move.stream, move.source] = now_ns
            orders.setdefault(move.target, []).append(order)

    def _let_go(self, move: Move, order: Json, future: Future[Json]) -> None:
        entry = self._book.get(move.stream)
        if entry is None or entry.host != move.target or entry.epoch != order["epoch"]:
            return
        if future.exception() is None and (state := future.result()["states"].get(move.stream)) is not None:
            order["state"] = state
        self._add(move.target, [order])

    def _added(self, host: str, epochs: Mapping[str, int], future: Future[Json]) -> None:
        now_ns = self._clock.now_ns()
        error = future.exception()
        failed = dict.fromkeys(epochs, str(error)) if error is not None else future.result()["failed"]
        for stream, why in failed.items():
            entry = self._book.get(stream)
            if entry is not None and entry.host == host:
                self._fail(stream, epochs[stream], why, now_ns)

    def _fail(self, stream: str, epoch: int, why: str, now_ns: int) -> None:
        entry = self._book.get(stream)
        if entry is None or entry.epoch != epoch:
            return
        known = self._trouble.get(stream)
        times = 1 if known is None else known.times + 1
        wait_s = backoff.wait_s(times, self._rules.retry_s, MOST_RETRY_S)
        self._trouble[stream] = _Trouble(times, why, now_ns + int(wait_s * NS_PER_S))
        self._placed_ns.pop(stream, None)
        if entry.host is not None:
            self._remove(entry.host, stream, epoch)
        self._book.release(stream, lost=entry.lost)
        log.warning("stream %s: %s; tried again in %.0f s", stream, why, wait_s)

    def _end_what_is_old(self, now_ns: int) -> None:
        """Tell hosts to end what they have by an epoch that is not the book's."""
        for name, report in self._roll.reports().items():
            old: dict[str, int] = {}
            for stream, told in report.get("streams", {}).items():
                entry = self._book.get(stream)
                if entry is not None and entry.host == name and entry.epoch == told["epoch"]:
                    continue
                if entry is not None and entry.host is None and not entry.lost:
                    continue
                if self._may_end(stream, name, entry, now_ns):
                    old[stream] = told["epoch"]
            if old:
                self._remove_all(name, old)

    def _may_end(self, stream: str, host: str, entry: Entry | None, now_ns: int) -> bool:
        since_ns = self._handovers.get((stream, host))
        if since_ns is None:
            return True
        told = {} if entry is None or entry.host is None else self._roll.report(entry.host)
        heir = told.get("streams", {}).get(stream)
        speaks = heir is not None and entry is not None and heir["epoch"] == entry.epoch and heir["messages"] > 0
        if speaks or now_ns - since_ns > self._rules.handover_s * NS_PER_S:
            del self._handovers[stream, host]
            return True
        return False

    def _remove(self, host: str, stream: str, epoch: int) -> None:
        self._remove_all(host, {stream: epoch})

    def _remove_all(self, host: str, streams: Mapping[str, int]) -> Future[Json]:
        for stream in streams:
            self._roll.report(host).get("streams", {}).pop(stream, None)
        return self._engine.ask(host, "remove", streams=dict(streams))

    # What is told.

    def _budget(self, streams: int, hosts: int, now_ns: int) -> Budget:
        for moved in self._moved_ns.values():
            while moved and now_ns - moved[0] > MINUTE_NS:
                moved.popleft()
        joined = self._roll.joined_ns is not None and now_ns - self._roll.joined_ns < MINUTE_NS
        allowed = move_budget(streams, hosts, joined=joined)
        return Budget(
            max(0, allowed.balance - len(self._moved_ns["balance"])),
            max(0, allowed.drain - len(self._moved_ns["drain"])),
        )

    def _why(self, entry: Entry) -> str | None:
        if entry.host is not None:
            return None
        trouble = self._trouble.get(entry.name)
        return trouble.why if trouble is not None else self._homeless.get(entry.name)

    def _changed(self, stream: str) -> None:
        if (entry := self._book.get(stream)) is not None:
            self._on_change(entry)


def _work_off(waiting: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        try:
            work = waiting.get_nowait()
        except queue.Empty:
            return
        work()
