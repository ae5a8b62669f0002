"""A host's session that costs nothing: streams that only count, for tests of what is around them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.fleet.host import StreamReport

if TYPE_CHECKING:
    from collections.abc import Mapping


class CountingSession:
    """Streams that count from where they were. `slow...` takes a while to begin, `broken...` can't be begun."""

    def __init__(self) -> None:
        self._streams: dict[str, tuple[int, float]] = {}

    def add(self, spec: Mapping[str, Any], epoch: int, state: Mapping[str, Any] | None) -> None:
        """See Session."""
        name, _ = str(spec["name"]), epoch
        if name.startswith("broken"):
            raise UsageError("it is broken")
        if name.startswith("slow"):
            time.sleep(2.0)
        self._streams[name] = (state or {}).get("count", 0), time.monotonic()

    def remove(self, stream: str) -> Mapping[str, Any] | None:
        """See Session."""
        state = self._state(stream)
        del self._streams[stream]
        return state

    def report(self) -> dict[str, StreamReport]:
        """See Session."""
        states = {name: self._state(name) for name in list(self._streams)}
        return {name: StreamReport(state, 0.0, state["count"]) for name, state in states.items()}

    def close(self) -> None:
        """See Session."""
        self._streams.clear()

    def _state(self, stream: str) -> dict[str, int]:
        count, since_s = self._streams[stream]
        return {"count": count + int(10 * (time.monotonic() - since_s))}


def counting_session(_name: str, options: Mapping[str, Any]) -> CountingSession:
    """Make the session of a host; with `says` in the options it prints that, as a library might."""
    if "says" in options:
        print(options["says"])
    if options.get("fails"):
        raise RuntimeError("no such model")
    return CountingSession()
