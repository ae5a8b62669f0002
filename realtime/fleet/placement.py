"""Which host each stream runs on: a pure function of needs and loads, without clock, network or chance.

- A stream goes to the host that is least loaded once it is there, largest need first (worst fit, decreasing): so a host
  that dies takes no more than its share, and a new one fills up.
- New streams fill a host to `headroom` of its cores. What is above that is for the streams of a host that is lost, and
  for those of one that is drained: they may fill it to `limit`.
- A stream runs only where the host has every label that it asks for, such as its site or its USB devices.
- Moves for balance are within a budget, and those of a drain within another; placing what runs nowhere is no move.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Why = Literal["new", "lost", "drain", "balance", "asked"]
UNEVEN, LEAST = 0.2, 0.01
"""Balance is sought when the loads of two hosts differ by more than so much of the mean load and of their cores,"""
GAIN = 0.5
"""by moves that take away at least this part of a stream's load from the difference: else it would swing."""
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What a stream takes: `cores` as measured or expected, and the labels that its host must have."""

    stream: str
    cores: float
    labels: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False
    """Whether it ran on a host that is gone: it may use what is above the headroom."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that takes streams: its cores, its labels, and whether it is being emptied."""

    name: str
    cores: float
    labels: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """A stream goes from one host, or from none, to another."""

    stream: str
    source: str | None
    target: str
    why: Why


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and why some streams have no host."""

    moves: tuple[Move, ...]
    homeless: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """How full a host may be, as shares of its cores."""

    headroom: float = 0.7
    limit: float = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Most moves of streams that run: for balance, and to empty hosts that are drained."""

    balance: int = 0
    drain: int = 0


def move_budget(streams: int, hosts: int, *, joined: bool, share: float = 0.05) -> Budget:
    """Return how many moves a minute are allowed.

    Args:
        streams: that run.
        hosts: that take streams.
        joined: whether a host has come: then one host's part of the streams may move for balance, as for a drain.
        share: of the streams otherwise.
    """
    if streams == 0 or hosts == 0:
        return Budget()
    part = max(1, ceil(streams / hosts))
    return Budget(part if joined else max(1, int(streams * share)), part)


def plan(
    needs: Sequence[Need],
    hosts: Sequence[Host],
    at: Mapping[str, str],
    budget: Budget | None = None,
    limits: Limits | None = None,
) -> Plan:
    """Decide what to place and what to move.

    Args:
        needs: all streams that are wanted.
        hosts: all hosts that answer.
        at: the host of each stream that runs; one that is not among `hosts` counts as gone.
        budget: most moves of streams that run; none by default.
        limits: how full a host may be.
    """
    state, allowed = _State(needs, hosts, at, limits or Limits()), budget or Budget()
    homeless: dict[str, str] = {}
    moves = [*state.place(homeless), *state.drain(allowed.drain), *state.balance(allowed.balance)]
    return Plan(tuple(moves), homeless)


