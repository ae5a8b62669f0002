"""A real mosquitto on a free loopback port, that can be killed, frozen and brought back, and a subscriber to it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from scripts.harness.processes import absent, need

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0, what: str = "it") -> None:
    """Wait until the condition holds; fail when it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.01)


def mosquitto_sub() -> str:
    """Return the path of mosquitto's own subscriber."""
    need("mosquitto_sub")
    return shutil.which("mosquitto_sub") or ""


class Mosquitto:
    """A broker. `lines` of configuration are added; without them anyone may do anything."""

    def __init__(
        self, folder: Path, lines: Sequence[str] = ("allow_anonymous true",), listener: Sequence[str] = ()
    ) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        if program is None:
            absent("mosquitto is not installed (Debian: apt install mosquitto mosquitto-clients)")
        self.port = free_port()
        config = folder / f"mosquitto-{self.port}.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *listener, *lines, ""]))
        refusing = config.with_suffix(".refusing")
        refusing.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
        self._log = config.with_suffix(".log")
        self._command, self._refusing = [program, "-c", str(config)], [program, "-c", str(refusing)]
        self._process: subprocess.Popen[bytes]
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def log(self) -> str:
        """Return what it printed so far."""
        return self._log.read_text(errors="replace")

    def start(self, *, refusing: bool = False) -> None:
        """Start it; `refusing` lets nobody in who has no password."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._refusing if refusing else self._command, stdout=log, stderr=log)
        wait_for(self._listens, what="mosquitto's start")

    def memory_mb(self) -> float:
        """Memory of it that is resident now."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 1e6

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it stands: sockets stay open, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, frozen or not."""
        if self._process.poll() is None:
            self.thaw()
            self.kill()

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Subscriber:
    """An independent client (paho, in its own thread) that notes all it gets, and comes back when the broker does."""

    def __init__(
        self,
        port: int,
        topics: str = "agfn/#",
        *,
        v5: bool = True,
        session: str | None = None,
        user: tuple[str, str] | None = None,
    ) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._topics = topics
        if session is None:
            self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if v5 else paho.MQTTv311)
        else:  # the broker keeps its subscriptions and queue
            self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=session, clean_session=False)
        if user is not None:  # (name, password)
            self.client.username_pw_set(*user)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._subscribe
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_disconnect = lambda *_: self._ready.clear()
        self.client.on_message = self._note
        self.client.connect("127.0.0.1", port, keepalive=60)
        self.client.loop_start()
        self.wait_subscribed()

    def wait_subscribed(self) -> None:
        """Until the broker gives it what it asked for, for the first time or again."""
        assert self._ready.wait(5), "no subscription"

    def payloads(self, ending: str) -> list[bytes]:
        """Return what came on topics with this ending."""
        with self._lock:
            return [bytes(message.payload) for message in self.messages if message.topic.endswith(ending)]

    def clear(self) -> None:
        """Forget what came."""
        with self._lock:
            self.messages.clear()

    def say(self, topic: str, payload: str | bytes | None, *, retain: bool = False, qos: int = 1) -> None:
        """Publish, and wait until the broker has it."""
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(5)

    def close(self) -> None:
        """Leave the broker."""
        self.client.disconnect()
        self.client.loop_stop()

    def _subscribe(self, *_: object) -> None:
        self.client.subscribe(self._topics, qos=1)

    def _note(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.messages.append(message)
