"""Hosts as processes of this machine: for tests, and for a site of its own. They die with this process.

One thread starts them all and lives as long as the engine, because the system takes the thread that starts a process
for its parent.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime.fleet.engine import HostError, HostInfo
from realtime.system import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.fleet.engine import Json, Method

log = logging.getLogger(__name__)

AGAIN_S = (0.5, 30.0)
"""First and longest wait before a host that ended is started again."""
HEALTHY_S = 60.0
CLOSE_S = 8.0
WAITING = 64
"""Orders that may wait for a host that does not read."""


@dataclass(frozen=True, slots=True)
class LocalHost:
    """A host to be run: its name, its labels, the cores it may use."""

    name: str
    cores: float
    labels: Mapping[str, str] = field(default_factory=dict)


class LocalEngine:
    """Processes on this machine.

    Args:
        hosts: to be run.
        factory: dotted name of what makes a host's session, as in host.session_of.
        options: for it; JSON.
        log_level: of the hosts.
        environ: further variables of their environment.
    """

    def __init__(
        self,
        hosts: Sequence[LocalHost],
        factory: str,
        options: Mapping[str, Any],
        *,
        log_level: str = "info",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._hello = {"factory": factory, "options": dict(options), "log_level": log_level, "parent": os.getpid()}
        self._environ = dict(environ or {})
        self._slots = {host.name: _Slot() for host in hosts}
        self._starts: queue.SimpleQueue[tuple[_Child, str] | None] = queue.SimpleQueue()
        self._starter = threading.Thread(target=self._start_all, name="fleet-start", daemon=True)
        self._starter.start()

    def poll(self) -> dict[str, HostInfo]:
        """See Engine."""
        now_s = time.monotonic()
        for name, slot in self._slots.items():
            if slot.child is not None and slot.child.over:
                slot.ended(now_s)
                log.warning("host %s has ended (exit code %s); starting it again", name, slot.child.exit_code)
                slot.child = None
            if slot.child is None and now_s >= slot.again_s:
                slot.child, slot.run = _Child(name), slot.run + 1
                self._starts.put((slot.child, json.dumps(self._hello | {"name": name})))
        return {name: self._info(host, self._slots[name]) for name, host in self._hosts.items()}

    def ask(self, host: str, method: Method, **arguments: Any) -> Future[Json]:  # noqa: ANN401 - JSON
        """See Engine."""
        child = self._slots[host].child if host in self._slots else None
        if child is None:
            future: Future[Json] = Future()
            future.set_exception(HostError(f"host {host} does not run"))
            return future
        return child.ask(method, arguments)

    def add(self, host: LocalHost) -> None:
        """Run one more host."""
        self._slots = {**self._slots, host.name: _Slot()}
        self._hosts = {**self._hosts, host.name: host}

    def pids(self) -> dict[str, int]:
        """Process numbers of the hosts that run, by name."""
        return {name: slot.child.pid for name, slot in self._slots.items() if slot.child is not None and slot.child.pid}

    def close(self) -> None:
        """See Engine."""
        children = [slot.child for slot in self._slots.values() if slot.child is not None]
        self._hosts, self._slots = {}, {}
        for child in children:
            child.ask("close", {})
        deadline_s = time.monotonic() + CLOSE_S
        for child in children:
            child.end(max(0.1, deadline_s - time.monotonic()))
        self._starts.put(None)  # not before: what this thread has started dies with it
        self._starter.join(1.0)

    @staticmethod
    def _info(host: LocalHost, slot: _Slot) -> HostInfo:
        up = slot.child is not None and slot.child.ready
        return HostInfo(host.name, slot.run, up=up, cores=host.cores, labels=host.labels)

    def _start_all(self) -> None:
        while (order := self._starts.get()) is not None:
            child, hello = order
            child.start(hello, os.environ | self._environ)


@dataclass(slots=True)
class _Slot:
    """A host over its runs."""

    child: _Child | None = None
    run: int = 0
    again_s: float = 0.0
    failures: int = 0

    def ended(self, now_s: float) -> None:
        """Say when the next run may begin."""
        assert self.child is not None  # noqa: S101 - its end was seen
        self.failures = 1 if now_s - self.child.began_s > HEALTHY_S else self.failures + 1
        self.again_s = now_s + backoff.wait_s(self.failures, *AGAIN_S)


class _Child:
    """One process of a host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began_s = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._over = self._ready = False
        self._lock = threading.Lock()
        self._number = 0
        self._open: dict[int, Future[Json]] = {}
        self._orders: queue.Queue[bytes | None] = queue.Queue(WAITING)

    @property
    def pid(self) -> int:
        """Number of the process; 0 before it runs."""
        return self._process.pid if self._process else 0

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over or (self._process is not None and self._process.poll() is not None)

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self._ready and not self.over

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self, hello: str, environ: Mapping[str, str]) -> None:
        """Run the process. By the thread that lives as long as it does."""
        if self._over:
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "realtime.fleet.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=dict(environ),
                start_new_session=True,  # Ctrl-C is for the parent
            )
        except OSError as error:
            log.error("host %s can't be started: %s", self.name, error)  # noqa: TRY400 - the one line says it
            self._gone()
            return
        self._put(hello.encode() + b"\n")
        threading.Thread(target=self._write, args=(self._process,), name=f"to-{self.name}", daemon=True).start()
        threading.Thread(target=self._read, args=(self._process,), name=f"from-{self.name}", daemon=True).start()

    def ask(self, method: Method, arguments: Json) -> Future[Json]:
        """Send an order."""
        future: Future[Json] = Future()
        with self._lock:
            if self._over:
                future.set_exception(HostError(f"host {self.name} has ended"))
                return future
            self._number += 1
            number = self._number
            self._open[number] = future
        order = json.dumps({"id": number, "method": method, "arguments": arguments}, separators=(",", ":"))
        if not self._put(order.encode() + b"\n"):
            self._settle(number, error=f"host {self.name} does not read its orders")
        return future

    def end(self, timeout_s: float) -> None:
        """See to it that the process goes."""
        process, self._over = self._process, True
        if process is None:
            return
        self._put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        if process.poll() is None:
            process.kill()
            process.wait()
        self._gone()

    def _put(self, line: bytes | None) -> bool:
        try:
            self._orders.put_nowait(line)
        except queue.Full:
            return False
        return True

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(OSError):
            while (line := self._orders.get()) is not None:
                process.stdin.write(line)
                process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        with process.stdout as answers, contextlib.suppress(OSError, ValueError):
            for line in answers:
                answer = json.loads(line)
                if answer["id"] == 0:
                    self._ready = True
                else:
                    self._settle(answer["id"], answer.get("ok"), answer.get("error"))
        process.wait()
        self._gone()

    def _settle(self, number: int, ok: Json | None = None, error: str | None = None) -> None:
        with self._lock:
            future = self._open.pop(number, None)
        if future is None:
            return
        if error is None:
            future.set_result(ok or {})
        else:
            future.set_exception(HostError(error))

    def _gone(self) -> None:
        with self._lock:
            self._over = True
            waiting, self._open = self._open, {}
        for future in waiting.values():
            future.set_exception(HostError(f"host {self.name} has ended"))
        self._put(None)
