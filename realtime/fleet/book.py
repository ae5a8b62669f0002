"""The book of a fleet: who speaks for each stream, by which epoch and until when, and what its heir needs to know.

Pure: the caller brings the time. An epoch is given out once and only grows, so that of two who claim a stream the one
with the larger epoch is right. A lease that is not renewed runs out; the stream is then free for another host.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = "agfn.fleet.entry/1"
MAX_BYTES = 64 * 1024
"""Longer than any entry."""
MOST_FORGOTTEN = 20_000
"""Streams that are wanted no more and whose epoch is remembered."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream: what is wanted, who has it, and its newest known state.

    `spec` is the stream as in the configuration; `labels` those that its host must have. `host` is None while nobody
    has it. `state` is what `StreamState` gives as JSON, None before the first. `lease_ns` is when the lease runs out,
    on the clock of whoever keeps the book.
    """

    spec: Mapping[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    epoch: int = 0
    state: Mapping[str, Any] | None = None
    lease_ns: int = 0
    lost: bool = False
    cores: float | None = None

    @property
    def name(self) -> str:
        """Of the stream."""
        return str(self.spec["name"])


class Book:
    """Entries by the name of their stream.

    Args:
        lease_ns: how long a lease lasts without being renewed.
    """

    def __init__(self, lease_ns: int) -> None:
        self._lease_ns = lease_ns
        self._entries: dict[str, Entry] = {}
        self._forgotten: dict[str, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in the order in which their streams were first wanted."""
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        """How many streams are wanted."""
        return len(self._entries)

    def get(self, stream: str) -> Entry | None:
        """Return the entry of a stream; None where it is not wanted."""
        return self._entries.get(stream)

    def want(self, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> None:
        """Want a stream, or want it otherwise; who has it is not touched."""
        known = self._entries.get(str(spec["name"]))
        known = known or Entry(spec, epoch=self._forgotten.pop(str(spec["name"]), 0))
        self._entries[known.name] = replace(known, spec=dict(spec), labels=dict(labels or {}))

    def forget(self, stream: str) -> None:
        """Want a stream no more. Its epoch is remembered: one that is wanted again goes on from there."""
        if (known := self._entries.pop(stream, None)) is not None:
            self._forgotten[stream] = known.epoch
            if len(self._forgotten) > MOST_FORGOTTEN:
                del self._forgotten[next(iter(self._forgotten))]

    def assign(self, stream: str, host: str, now_ns: int) -> Entry:
        """Give a stream to a host by the next epoch, whoever has it now, and return the entry.

        Raises:
            KeyError: the stream is not wanted.
        """
        known = self._entries[stream]
        entry = replace(known, host=host, epoch=known.epoch + 1, lease_ns=now_ns + self._lease_ns, lost=False)
        self._entries[stream] = entry
        return entry

    def renew(
        self,
        stream: str,
        host: str,
        epoch: int,
        now_ns: int,
        state: Mapping[str, Any] | None = None,
        cores: float | None = None,
    ) -> bool:
        """Take what a host says of a stream; False, and nothing changes, when it has no right to it (any more)."""
        known = self._entries.get(stream)
        if known is None or known.host != host or known.epoch != epoch:
            return False
        self._entries[stream] = replace(
            known,
            state=known.state if state is None else dict(state),
            cores=known.cores if cores is None else cores,
            lease_ns=max(known.lease_ns, now_ns + self._lease_ns),
        )
        return True

    def hold(self, host: str, now_ns: int) -> None:
        """Renew every lease of a host that answers."""
        for name, entry in self._entries.items():
            if entry.host == host:
                self._entries[name] = replace(entry, lease_ns=max(entry.lease_ns, now_ns + self._lease_ns))

    def release(self, stream: str, *, lost: bool) -> None:
        """Free a stream; `lost` says that its host is gone."""
        if (known := self._entries.get(stream)) is not None and known.host is not None:
            self._entries[stream] = replace(known, host=None, lost=lost)

    def release_all(self, host: str) -> list[str]:
        """Free all streams of a host that is gone; return their names."""
        names = [name for name, entry in self._entries.items() if entry.host == host]
        for name in names:
            self.release(name, lost=True)
        return names

    def delay(self, ns: int) -> None:
        """Let all leases last for longer: who would have renewed them could not."""
        for name, entry in self._entries.items():
            self._entries[name] = replace(entry, lease_ns=entry.lease_ns + ns)

    def expired(self, now_ns: int) -> set[str]:
        """Hosts that hold a lease which has run out."""
        return {entry.host for entry in self._entries.values() if entry.host is not None and entry.lease_ns <= now_ns}

    def owned(self, host: str) -> dict[str, int]:
        """Epochs of the streams that a host has, by name."""
        return {name: entry.epoch for name, entry in self._entries.items() if entry.host == host}

    def restore(self, entry: Entry, now_ns: int) -> None:
        """Take over an entry that was written down, unless a newer one is known; its host has one lease to answer."""
        known = self._entries.get(entry.name)
        if known is None or known.epoch < entry.epoch:
            self._entries[entry.name] = replace(entry, lease_ns=now_ns + self._lease_ns)


def to_json(entry: Entry) -> bytes:
    """Write an entry down, for whoever keeps the book after us."""
    body = {
        "schema": FORMAT,
        "spec": dict(entry.spec),
        "labels": dict(entry.labels),
        "host": entry.host,
        "epoch": entry.epoch,
        "state": None if entry.state is None else dict(entry.state),
    }
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def from_json(payload: bytes) -> Entry:
    """Read an entry.

    Raises:
        ValueError: it is none.
    """
    if len(payload) > MAX_BYTES:
        raise ValueError(f"an entry of {len(payload)} bytes")
    try:
        body = json.loads(payload)
    except RecursionError:
        raise ValueError("no entry of a fleet's book") from None
    if not isinstance(body, dict) or body.get("schema") != FORMAT:
        raise ValueError("no entry of a fleet's book")
    spec, labels, host, epoch, state = (body.get(key) for key in ("spec", "labels", "host", "epoch", "state"))
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str) or not isinstance(labels, dict):
        raise ValueError("an entry without a stream")  # noqa: TRY004 - a wrong value, not a wrong call
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0 or not isinstance(host, str | None):
        raise ValueError(f"entry of {spec['name']!r}: epoch {epoch!r}, host {host!r}")
    if not isinstance(state, dict | None) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError(f"entry of {spec['name']!r}: state or labels")
    return Entry(spec=spec, labels=labels, host=host, epoch=epoch, state=state)
