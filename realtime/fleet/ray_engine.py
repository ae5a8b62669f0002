"""Hosts as actors of a Ray cluster, one a node: the only file that knows Ray (`agfn-live[fleet]`).

- An actor is bound to its node, is never restarted by Ray and never asked twice: a host that is gone is started anew
  here, and the placer decides what becomes of its streams.
- Orders and answers are JSON values; `report` has a thread of its own in the actor, beside slow changes.
- Ray is for trusted networks: token authentication is on unless the user has switched it off by RAY_AUTH_MODE, and a
  cluster that is started here binds to loopback.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.fleet.engine import HostError, HostInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.fleet.config import RayConfig
    from realtime.fleet.engine import Json, Method

log = logging.getLogger(__name__)

AUTHENTICATION = {"RAY_AUTH_MODE": "token"}
NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Ray tells its makers how it is used, unless it is told not to."""
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that is gone is given up after two seconds instead of a quarter of a minute."""
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""How Ray is told, on Linux too, that no other machine joins: it binds to loopback then, not to the first address."""
PATIENCE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
"""So long Ray's processes wait for a head that is gone, before they end: ten minutes instead of one."""
NODES_EVERY_S = 1.0
AGAIN_S = 2.0
END_S = 8.0


def ray_environment(*, alone: bool = False) -> None:
    """Set how Ray behaves, where the user has not; before it is imported, and for each process that it starts."""
    for name, value in (AUTHENTICATION | NO_REPORTS | HEALTH | PATIENCE | (ALONE if alone else {})).items():
        os.environ.setdefault(name, value)


def import_ray(*, alone: bool = False) -> Any:  # noqa: ANN401 - the module
    """Import Ray; `alone` says that no other machine is to join.

    Raises:
        UsageError: it is not installed.
    """
    ray_environment(alone=alone)
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError("engine: ray needs Ray: pip install 'agfn-live[fleet]'") from None
    return ray


@dataclass(slots=True)
class _Host:
    """One actor: on which node, which run of it, since when, and whether it can be asked."""

    node: str
    run: int
    actor: Any
    cores: float
    labels: Mapping[str, str]
    pid: int = 0
    ready: bool = False
    over: bool = False
    again_s: float = 0.0


