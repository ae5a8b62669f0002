"""A real RTSP camera for tests: GStreamer's server in a process of its own, with H.264 and AAC or Opus."""

from __future__ import annotations

import os
import socket
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from scripts.harness.mosquitto import free_port
from scripts.harness.processes import Program, absent, wait_until

if TYPE_CHECKING:
    from typing import Literal

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's GStreamer is for Debian's Python; the tests' own does not find it."""
NEEDED = "import gi; gi.require_version('GstRtspServer', '1.0')"


class RtspCamera:
    """A network camera at `url` on loopback that shows a film, from its beginning for each viewer.

    Args:
        film: an MP4 with H.264.
        sound: how the sound in it is coded.
        folder: for its log.
        login: USER:PASSWORD that viewers are asked for.
    """

    def __init__(
        self, film: Path, sound: Literal["aac", "opus", "none"], folder: Path, login: str | None = None
    ) -> None:
        found = subprocess.run([SYSTEM_PYTHON, "-c", NEEDED], capture_output=True, check=False)
        if found.returncode:
            absent("not installed: gir1.2-gst-rtsp-server-1.0, python3-gi (scripts/test installs them where it may)")
        self._film, self._sound, self._log = film, sound, folder / "rtsp-camera.log"
        self.login = login
        self.port = free_port()
        self._program: Program | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address of the stream, without a login; stays the same over a restart."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def start(self) -> None:
        """Switch it on."""
        env = {**os.environ, **({} if self.login is None else {"AGFN_TEST_LOGIN": self.login})}
        server = Path(__file__).with_name("rtsp_server.py")
        command = [SYSTEM_PYTHON, str(server), str(self.port), str(self._film), self._sound]
        self._program = Program(command, self._log, env)
        wait_until(self._answers, 20, "the RTSP camera")

    def stall(self) -> None:
        """Keep the connections but send nothing."""
        if self._program is not None:
            self._program.freeze()

    def run(self) -> None:
        """Send again, first what was held back."""
        if self._program is not None:
            self._program.thaw()

    def kill(self) -> None:
        """Switch it off: connections break, new ones are refused."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def looped(path: Path, clip: Path, seconds: float) -> Path:
    """Write a clip over and over, as it is coded, until the film is long enough to be a camera's."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as sink:
        streams = {stream.index: sink.add_stream_from_template(stream) for stream in source.streams}
        assert source.duration is not None
        round_s, begin_s = Fraction(source.duration, av.time_base), Fraction(0)
        while begin_s < seconds:
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                moved = round(begin_s / packet.time_base)
                packet.stream = streams[packet.stream.index]
                packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                sink.mux(packet)
            begin_s += round_s
    return path
