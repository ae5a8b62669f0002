"""Counts of workers and process, turned into rates: the health message of a stream, once a second."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil

from realtime.clock import utc_now
from realtime.publish.messages import (
    UNLEASED,
    AsrHealth,
    ChannelHealth,
    ComponentHealth,
    Health,
    ProcessHealth,
    StreamState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.clock import Clock
    from realtime.extract.asr.decode_schedule import Measures
    from realtime.publish.messages import Origin, PublisherHealth, RecordingHealth, Sentiment
    from realtime.runtime.channel import ChannelStats
    from realtime.runtime.worker import WorkerStats


class HealthReporter:
    """Watches one stream between two reports.

    Args:
        stream: name of the stream.
        clock: of the process.
        asr: gives the figures of the recogniser, None while there are none.
        publisher: gives those of the connection to the broker.
        recording: gives those of the recording, None without one.
        origin: who says it.
    """

    def __init__(
        self,
        stream: str,
        clock: Clock,
        asr: Callable[[], AsrHealth | None] = lambda: None,
        publisher: Callable[[], PublisherHealth | None] = lambda: None,
        recording: Callable[[], RecordingHealth | None] = lambda: None,
        origin: Origin = UNLEASED,
    ) -> None:
        self._stream, self._clock, self._asr, self._publisher = stream, clock, asr, publisher
        self._recording, self._origin = recording, origin
        self._begin_ns = self._last_ns = clock.now_ns()
        self._last_cpu_s = time.process_time()
        self._last: dict[str, WorkerStats] = {}
        self._state: StreamState = "no_signal"
        self._messages = self._late = 0
        self._totals_ms: list[int] = []
        self._lock = threading.Lock()

    @property
    def state(self) -> StreamState | None:
        """What the newest message said of the stream; None before the first."""
        return self._state if self._messages else None

    def saw(self, message: Sentiment) -> None:
        """Note a message that goes out."""
        with self._lock:
            self._messages += 1
            self._state = message.state
            self._totals_ms.append(message.latency_ms.total)

    def late(self) -> None:
        """Note a tick that came more than a hop late."""
        self._late += 1

    def report(self, gauges: dict[str, WorkerStats]) -> Health:
        """Compose the message of the time since the last one."""
        now_ns, cpu_s = self._clock.now_ns(), time.process_time()
        elapsed_s = max(1e-3, (now_ns - self._last_ns) / 1e9)
        components = {name: self._component(name, gauge, elapsed_s) for name, gauge in gauges.items()}
        with self._lock:
            totals_ms, self._totals_ms = self._totals_ms, []
        message = Health(
            stream=self._stream,
            utc=utc_now(),
            uptime_s=(now_ns - self._begin_ns) / 1e9,
            state=self._state,
            messages=self._messages,
            late=self._late,
            latency_p95_ms=round(float(np.percentile(totals_ms, 95))) if totals_ms else None,
            components=components,
            asr=self._asr(),
            publisher=self._publisher(),
            recording=self._recording(),
            process=ProcessHealth(
                rss_mb=rss_mb(), cpu_cores=(cpu_s - self._last_cpu_s) / elapsed_s, threads=threading.active_count()
            ),
            epoch=self._origin.epoch,
            host=self._origin.host,
        )
        self._last, self._last_ns, self._last_cpu_s = gauges, now_ns, cpu_s
        return message

    def _component(self, name: str, gauge: WorkerStats, elapsed_s: float) -> ComponentHealth:
        last = self._last.get(name)
        return ComponentHealth(
            rate_hz=max(0, gauge.items - (last.items if last else 0)) / elapsed_s,
            items=gauge.items,
            restarts=gauge.restarts,
            left_behind=gauge.left_behind,
            delay_ms=max(0, round(gauge.delay_ms)),
            cores=max(0.0, gauge.busy_s - (last.busy_s if last else 0.0)) / elapsed_s,
            lost=gauge.lost,
            channel=channel_health(gauge.channel) if gauge.channel else None,
        )


def asr_health(measures: Measures | None) -> AsrHealth | None:
    """Put the measurements of the recogniser into a message."""
    if measures is None:
        return None
    return AsrHealth(
        real_time_factor=measures.real_time_factor,
        step_s=measures.step_s,
        decode_p95_ms=round(measures.decode_p95_s * 1000),
    )


def channel_health(stats: ChannelStats) -> ChannelHealth:
    """Put the counts of a channel into a message."""
    return ChannelHealth(pushed=stats.pushed, popped=stats.popped, dropped=stats.dropped, pending=stats.pending)


def rss_mb() -> float:
    """Memory of this process that is resident now, in megabytes."""
    return float(psutil.Process().memory_info().rss) / 1e6