class _State:
    """Loads of the hosts while a plan is made."""

    def __init__(self, needs: Sequence[Need], hosts: Sequence[Host], at: Mapping[str, str], limits: Limits) -> None:
        self._needs = {need.stream: need for need in needs}
        self._hosts = {host.name: host for host in hosts if host.cores > 0}
        self._limits = limits
        self._at = {stream: host for stream, host in at.items() if stream in self._needs and host in self._hosts}
        self._on: dict[str, set[str]] = {name: set() for name in self._hosts}
        self._load = dict.fromkeys(self._hosts, 0.0)
        for stream, host in self._at.items():
            self._on[host].add(stream)
            self._load[host] += self._needs[stream].cores
        self._moved: set[str] = set()

    def place(self, homeless: dict[str, str]) -> list[Move]:
        """Find a host for each stream without one; note why where there is none."""
        moves = []
        waiting = [need for name, need in self._needs.items() if name not in self._at]
        for need in sorted(waiting, key=lambda need: (not need.lost, -len(need.labels), -need.cores, need.stream)):
            target = self._best(need, self._limits.limit if need.lost else self._limits.headroom)
            if target is None:
                homeless[need.stream] = self._why_not(need)
                continue
            moves.append(self._go(need, target, "lost" if need.lost else "new"))
        return moves

    def drain(self, budget: int) -> list[Move]:
        """Empty the hosts that are drained, as far as the budget and the others' room go."""
        moves: list[Move] = []
        leaving = [
            (host.name, stream) for host in self._hosts.values() if host.draining for stream in self._on[host.name]
        ]
        for _, stream in sorted(leaving, key=lambda pair: (pair[0], -self._needs[pair[1]].cores, pair[1])):
            if len(moves) >= budget:
                break
            if (target := self._best(self._needs[stream], self._limits.limit)) is not None:
                moves.append(self._go(self._needs[stream], target, "drain"))
        return moves

    def balance(self, budget: int) -> list[Move]:
        """Move streams from the fullest host to emptier ones while that makes a difference."""
        moves: list[Move] = []
        while len(moves) < budget and (move := self._balancing()) is not None:
            moves.append(move)
        return moves

    def _balancing(self) -> Move | None:
        open_hosts = [name for name, host in self._hosts.items() if not host.draining]
        for source in sorted(open_hosts, key=lambda name: (-self._share(name), name)):
            found = self._to_move(source, open_hosts)
            if found is not None:
                return self._go(*found, "balance")
        return None

    def _to_move(self, source: str, open_hosts: Sequence[str]) -> tuple[Need, str] | None:
        mean = sum(self._load[name] for name in open_hosts) / sum(self._hosts[name].cores for name in open_hosts)
        for target in sorted(open_hosts, key=lambda name: (self._share(name), name)):
            uneven = self._share(source) - self._share(target)
            if uneven <= max(UNEVEN * mean, LEAST) + TINY:
                return None
            fitting = [
                need
                for stream in self._on[source]
                if stream not in self._moved
                and (need := self._needs[stream]).cores > TINY
                and self._fits(need, target, self._limits.headroom)
                and self._evens(need, source, target)
            ]
            if fitting:  # the largest: the fewest moves
                return max(fitting, key=lambda need: (need.cores, need.stream)), target
        return None

    def _evens(self, need: Need, source: str, target: str) -> bool:
        """Whether the move leaves the two hosts nearer to each other, by a good part of what is moved."""
        before = self._share(source) - self._share(target)
        shift = need.cores / self._hosts[source].cores + need.cores / self._hosts[target].cores
        return before - abs(before - shift) >= GAIN * shift - TINY

    def _best(self, need: Need, most: float) -> str | None:
        """The host that is least loaded once the stream is there."""
        fitting = [name for name, host in self._hosts.items() if not host.draining and self._fits(need, name, most)]
        return min(fitting, key=lambda name: (self._share(name, need.cores), name), default=None)

    def _fits(self, need: Need, host: str, most: float) -> bool:
        return self._has_labels(need, host) and self._share(host, need.cores) <= most + TINY

    def _has_labels(self, need: Need, host: str) -> bool:
        labels = self._hosts[host].labels
        return all(labels.get(key) == value for key, value in need.labels.items())

    def _share(self, host: str, more: float = 0.0) -> float:
        return (self._load[host] + more) / self._hosts[host].cores

    def _go(self, need: Need, target: str, why: Why) -> Move:
        source = self._at.get(need.stream)
        if source is not None:
            self._on[source].discard(need.stream)
            self._load[source] -= need.cores
        self._at[need.stream] = target
        self._on[target].add(need.stream)
        self._load[target] += need.cores
        self._moved.add(need.stream)
        return Move(need.stream, source, target, why)

    def _why_not(self, need: Need) -> str:
        labelled = [name for name in self._hosts if self._has_labels(need, name)]
        if not labelled:
            wanted = ", ".join(f"{key}={value}" for key, value in sorted(need.labels.items()))
            return f"no host with {wanted}" if wanted else "no host answers"
        if all(self._hosts[name].draining for name in labelled):
            return "every host that fits is being drained"
        return f"no room: it needs {need.cores:.2f} cores"
