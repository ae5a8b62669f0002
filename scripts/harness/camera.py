"""Cameras for tests: a local one that OpenCV opens as /dev/video0, and one on the network."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from scripts.harness.processes import absent, need

if TYPE_CHECKING:
    import socket


class V4l2Camera:
    """/dev/video0 as a child process sees it, by a library preloaded into it; Linux only.

    Start the child with `os.environ | camera.env`; command it at any time from the test.

    Args:
        library: as `built` returns it.
        folder: for the control file and the frames.
        jpegs: the pictures, all of one size, played in a loop.
        fps: how many per second.
    """

    def __init__(self, library: Path, folder: Path, jpegs: list[bytes], fps: float = 25.0) -> None:
        self._folder, self._control = folder, folder / "v4l2-control"
        self._mode, self._fps = "run", fps
        self._stored = 0
        self.env = {"LD_PRELOAD": str(library), "AGFN_V4L2_CONTROL": str(self._control)}
        self.show(jpegs)

    def run(self) -> None:
        """Deliver: the first state, and the return from the others."""
        self._command("run")

    def stall(self) -> None:
        """Stay open but deliver nothing."""
        self._command("stall")

    def freeze(self) -> None:
        """Deliver the same picture over and over."""
        self._command("frozen")

    def unplug(self) -> None:
        """Vanish: reads fail at once, and so does opening."""
        self._command("gone")

    def set_fps(self, fps: float) -> None:
        """Deliver faster or slower."""
        self._fps = fps
        self._command(self._mode)

    def show(self, jpegs: list[bytes]) -> None:
        """Deliver other pictures: a covered lens, or another size (unplug first, as a real camera would)."""
        self._stored += 1
        self._frames = self._folder / f"v4l2-{self._stored}.mjpg"
        self._frames.write_bytes(b"".join(jpegs))
        self._command(self._mode)

    def history(self) -> list[str]:
        """What was done to it, oldest first: open, streamon, streamoff, close."""
        log = self._control.with_name(f"{self._control.name}.log")
        return log.read_text().split() if log.exists() else []

    def _command(self, mode: str) -> None:
        self._mode = mode
        fresh = self._control.with_suffix(".new")
        fresh.write_text(f"{mode} {self._fps} {self._frames}\n")
        fresh.replace(self._control)


def built(folder: Path, name: str = "v4l2") -> Path:
    """Compile a library that is preloaded, by default the camera's; skip (in CI: fail) where that is not possible."""
    if sys.platform != "linux":
        absent("preloaded libraries of these tests are for Linux only")
    need("gcc")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    done = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library), str(source), "-lpthread", "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        absent(f"{source.name} cannot be compiled: {done.stderr[-500:]}")
    return library


class HttpCamera:
    """A network camera: MJPEG over HTTP on loopback, any number of viewers.

    Args:
        jpegs: the pictures, played in a loop.
        fps: how many per second.
    """

    def __init__(self, jpegs: list[bytes], fps: float = 25.0) -> None:
        self.jpegs, self.fps = jpegs, fps
        self.flowing = threading.Event()
        self._server: _Server | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """Address of the stream; stays the same over a restart."""
        return f"http://127.0.0.1:{self._port}/stream.mjpg"

    def start(self) -> None:
        """Switch it on."""
        handler = functools.partial(_Viewer, self)
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        self.flowing.set()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stall(self) -> None:
        """Keep the connections but send nothing."""
        self.flowing.clear()

    def run(self) -> None:
        """Send again."""
        self.flowing.set()

    def kill(self) -> None:
        """Switch it off: connections break, new ones are refused."""
        server, self._server = self._server, None
        if server is not None:
            server.over = True
            self.flowing.set()
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    over = False


class _Viewer(BaseHTTPRequestHandler):
    server: _Server

    def __init__(self, camera: HttpCamera, request: socket.socket, address: tuple[str, int], server: _Server) -> None:
        self._camera = camera
        super().__init__(request, address, server)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        begin, number = time.monotonic(), 0
        with contextlib.suppress(OSError):
            while not self.server.over:
                self._camera.flowing.wait()
                jpeg = self._camera.jpegs[number % len(self._camera.jpegs)]
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
                self.wfile.write(jpeg + b"\r\n")
                number += 1
                begin = max(begin + 1 / self._camera.fps, time.monotonic() - 1 / self._camera.fps)
                time.sleep(max(0.0, begin - time.monotonic()))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


class _Part(Protocol):
    env: dict[str, str]


def child_env(*parts: _Part) -> dict[str, str]:
    """Return this process's environment with those of the parts (V4l2Camera, SoundServer) on top."""
    env = dict(os.environ)
    for part in parts:
        env |= part.env
    return env
