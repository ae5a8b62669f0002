"""The overlay as a child of realtime.run: started beside the analysis, which its end or crash never touches."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime.config.schema import MqttConfig

log = logging.getLogger(__name__)

GOODBYE_S = 3.0


class OverlayProcess:
    """Runs `python -m realtime.overlay` until closed.

    What opens the broker goes through the environment, where other users of the machine can't read it; the child ends
    when this process does, since it holds the other end of its standard input.

    Args:
        url: address of the broker as it is now: host and port, no user.
        config: user, files and topics.
        stream: whom to follow, or None.
    """

    def __init__(self, url: str, config: MqttConfig, stream: str | None) -> None:
        command = [sys.executable, "-m", "realtime.overlay", "--follow-stdin", "--mqtt", url, "--base", config.base]
        if stream is not None:
            command += ["--stream", stream]
        keys = ("username", "password_file", "ca_file", "cert_file", "key_file")
        given = {f"AGFN_MQTT__{key.upper()}": getattr(config, key) for key in keys}
        env = os.environ | {name: value for name, value in given.items() if value is not None}
        self._closing = False
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            errors="replace",
        )
        self._watcher = threading.Thread(target=self._watch, name="overlay", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Let it end, and end it if it does not."""
        self._closing = True
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self._watcher.join(GOODBYE_S)
        if self._watcher.is_alive():
            self.process.kill()
            self._watcher.join(GOODBYE_S)

    def _watch(self) -> None:
        if self.process.stderr is not None:
            with self.process.stderr as lines:  # through the log: the terminal may hold a view
                for line in lines:
                    log.warning("overlay: %s", line.rstrip())
        code = self.process.wait()
        if not self._closing:
            how = "was closed" if code == 0 else f"ended with exit code {code}"
            log.warning("the overlay %s; the analysis goes on", how)
