"""Recognisers of the ASR pool as processes of this machine, on Unix sockets in a folder of its own; started anew.

They die with this process. One thread starts them all, as local_engine.py says why. Those that have ended are started
anew one after the other: to load a model takes a core for seconds, and the hosts decode by themselves just then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import UsageError
from realtime.fleet.asr_address import UNIX, VARIABLE, parsed
from realtime.fleet.local_engine import AGAIN_S, HEALTHY_S
from realtime.system import backoff

if TYPE_CHECKING:
    from realtime.fleet.config import AsrLinks, FleetConfig

log = logging.getLogger(__name__)

LOOK_S = 0.2
END_S = 3.0
LOAD_S = 30.0
"""So long others wait at most for one that loads its model."""


@dataclass(slots=True)
class _Slot:
    """A recogniser over its runs."""

    address: str
    process: subprocess.Popen[bytes] | None = None
    begun_s: float = 0.0
    again_s: float = 0.0
    failures: int = 0

    def loads(self, now_s: float) -> bool:
        """Whether it has been started anew and does not listen yet."""
        anew = self.process is not None and self.failures > 0 and now_s - self.begun_s < LOAD_S
        return anew and not Path(parsed(self.address).path or "").exists()


class AsrProcesses:
    """Recognisers that run until closed.

    Args:
        config: of the fleet; `asr_pool.processes` says how many.
        log_level: of the processes.

    Raises:
        UsageError: there are no Unix sockets here.
    """

    def __init__(self, config: FleetConfig, log_level: str = "info") -> None:
        if sys.platform == "win32":
            raise UsageError("asr_pool.processes needs Unix sockets: run `python -m realtime.fleet pool` instead")
        self._folder = Path(tempfile.mkdtemp(prefix="agfn-asr-"))  # its owner's only
        self._config, self._log_level = config, log_level
        pool = config.asr_pool
        self._token_file = pool.token_file
        if self._token_file is None and VARIABLE not in os.environ:
            file = self._folder / "token"
            file.touch(0o600)
            file.write_text(secrets.token_hex(24), encoding="ascii")
            self._token_file = str(file)
        self._slots = [_Slot(f"{UNIX}{self._folder}/{number}") for number in range(pool.processes)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="asr-pools", daemon=True)
        self._thread.start()

    def links(self) -> AsrLinks:
        """How the hosts reach them, and those that run elsewhere."""
        pool = self._config.asr_pool
        addresses = (*(slot.address for slot in self._slots), *pool.addresses)
        return pool.links().model_copy(update={"addresses": addresses, "token_file": self._token_file})

    def pids(self) -> list[int]:
        """Process numbers of the recognisers that run."""
        return [slot.process.pid for slot in self._slots if slot.process is not None and slot.process.poll() is None]

    def close(self) -> None:
        """End them."""
        self._over.set()
        self._thread.join(END_S + 1.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self) -> None:
        """Start those that do not run, until closed; then end them all."""
        while not self._over.wait(LOOK_S):
            now_s = time.monotonic()
            for slot in self._slots:
                if slot.process is not None and slot.process.poll() is not None:
                    self._ended(slot, now_s)
                if (
                    slot.process is None
                    and now_s >= slot.again_s
                    and not any(each.loads(now_s) for each in self._slots)
                ):
                    self._start(slot, now_s)
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.terminate()
        deadline_s = time.monotonic() + END_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline_s - time.monotonic()))
            if process.poll() is None:
                process.kill()  # it hangs, or is stopped
                process.wait()

    def _start(self, slot: _Slot, now_s: float) -> None:
        config = self._config.model_copy(
            update={"asr_pool": self._config.asr_pool.model_copy(update={"token_file": self._token_file})}
        )
        hello = {
            "parent": os.getpid(),
            "log_level": self._log_level,
            "listen": slot.address,
            "config": config.model_dump(mode="json", exclude={"streams", "hosts"}),
        }
        slot.begun_s = now_s
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "realtime.fleet.asr_pool"],
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        except OSError as error:
            log.error("a recogniser can't be started: %s", error)  # noqa: TRY400 - the one line says it
            self._ended(slot, now_s)
            return
        slot.process = process
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(OSError), process.stdin as orders:
            orders.write(json.dumps(hello).encode() + b"\n")

    def _ended(self, slot: _Slot, now_s: float) -> None:
        if slot.process is not None:
            log.warning("recogniser %s has ended (exit code %s)", slot.address, slot.process.returncode)
        slot.process = None
        Path(parsed(slot.address).path or "").unlink(missing_ok=True)
        slot.failures = 1 if now_s - slot.begun_s > HEALTHY_S else slot.failures + 1
        slot.again_s = now_s + backoff.wait_s(slot.failures, *AGAIN_S)
