"""A Ray cluster of several nodes on this machine, for tests and measurements: nodes that join, and that are killed."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from realtime.fleet.config import RayConfig
from realtime.fleet.ray_engine import RayEngine, import_ray
from scripts.fleeting.rig import CORES, FACTORY

if TYPE_CHECKING:
    from typing_extensions import Self

    from scripts.fleeting.rig import Rig

STORE_BYTES = 80_000_000
"""The object store of a node, which nothing of ours uses: the least that Ray takes."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: the name of its host, and what kills all of it."""

    host: str
    kill: Any


class Cluster:
    """A head that runs nothing of ours, and nodes that run a host each.

    Args:
        nodes: how many, called h0, h1 and so on.
        store: folder in which the head keeps what it knows, so that it can be started again; None for memory.
    """

    def __init__(self, nodes: int, store: Path | None = None) -> None:
        if store is not None:
            store.mkdir()
            os.environ.update({"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(store)})
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Hosts must find this project's own modules wherever Ray starts them.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
        self._ray = import_ray(alone=True)
        from ray.cluster_utils import Cluster as Nodes  # noqa: PLC0415

        self._cluster: Any = Nodes()  # Ray leaves its methods untyped
        self._nodes: dict[str, Any] = {}
        self._start(num_cpus=0)
        for _ in range(nodes):
            self.add()

    def __enter__(self) -> Self:
        """Join it as a driver."""
        self._ray.init(self._cluster.address, log_to_driver=False, logging_level="warning")
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._ray.shutdown()
        self._cluster.shutdown()

    def add(self) -> str:
        """Add a node; return the name of its host."""
        name = f"h{len(self._nodes)}"
        self._nodes[name] = self._start(num_cpus=CORES, labels={"agfn.host": name, "site": "here"})
        return name

    def engine(self, options: dict[str, Any]) -> RayEngine:
        """Return an engine on it that plays recordings."""
        return RayEngine(RayConfig(), FACTORY, options, log_level="warning")

    def node(self, host: str) -> Node:
        """Return the node of a host."""
        node = self._nodes[host]
        return Node(host, lambda: self._cluster.remove_node(node, allow_graceful=False))

    def a_node(self, rig: Rig) -> Node:
        """Return the node whose host has the most streams."""
        hosts = rig.hosts()
        return self.node(max(hosts, key=lambda name: (hosts[name]["streams"], name)))

    def kill_head(self) -> None:
        """Kill the head's server, by which nodes and hosts are known, as its machine's end would."""
        self._cluster.head_node.kill_gcs_server()

    def start_head(self) -> None:
        """Start it again, at its address and with what it had kept."""
        self._cluster.head_node.start_gcs_server()

    def listens_at(self) -> set[str]:
        """Addresses at which the processes of the nodes listen."""
        ours = [each.process.pid for node in self._cluster.list_all_nodes() for each in _processes(node)]
        family = [
            child for pid in ours for child in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
        ]
        found = [socket for process in family for socket in process.net_connections("tcp")]
        return {socket.laddr.ip for socket in found if socket.status == psutil.CONN_LISTEN}

    def _start(self, **given: Any) -> Any:  # noqa: ANN401 - a node of Ray's
        return self._cluster.add_node(object_store_memory=STORE_BYTES, include_dashboard=False, **given)


def _processes(node: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return what Ray knows of the processes that it started for a node."""
    return [each for kind in node.all_processes.values() for each in kind if each.process.poll() is None]