class RayEngine:
    """Actors on the nodes of a cluster; a node that joins gets one.

    Args:
        config: which cluster.
        factory: dotted name of what makes a host's session, as in host.session_of.
        options: for it; JSON.
        fleet: name of the fleet: a namespace of its own.
        log_level: of the hosts.
        environ: further variables of their environment.

    Raises:
        UsageError: Ray is not installed, or the cluster can't be joined.
    """

    def __init__(
        self,
        config: RayConfig,
        factory: str,
        options: Mapping[str, Any],
        *,
        fleet: str = "main",
        log_level: str = "info",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._ray = ray = import_ray(alone=config.address == "local")
        self._config = config
        self._given = (factory, dict(options), log_level)
        self._environ = dict(environ or {})
        self._hosts: dict[str, _Host] = {}
        self._nodes: dict[str, Json] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._owned = not ray.is_initialized()
        if self._owned:
            where: dict[str, Any] = {"address": config.address}
            if config.address == "local":
                where |= {"include_dashboard": False}
            try:
                ray.init(**where, namespace=f"agfn-{fleet}", log_to_driver=True, logging_level=logging.WARNING)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UsageError(f"Ray cluster {config.address}: {' '.join(str(error).split())[:300]}") from None
        self._actor = _actor_class(ray)
        # The head may be gone, and who asks it waits then: not the placer.
        self._watcher = threading.Thread(target=self._watch, name="ray-nodes", daemon=True)
        self._watcher.start()

    def poll(self) -> dict[str, HostInfo]:
        """See Engine."""
        now_s, nodes = time.monotonic(), self._nodes
        for name, node in nodes.items():
            host = self._hosts.get(name)
            if host is None or (host.over and now_s >= host.again_s):
                self._hosts[name] = self._start(name, node, 1 if host is None else host.run + 1)
        return {
            name: HostInfo(
                name,
                host.run,
                up=host.ready and not host.over and name in nodes,
                cores=host.cores,
                labels=host.labels,
            )
            for name, host in self._hosts.items()
        }

    def ask(self, host: str, method: Method, **arguments: Any) -> Future[Json]:  # noqa: ANN401 - JSON
        """See Engine."""
        known = self._hosts.get(host)
        answer: Future[Json] = Future()
        if known is None or known.over:
            answer.set_exception(HostError(f"host {host} does not run"))
            return answer
        group = "look" if method == "report" else "change"
        call = known.actor.ask.options(concurrency_group=group, max_task_retries=0).remote(method, arguments)
        call.future().add_done_callback(lambda done: self._answered(known, host, done, answer))
        return answer

    def pids(self) -> dict[str, int]:
        """Process numbers of the hosts that run, by name; for whoever wants to kill one."""
        return {name: host.pid for name, host in self._hosts.items() if host.ready and not host.over}

    def close(self) -> None:
        """See Engine."""
        self._closing.set()
        self._watcher.join(NODES_EVERY_S)
        deadline_s = time.monotonic() + END_S
        ends = [self.ask(name, "close") for name, host in self._hosts.items() if host.ready and not host.over]
        for end in ends:
            try:
                end.result(max(0.1, deadline_s - time.monotonic()))
            except Exception as error:  # noqa: BLE001 - it is killed anyway
                log.debug("a host did not end in order: %s", error)
        for host in self._hosts.values():
            if not host.over:
                self._ray.kill(host.actor)
        self._hosts.clear()
        if self._owned:
            self._ray.shutdown()

    def _watch(self) -> None:
        """Look at the nodes once a second; while the head does not answer they are taken to be as they were."""
        said = False
        while not self._closing.is_set():
            try:
                found = self._ray.nodes()
            except Exception as error:  # noqa: BLE001 - whatever it raises: the hosts go on without a head
                if not said and not self._closing.is_set():
                    log.warning("the head of the Ray cluster does not answer: %s", " ".join(str(error).split())[:200])
                said = True
            else:
                if said:
                    log.warning("the head of the Ray cluster answers again")
                said = False
                # A node without cores, as a head may be, runs nothing of ours.
                alive = [node for node in found if node["Alive"] and node["Resources"].get("CPU")]
                self._nodes = {_name(node): node for node in alive}
            self._closing.wait(NODES_EVERY_S)

    def _start(self, name: str, node: Json, run: int) -> _Host:
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        actor = self._actor.options(
            num_cpus=0,
            scheduling_strategy=strategy,
            runtime_env={"env_vars": self._environ} if self._environ else None,
            max_restarts=0,
            max_task_retries=0,
        ).remote(name, *self._given)
        labels = {key: value for key, value in node.get("Labels", {}).items() if not key.startswith("ray.io/")}
        cores = self._config.cores or float(node["Resources"]["CPU"])
        host = _Host(node["NodeID"], run, actor, cores, labels)
        actor.pid.remote().future().add_done_callback(lambda done: self._started(host, name, done))
        return host

    def _started(self, host: _Host, name: str, done: Future[Any]) -> None:
        if (error := done.exception()) is None:
            host.pid, host.ready = done.result(), True
        else:
            self._gone(host, name, error)

    def _answered(self, host: _Host, name: str, done: Future[Any], answer: Future[Json]) -> None:
        if (error := done.exception()) is None:
            answer.set_result(done.result())
            return
        if isinstance(error, self._ray.exceptions.RayActorError):
            self._gone(host, name, error)
        cause = error.cause if isinstance(error, self._ray.exceptions.RayTaskError) else error
        answer.set_exception(HostError(f"host {name}: {' '.join(str(cause).split())[:300]}"))

    def _gone(self, host: _Host, name: str, error: BaseException) -> None:
        with self._lock:
            if host.over:
                return
            host.over, host.again_s = True, time.monotonic() + AGAIN_S
        log.warning("host %s has ended: %s", name, " ".join(str(error).split())[:200])


def _name(node: Json) -> str:
    """What a node is called: by its label agfn.host, else by its address and the begin of its number."""
    return str(node.get("Labels", {}).get("agfn.host") or f"{node['NodeManagerAddress']}-{node['NodeID'][:6]}")


def _actor_class(ray: Any) -> Any:  # noqa: ANN401 - Ray is untyped here
    """Return the actor of a host."""

    @ray.remote(concurrency_groups={"look": 1, "change": 1})
    class Host:
        """A stream host in a process of Ray's."""

        def __init__(self, name: str, factory: str, options: Json, log_level: str) -> None:
            from realtime.fleet.host import StreamHost, session_of  # noqa: PLC0415 - in the actor's process
            from realtime.system.logs import set_up  # noqa: PLC0415
            from realtime.system.threads import limit_pools  # noqa: PLC0415

            limit_pools()
            set_up(log_level, "text")
            self._host = StreamHost(name, session_of(factory, name, options))

        def ask(self, method: str, arguments: Json) -> Json:
            """Do one of the things that Engine.ask names."""
            found: Json = getattr(self._host, method)(**arguments)
            return found

        def pid(self) -> int:
            """Number of the process, once the host is ready."""
            return os.getpid()

    return Host
