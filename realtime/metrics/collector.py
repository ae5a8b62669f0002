"""Prometheus metrics: a sink that reads the program's own messages.

Everything comes from the published messages, so metrics and subscribers never disagree. Numbers only, never words.
docs/metrics.md lists the names; scrape.py gives them out.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from realtime.metrics.cost import Cost
from realtime.publish.messages import EventMessage, Health, Sentiment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import Metric

    from realtime.publish.messages import Origin
    from realtime.publish.outlet import Outlet


log = logging.getLogger(__name__)

STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
LAG_BUCKETS_S = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
STAGES = ("capture", "extract", "fuse", "total", "window")
STREAM_STATES = ("ok", "degraded", "no_signal", "paused")
MODALITY_STATES = ("ok", "noisy", "stale", "lost", "off")
FAULTS = frozenset({"lost", "stalled", "frozen", "slow", "overload"})


class Metrics:
    """A sink that counts, and keeps the newest messages for whoever asks.

    Args:
        streams: their names; each has its counters from the start, at 0.
        registry: where the metrics live; by default a fresh one, with the process's own.
    """

    def __init__(self, streams: Iterable[str], registry: CollectorRegistry | None = None) -> None:
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
        self.registry = registry
        self._newest = Newest()
        registry.register(self._newest)
        self._stages = Histogram(
            "agfn_stage_latency_seconds",
            "Time a stage added to a message; total: from the newest sample on, window: from the window's end on.",
            ["stream", "stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self._lag = Histogram(
            "agfn_text_lag_seconds",
            "From the end of the newest word to its appearance.",
            ["stream"],
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self._messages = Counter("agfn_messages", "Sentiment messages.", ["stream"], registry=registry)
        self._faults = Counter("agfn_faults", "Events that are faults.", ["stream"], registry=registry)
        self._events = Counter(
            "agfn_events", "Events by component and kind.", ["stream", "component", "kind"], registry=registry
        )
        for stream in streams:
            self.stream_came(stream)

    def stream_came(self, stream: str, origin: Origin | None = None) -> None:  # noqa: ARG002 - a lease is no metric
        """Give a stream its counters, at 0."""
        self._messages.labels(stream)
        self._faults.labels(stream)
        self._lag.labels(stream)
        for stage in STAGES:
            self._stages.labels(stream, stage)

    def stream_went(self, stream: str) -> None:
        """Take its series out: Prometheus then knows that it has gone."""
        for each in (self._messages, self._faults, self._lag, self._stages, self._events):
            each.remove_by_labels({"stream": stream})
        self._newest.forget(stream)

    def subscribe(self, outlet: Outlet) -> None:
        """Take note of what the streams say."""
        outlet.subscribe(self._sentiment, Sentiment)
        outlet.subscribe(self._newest.health, Health)
        outlet.subscribe(self._event, EventMessage)
        outlet.follow(self)

    def _sentiment(self, message: Sentiment) -> None:
        self._messages.labels(message.stream).inc()
        self._newest.sentiment(message)
        self._observe(message)

    def _event(self, message: EventMessage) -> None:
        self._events.labels(message.stream, message.component, message.kind).inc()
        if message.kind in FAULTS:
            self._faults.labels(message.stream).inc()

    def _observe(self, message: Sentiment) -> None:
        if message.state == "paused":
            return
        for stage in STAGES:
            took_ms: int | None = getattr(message.latency_ms, stage)
            if took_ms is not None:
                self._stages.labels(message.stream, stage).observe(took_ms / 1000)
        if message.latency_ms.text_lag is not None:
            self._lag.labels(message.stream).observe(message.latency_ms.text_lag / 1000)


class Newest(Collector):
    """The newest messages of each stream, read when somebody asks: what has no value then has no sample."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sentiments: dict[str, tuple[float, Sentiment]] = {}
        self._healths: dict[str, Health] = {}
        self._cost = Cost()

    def sentiment(self, message: Sentiment) -> None:
        """Keep a sentiment."""
        with self._lock:
            self._sentiments[message.stream] = (time.time(), message)

    def health(self, message: Health) -> None:
        """Keep a health message, and add up what it cost."""
        with self._lock:
            self._healths[message.stream] = message
            self._cost.feed(message)

    def forget(self, stream: str) -> None:
        """Leave out a stream that has gone."""
        with self._lock:
            self._sentiments.pop(stream, None)
            self._healths.pop(stream, None)
            self._cost.forget(stream)

    def collect(self) -> Iterator[Metric]:
        """Give out a metric family after the other."""
        with self._lock:
            sentiments, healths = list(self._sentiments.values()), list(self._healths.values())
            cpu_s, busy_s = dict(self._cost.cpu_s), dict(self._cost.busy_s)
        yield from _of_sentiments(sentiments)
        yield from _of_components(healths)
        yield from _of_streams(healths)
        cpu = _counter("agfn_stream_cpu_seconds", "CPU time of the process, shared out by the streams' work.", "stream")
        for stream, seconds in cpu_s.items():
            cpu.add_metric([stream], seconds)
        yield cpu
        busy = _counter("agfn_component_busy_seconds", "Time a component was at work.", "stream", "component")
        for (stream, name), seconds in busy_s.items():
            busy.add_metric([stream, name], seconds)
        yield busy


