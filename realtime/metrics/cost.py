"""What a stream costs: the CPU time of the process, shared out by how long the stages of each stream were at work.

The libraries compute in threads of their own, which belong to no stream; the process's CPU time counts them all. So
the sum over the streams is what the process used, and a stream's part is its part of the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime.publish.messages import Health

SHARED = "fusion"
"""One worker serves all streams, and the health of each tells of the whole."""


class Cost:
    """Adds up, from one health message of a stream to its next.

    `cpu_s` is by stream; `busy_s` by stream and component, devices included (they wait most of that time).
    """

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.busy_s: dict[tuple[str, str], float] = {}
        self._uptime_s: dict[str, float] = {}
        self._work: dict[str, float] = {}

    def forget(self, stream: str) -> None:
        """Leave out a stream that has gone."""
        for kept in (self.cpu_s, self._uptime_s, self._work):
            kept.pop(stream, None)
        for key in [key for key in self.busy_s if key[0] == stream]:
            del self.busy_s[key]

    def feed(self, health: Health) -> None:
        """Take a health message."""
        stream = health.stream
        span_s = max(0.0, health.uptime_s - self._uptime_s.get(stream, 0.0))
        self._uptime_s[stream] = health.uptime_s
        streams = len(self._uptime_s)
        # A component without a channel is a device: it waits inside its call, at no cost.
        self._work[stream] = sum(
            part.cores / (streams if name == SHARED else 1)
            for name, part in health.components.items()
            if part.channel is not None
        )
        work = sum(self._work.values())
        share = self._work[stream] / work if work else 1 / streams
        self.cpu_s[stream] = self.cpu_s.get(stream, 0.0) + health.process.cpu_cores * span_s * share
        for name, part in health.components.items():
            key = (stream, name)
            self.busy_s[key] = self.busy_s.get(key, 0.0) + part.cores * span_s
