"""A fleet on this machine that plays recordings: a real broker, an independent subscriber, hosts that can be harmed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from realtime.config.schema import Config
from realtime.fleet.config import FleetConfig
from realtime.fleet.fleet import Fleet
from realtime.fleet.local_engine import LocalEngine, LocalHost
from realtime.fleet.topics import root
from scripts.fleeting.arrivals import Subscriber
from scripts.fleeting.loop import Loop
from scripts.harness.mosquitto import Mosquitto, mosquitto_sub
from scripts.harness.processes import wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from realtime.fleet.engine import Engine
    from scripts.fleeting.arrivals import Heards

FACTORY = "scripts.fleeting.session:replay_session"
NEED = 0.004
"""Cores that a played stream is taken to need until it was measured."""
CORES = 2.0
"""Cores that a host may use."""


class Rig:
    """A fleet that runs in this process, its hosts in others.

    Args:
        folder: for the broker's files, and for what is heard.
        recording: that is played.
        engine: makes the engine, given the options of the hosts' sessions.
        hop_s: from one window of a stream to the next.
        length_s: of a window.
        streams: that the fleet begins with.
        lease_s: a host that has not answered for so long has lost its streams.
        pause_s: of the loop that is played.
    """

    def __init__(
        self,
        folder: Path,
        recording: Path,
        engine: Callable[[dict[str, Any]], Engine],
        *,
        hop_s: float = 1.0,
        length_s: float = 4.0,
        streams: int = 0,
        lease_s: float = 3.0,
        pause_s: int = 0,
    ) -> None:
        self.loop = Loop(recording, pause_s)
        self.broker = Mosquitto(folder)
        self.subscriber = Subscriber(self.broker.port, folder / "heard")
        # Half a second of keep-alive more than the default's: a starved machine is no dead one.
        settings = {
            "mqtt": {"url": self.broker.url, "keepalive_s": 5},
            "window": {"hop_s": hop_s, "length_s": length_s},
        }
        self.config = Config.model_validate(settings)
        self.engine = engine({"settings": settings, "recording": str(recording), "pause_s": pause_s})
        placement = {"cores": NEED, "lease_s": lease_s}
        names = [f"s{number:04}" for number in range(streams)]
        played = [{"name": name, "source": "played"} for name in names]
        self.fleet = Fleet(
            FleetConfig.model_validate({"settings": settings, "placement": placement, "streams": played}),
            self.engine,
        )
        self.names = names
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.fleet.run, args=(self._stop,), name="placer", daemon=True)
        self._thread.start()

    def grow(self, streams: int) -> None:
        """Want so many streams in all."""
        for number in range(len(self.names), streams):
            self.want(f"s{number:04}")

    def want(self, stream: str) -> None:
        """Want one more stream."""
        self.names.append(stream)
        self.fleet.placer.want({"name": stream, "source": "played"})

    def forget(self, stream: str) -> None:
        """Want a stream no more."""
        self.names.remove(stream)
        self.fleet.placer.forget(stream)

    def hosts(self) -> dict[str, Any]:
        """How the hosts are, by name."""
        hosts: dict[str, Any] = self.fleet.placer.status()["hosts"]
        return hosts

    def owners(self) -> dict[str, tuple[str | None, int]]:
        """Host and epoch of each stream."""
        streams = self.fleet.placer.status()["streams"]
        return {name: (stream["host"], stream["epoch"]) for name, stream in streams.items()}

    def wait_ready(self, hosts: int, timeout_s: float = 120.0) -> None:
        """Until so many hosts take streams."""
        wait_until(
            lambda: sum(host["state"] == "ready" for host in self.hosts().values()) >= hosts,
            timeout_s,
            "hosts are ready",
        )

    def wait_speaking(self, timeout_s: float = 120.0) -> None:
        """Until each stream has been heard by its present epoch."""

        def all_heard() -> bool:
            heard = self.heard().sentiments
            owners = self.owners()
            return len(owners) == len(self.names) and all(
                heard.get(name) and heard[name][-1].epoch == epoch for name, (_, epoch) in owners.items()
            )

        wait_until(all_heard, timeout_s, "all streams speak", step_s=0.25)

    def kept_entries(self) -> set[str]:
        """Streams of which the broker keeps an entry of the fleet's book."""
        topics = f"{root(self.config.mqtt.base, 'main')}/entry/+"
        command = [mosquitto_sub(), "-h", "127.0.0.1", "-p", str(self.broker.port), "-t", topics, "-F", "%t", "-W", "2"]
        found = subprocess.run([*command, "--retained-only"], capture_output=True, text=True, check=False).stdout
        return {topic.rpartition("/")[2] for topic in found.split()}

    def heard(self) -> Heards:
        """What was heard so far."""
        return self.subscriber.heard(self.config.window.lateness_s)

    def cpu_s(self) -> dict[str, float]:
        """CPU time of the hosts so far, by name."""
        return {name: _cpu_s(pid) for name, pid in self.pids().items()}

    def beside_s(self) -> dict[str, float]:
        """CPU time so far of what runs beside the hosts: the broker, and who listens to it."""
        return {"broker": _cpu_s(self.broker.pid), "subscriber": _cpu_s(self.subscriber.pid)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of the hosts, by name."""
        return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in self.pids().items()}

    def pids(self) -> dict[str, int]:
        """Process numbers of the hosts."""
        return self.engine.pids()  # type: ignore[attr-defined,no-any-return] # both engines have it

    def harm(self, host: str, number: signal.Signals) -> float:
        """Send a signal to a host; return when, by the wall clock."""
        pid = self.pids()[host]
        at_s = time.time()
        os.kill(pid, number)
        return at_s

    def close(self) -> None:
        """End everything."""
        self._stop.set()
        self._thread.join(20)
        self.subscriber.close()
        self.broker.close()


def local(hosts: Sequence[str]) -> Callable[[dict[str, Any]], LocalEngine]:
    """Make a local engine with hosts of these names."""
    return lambda options: LocalEngine(
        [LocalHost(name, CORES) for name in hosts], FACTORY, options, log_level="warning"
    )


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