def _of_sentiments(newest: list[tuple[float, Sentiment]]) -> Iterator[Metric]:
    time_s = _gauge("agfn_last_message_timestamp_seconds", "Unix time of the newest sentiment message.", "stream")
    score = _gauge("agfn_score", "Smoothed sentiment from -3 to 3; no sample without a score.", "stream")
    width = _gauge("agfn_interval_width", "Width of the 90 % interval, 0 to 6.", "stream")
    state = _gauge("agfn_stream_state", "1 for the state the stream is in, else 0.", "stream", "state")
    weight = _gauge("agfn_gate_weight", "Share of a modality in the score, 0 to 1.", "stream", "modality")
    trust = _gauge("agfn_reliability", "Measured reliability of a modality, 0 to 1.", "stream", "modality")
    condition = _gauge("agfn_modality_state", "1 for the state of a modality, else 0.", "stream", "modality", "state")
    for unix_s, message in newest:
        stream = message.stream
        time_s.add_metric([stream], unix_s)
        if message.score is not None and message.interval is not None:
            score.add_metric([stream], message.score)
            width.add_metric([stream], message.interval[1] - message.interval[0])
        for name in STREAM_STATES:
            state.add_metric([stream, name], name == message.state)
        for modality, part in message.modalities.items():
            weight.add_metric([stream, modality], part.weight)
            trust.add_metric([stream, modality], part.reliability)
            for name in MODALITY_STATES:
                condition.add_metric([stream, modality, name], name == part.state)
    yield from (time_s, score, width, state, weight, trust, condition)


def _of_components(newest: list[Health]) -> Iterator[Metric]:
    labels = ("stream", "component")
    items = _counter("agfn_component_items", "Items a component has worked off.", *labels)
    restarts = _counter("agfn_component_restarts", "Restarts after a failure or a call that hung.", *labels)
    left = _gauge("agfn_component_left_behind", "Hung calls that were abandoned in their threads.", *labels)
    delay = _gauge("agfn_component_delay_seconds", "Age of the newest item when its work was done.", *labels)
    lost = _gauge("agfn_component_lost", "1 while the component does not deliver.", *labels)
    dropped = _counter("agfn_channel_dropped", "Items dropped in the channel before a component.", *labels)
    pushed = _counter("agfn_channel_pushed", "Items handed to the channel before a component.", *labels)
    pending = _gauge("agfn_channel_pending", "Items that wait in the channel before a component.", *labels)
    for health in newest:
        for name, part in health.components.items():
            at = [health.stream, name]
            items.add_metric(at, part.items)
            restarts.add_metric(at, part.restarts)
            left.add_metric(at, part.left_behind)
            delay.add_metric(at, part.delay_ms / 1000)
            lost.add_metric(at, part.lost)
            if part.channel is not None:
                dropped.add_metric(at, part.channel.dropped)
                pushed.add_metric(at, part.channel.pushed)
                pending.add_metric(at, part.channel.pending)
        if health.publisher is not None:
            at = [health.stream, "publisher"]
            dropped.add_metric(at, health.publisher.queue.dropped + health.publisher.stale)
            pushed.add_metric(at, health.publisher.queue.pushed)
            pending.add_metric(at, health.publisher.queue.pending)
    yield from (items, restarts, left, delay, lost, dropped, pushed, pending)


def _of_streams(newest: list[Health]) -> Iterator[Metric]:
    uptime = _gauge("agfn_uptime_seconds", "Since the stream began.", "stream")
    late = _counter("agfn_late_ticks", "Windows that were closed more than one hop late.", "stream")
    factor = _gauge("agfn_asr_real_time_factor", "Decoding time per second of sound; over 1 falls behind.", "stream")
    decode = _gauge("agfn_asr_decode_p95_seconds", "95th percentile of the decode time.", "stream")
    connected = _gauge("agfn_mqtt_connected", "1 while the stream is connected to the broker.", "stream")
    connects = _counter("agfn_mqtt_connects", "Connections made to the broker.", "stream")
    waiting = _gauge("agfn_mqtt_events_pending", "Events that wait for the broker.", "stream")
    gone = _counter("agfn_mqtt_events_dropped", "Events dropped because the broker was away for too long.", "stream")
    refused = _counter("agfn_mqtt_commands_refused", "Commands refused: unknown, retained or too many.", "stream")
    foreign = _counter("agfn_mqtt_foreign", "Health messages of another program under this stream's name.", "stream")
    for health in newest:
        at = [health.stream]
        uptime.add_metric(at, health.uptime_s)
        late.add_metric(at, health.late)
        if health.asr is not None:
            factor.add_metric(at, health.asr.real_time_factor)
            decode.add_metric(at, health.asr.decode_p95_ms / 1000)
        if health.publisher is not None:
            connected.add_metric(at, health.publisher.connected)
            connects.add_metric(at, health.publisher.connects)
            waiting.add_metric(at, health.publisher.events_pending)
            gone.add_metric(at, health.publisher.events_dropped)
            refused.add_metric(at, health.publisher.commands_refused)
            foreign.add_metric(at, health.publisher.foreign)
    yield from (uptime, late, factor, decode, connected, connects, waiting, gone, refused, foreign)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, labels=labels)


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, labels=labels)
