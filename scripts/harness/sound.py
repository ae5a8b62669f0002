"""A microphone that is real up to the sound card: PipeWire with a null sink, whose monitor PortAudio records from.

What is played into the sink is what the microphone hears.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.harness.processes import Program, need, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ALSA = """</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "Default (test)" } }
ctl.!default { type pulse }
"""


class SoundServer:
    """PipeWire, WirePlumber and pipewire-pulse in a private runtime folder; nothing of the user's is touched.

    Attributes:
        env: variables a child process needs, to hear this server and no other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: list[Program] = []
        self._players: list[subprocess.Popen[bytes]] = []
        self._played = 0
        config = folder / "asound.conf"
        config.write_text(ALSA)
        self.env = {
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "ALSA_CONFIG_PATH": str(config),
        }

    def start(self) -> None:
        """Start the server with one sink, `mic`, whose monitor is the default microphone."""
        env = os.environ | self.env
        for command in (["pipewire"], ["dbus-run-session", "--", "wireplumber"], ["pipewire-pulse"]):
            self._programs.append(Program(command, self._folder / f"{command[-1]}.log", env))
            if command == ["pipewire"]:
                wait_until((self._folder / "pipewire-0").exists, 10, "PipeWire's socket")
        wait_until(lambda: self._answers("info"), 15, "pipewire-pulse to answer", 0.1)
        self.add_sink()

    def add_sink(self, name: str = "mic", rate_hz: int = 48_000) -> None:
        """Plug in a microphone and make it the default."""
        self._pactl("load-module", "module-null-sink", f"sink_name={name}", "media.class=Audio/Sink", f"rate={rate_hz}")
        wait_until(lambda: f"{name}.monitor" in self._pactl("list", "short", "sources"), 10, f"the monitor of {name}")
        # WirePlumber may still be on its way, and refuses until it is there.
        wait_until(lambda: self._answers("set-default-source", f"{name}.monitor"), 10, "a default to be accepted")
        wait_until(lambda: f"{name}.monitor" in self._pactl("get-default-source"), 10, f"{name} as default")

    def choose(self, name: str) -> None:
        """Make a microphone that is plugged in the default."""
        self._pactl("set-default-source", f"{name}.monitor")
        wait_until(lambda: f"{name}.monitor" in self._pactl("get-default-source"), 10, f"{name} as default")

    def play_on(self, name: str) -> None:
        """Make a sink the one that sound is played on by default."""
        self._pactl("set-default-sink", name)
        wait_until(lambda: name in self._pactl("get-default-sink"), 10, f"{name} as default")

    def remove_sink(self, name: str) -> None:
        """Unplug one microphone."""
        modules = self._pactl("list", "short", "modules").splitlines()
        for module in [line.split()[0] for line in modules if f"sink_name={name} " in f"{line} "]:
            self._pactl("unload-module", module)

    def remove_sinks(self) -> None:
        """Unplug every microphone."""
        self._pactl("unload-module", "module-null-sink")

    def mute(self, muted: bool = True, name: str = "mic") -> None:  # noqa: FBT001, FBT002 - reads well at the call
        """Press the mute key."""
        self._pactl("set-source-mute", f"{name}.monitor", "1" if muted else "0")

    def play(self, samples: np.ndarray, rate_hz: int = 16_000, name: str = "mic") -> subprocess.Popen[bytes]:
        """Speak into the microphone: (N,) float32 in [-1, 1]; returns at once with the player."""
        self._played += 1
        path = self._folder / f"play-{self._played}.wav"
        write_wav(path, samples, rate_hz)
        player = subprocess.Popen(
            ["paplay", f"--device={name}", str(path)], env=os.environ | self.env, stderr=subprocess.DEVNULL
        )
        self._players.append(player)
        return player

    def hush(self) -> None:
        """Stop whatever is being played."""
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()

    def freeze(self) -> None:
        """Freeze the whole server: callbacks stay out, and calls into it hang."""
        for program in self._programs:
            program.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for program in self._programs:
            program.thaw()

    def kill(self) -> None:
        """Kill the server; `start` starts it again."""
        for program in self._programs:
            program.kill()
        self._programs.clear()
        for leftover in ("pipewire-0", "pipewire-0.lock", "pipewire-0-manager", "pipewire-0-manager.lock"):
            (self._folder / leftover).unlink(missing_ok=True)
        shutil.rmtree(self._folder / "pulse", ignore_errors=True)

    def close(self) -> None:
        """End everything."""
        self.hush()
        self.thaw()
        self.kill()

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments], env=os.environ | self.env, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout

    def _answers(self, *arguments: str) -> bool:
        try:
            self._pactl(*arguments)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True


@contextlib.contextmanager
def sound_server() -> Iterator[SoundServer]:
    """Run a sound server; skip (in CI: fail) where PipeWire is not installed."""
    need("pipewire", "pipewire-pulse", "wireplumber", "dbus-run-session", "pactl", "paplay")
    # The path of a socket holds 107 characters at most, which pytest's folders may exceed.
    folder = Path(tempfile.mkdtemp(prefix="snd-"))
    server = SoundServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = 16_000) -> Path:
    """Write sound, (N,) float32 in [-1, 1], as 16-bit mono WAV; return the path."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
