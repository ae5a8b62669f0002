"""Programs that tests start: each in a session of its own, ended for certain, frozen and thawed at will."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def need(*programs: str) -> None:
    """Skip the test when a program is missing; fail instead where CI=true."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        absent(f"not installed: {', '.join(missing)} (scripts/test installs them where it may)")


def absent(reason: str) -> None:
    """Skip, or fail where CI=true: there every part has to be."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"a part is missing in CI: {reason}")
    pytest.skip(reason)


def wait_until(condition: Callable[[], object], timeout_s: float, what: str, step_s: float = 0.05) -> None:
    """Poll until the condition holds; fail with `what` when it doesn't in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {timeout_s} s: {what}")
        time.sleep(step_s)


class Program:
    """A running program with all its children.

    Args:
        command: program and arguments.
        log: file for what it prints.
        env: its whole environment.
    """

    def __init__(self, command: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._out = log.open("ab")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        )

    def freeze(self) -> None:
        """Stop it where it stands: sockets stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash or the power switch would."""
        self._signal(signal.SIGKILL)
        self.process.wait(5)
        self._out.close()

    def text(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text(errors="replace")

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
