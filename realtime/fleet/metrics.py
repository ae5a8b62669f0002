"""Prometheus metrics of a fleet, and the label `host` on those of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

STATES = ("starting", "ready", "draining", "silent")


class FleetMetrics(Collector):
    """Says how a fleet is, whenever somebody asks.

    Args:
        status: gives what `Placer.status` does.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self.registry = CollectorRegistry()
        self._status = status
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give out a metric family after the other."""
        status = self._status()
        state = GaugeMetricFamily(
            "agfn_fleet_host_state", "1 for the state of a host, else 0.", labels=("host", "state")
        )
        streams = GaugeMetricFamily("agfn_fleet_streams", "Streams of a host.", labels=("host",))
        cores = GaugeMetricFamily("agfn_fleet_host_cores", "Cores that a host may use.", labels=("host",))
        used = GaugeMetricFamily("agfn_fleet_host_used_cores", "Cores that a host uses.", labels=("host",))
        rss = GaugeMetricFamily("agfn_fleet_host_memory_bytes", "Resident memory of a host.", labels=("host",))
        for name, host in status["hosts"].items():
            for each in STATES:
                state.add_metric([name, each], host["state"] == each)
            streams.add_metric([name], host["streams"])
            cores.add_metric([name], host["cores"])
            if host["used_cores"] is not None:
                used.add_metric([name], host["used_cores"])
                rss.add_metric([name], host["rss_mb"] * 1e6)
        homeless = GaugeMetricFamily("agfn_fleet_streams_without_host", "Streams that no host has.")
        homeless.add_metric([], sum(stream["host"] is None for stream in status["streams"].values()))
        placed = CounterMetricFamily("agfn_fleet_placements", "Streams given to a host, by reason.", labels=("why",))
        for why, count in sorted(status["placements"].items()):
            placed.add_metric([why], count)
        yield from (state, streams, cores, used, rss, homeless, placed)


class AsrMetrics(Collector):
    """Says where a host's decodes are done.

    Args:
        told: gives what `RemoteAsr.told` does.
    """

    def __init__(self, told: Callable[[], tuple[Mapping[str, int], int]]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        """Give out the metric families."""
        counts, usable = self._told()
        decodes = CounterMetricFamily(
            "agfn_fleet_asr_decodes",
            "Decodes of a host by the pool, or by itself because the pool was busy, late, gone, failed or down.",
            labels=("by",),
        )
        for by, count in sorted(counts.items()):
            decodes.add_metric([by], count)
        relied = GaugeMetricFamily("agfn_fleet_asr_recognisers", "Recognisers of the pool that a host relies on.")
        relied.add_metric([], usable)
        yield from (decodes, relied)


class OfHost(Collector):
    """The metrics of a registry, each with the name of its host.

    Args:
        registry: whose metrics these are.
        host: the name.
    """

    def __init__(self, registry: CollectorRegistry, host: str) -> None:
        self.registry = CollectorRegistry()
        self._inner, self._host = registry, host
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give out the families of the registry."""
        for family in self._inner.collect():
            family.samples = [each._replace(labels={**each.labels, "host": self._host}) for each in family.samples]
            yield family
