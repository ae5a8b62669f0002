"""A stream host: runs streams of a fleet, each by an epoch, and says how they are.

What the streams are made of is a `Session`: live ones (live.py), or recordings in a load test. Epochs are the host's
own matter: of two orders for one stream the one with the larger epoch counts, in whatever order they come.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import psutil

from realtime.errors import AgfnError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.fleet.engine import Json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamReport:
    """How a stream is: its state for an heir, what it costs, and how many messages it has sent and dropped.

    A stream is fenced when the broker has given its name to another: it is silent for good here.
    """

    state: Mapping[str, Any] | None
    cores: float
    messages: int
    dropped: int = 0
    fenced: bool = False


class Session(Protocol):
    """Runs streams in this process."""

    def add(self, spec: Mapping[str, Any], epoch: int, state: Mapping[str, Any] | None) -> None:
        """Begin a stream, from a state where there is one; returns once it runs.

        Raises:
            AgfnError: it can't be begun.
        """
        ...

    def remove(self, stream: str) -> Mapping[str, Any] | None:
        """End a stream and return its state."""
        ...

    def report(self) -> dict[str, StreamReport]:
        """How the streams are, by name. Called from another thread than `add` and `remove`; must not wait for them."""
        ...

    def close(self) -> None:
        """End all streams."""
        ...


@runtime_checkable
class Pooled(Protocol):
    """A session whose streams may be decoded in an ASR pool."""

    def about_pool(self) -> Json:
        """How the pool is, as recognisers.merged wants it; empty where there is none. From any thread, never waits."""
        ...


class StreamHost:
    """A host of a fleet.

    Args:
        name: of the host.
        session: runs the streams.
    """

    def __init__(self, name: str, session: Session) -> None:
        self._name, self._session = name, session
        self._epochs: dict[str, int] = {}
        self._changing = threading.Lock()
        self._process = psutil.Process()
        self._used = (time.monotonic(), time.process_time())

    def add(self, streams: Sequence[Mapping[str, Any]]) -> Json:
        """Begin streams, each with `spec`, `epoch` and `state`; return what went wrong by stream.

        One that runs by the same or a later epoch goes on as it is.
        """
        failed: dict[str, str] = {}
        for order in streams:
            name, epoch = str(order["spec"]["name"]), int(order["epoch"])
            with self._changing:
                known = self._epochs.get(name, -1)
                if known >= epoch:
                    continue
                try:
                    if known >= 0:
                        self._end(name)
                    self._session.add(order["spec"], epoch, order.get("state"))
                except AgfnError as error:
                    failed[name] = str(error)
                except Exception as error:
                    log.exception("stream %s could not be begun", name)
                    failed[name] = f"{type(error).__name__}: {error}"
                else:
                    self._epochs[name] = epoch
        return {"failed": failed}

    def remove(self, streams: Mapping[str, int]) -> Json:
        """End streams that run by an epoch up to the given one; return the states of those that were ended."""
        states: dict[str, Any] = {}
        for name, epoch in streams.items():
            with self._changing:
                if self._epochs.get(name, epoch + 1) <= epoch:
                    states[name] = self._end(name)
        return {"states": states}

    def report(self) -> Json:
        """Return how the host and its streams are."""
        found = self._session.report()
        epochs = dict(self._epochs)
        return {
            "cores": self._cores(),
            "rss_mb": round(self._process.memory_info().rss / 1e6, 1),
            "asr_pool": self._session.about_pool() if isinstance(self._session, Pooled) else {},
            "streams": {
                name: {
                    "epoch": epochs[name],
                    "state": None if each.state is None else dict(each.state),
                    "cores": each.cores,
                    "messages": each.messages,
                    "dropped": each.dropped,
                    "fenced": each.fenced,
                }
                for name, each in found.items()
                if name in epochs
            },
        }

    def close(self) -> Json:
        """End all streams."""
        with self._changing:
            self._epochs.clear()
            self._session.close()
        return {}

    def _end(self, name: str) -> Mapping[str, Any] | None:
        self._epochs.pop(name, None)
        return self._session.remove(name)

    def _cores(self) -> float:
        now = time.monotonic(), time.process_time()
        (before_s, before_cpu_s), self._used = self._used, now
        return round((now[1] - before_cpu_s) / max(1e-3, now[0] - before_s), 3)


def session_of(factory: str, name: str, options: Mapping[str, Any]) -> Session:
    """Make the session of a host by the dotted name of what makes it, such as realtime.fleet.live:live_session."""
    module, _, function = factory.partition(":")
    make = getattr(importlib.import_module(module), function)
    return cast("Session", make(name, options))
