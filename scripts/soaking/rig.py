"""The whole program with everything it hangs on: two cameras, a microphone, a broker, a subscriber. All can be broken.

Two streams: `desk` has a webcam and the microphone, `hall` a network camera alone.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from scripts.harness import clips
from scripts.harness.camera import HttpCamera, V4l2Camera, built, child_env
from scripts.harness.live_program import Live, Pacemaker
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.sound import SoundServer, sound_server
from scripts.soaking.outside import Outside
from scripts.soaking.starving import Starving

if TYPE_CHECKING:
    from contextlib import ExitStack

    from scripts.harness.live_program import Heard

ROOT = Path(__file__).resolve().parents[2]
STREAMS = ("desk", "hall")
FPS = 10
"""Pictures a second that are looked at, of each camera: the breaking and listening happen on the same machine."""
KEEP = ("allow_anonymous true", "user root", "persistence true", "autosave_on_changes true", "autosave_interval 1")
SAVED_S = 2.5
SPEAK_EVERY_S = 30.0
HANGING_S = 2.5
SMALL = (320, 240)


class Rig:
    """Everything that can break, and the program.

    Args:
        stack: ends all of it.
        clip: a person who talks; looped.
    """

    def __init__(self, stack: ExitStack, clip: Path) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        self.large, self.small = clips.jpegs(clip), clips.jpegs(clip, size=SMALL)
        self.black = clips.black_jpegs(count=10)
        voice = clips.sound(clip)
        self._voice = voice * (0.5 / np.abs(voice).max())
        self._spoke_s = 0.0
        self._mic, self._rate_hz = "mic", 48_000
        self.camera = V4l2Camera(built(folder), folder, self.large)
        self.network = HttpCamera(self.large, fps=15)
        stack.callback(self.network.kill)
        self.sound: SoundServer = stack.enter_context(sound_server())
        self.broker = Mosquitto(folder, (*KEEP, f"persistence_location {folder}/"))
        stack.callback(self.broker.close)
        self._trouble, self._off_s = folder / "trouble", folder / "off"
        self.trouble()
        self.set_clock(0)
        config = folder / "soak.yaml"
        config.write_text(
            f"camera: {{max_fps: {FPS}}}\nstreams:\n"
            f'  - {{name: desk, camera: "0", mic: default}}\n'
            f'  - {{name: hall, camera: "{self.network.url}", mic: null}}\n'
        )
        env = child_env(self.camera, self.sound) | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": f"{self.camera.env['LD_PRELOAD']}:{built(folder, 'wallclock')}:{built(folder, 'fulldisk')}",
            "AGFN_TROUBLE": str(self._trouble),
            "AGFN_WALLCLOCK": str(self._off_s),
        }
        program = ["-m", "scripts.harness.troubled"]
        disk = folder / "disk"
        disk.mkdir()
        env["AGFN_FULLDISK"] = str(disk / "full")
        self.outside = Outside(folder, disk, STREAMS, self.broker)
        options = ["--config", str(config), *self.outside.record()]
        self.live = self.outside.live = Live(folder, self.broker.port, options, env, "soak", program)
        stack.callback(self.live.close)
        stack.callback(self.outside.dismiss_readers)
        stack.callback(self.outside.end_twin)
        self.pacemaker = Pacemaker()
        stack.callback(self.pacemaker.close)
        self.starving = Starving(lambda: self.live.program.process.pid)
        stack.callback(self.starving.close)

    @property
    def process(self) -> psutil.Process:
        """The program, as it runs now."""
        return psutil.Process(self.live.program.process.pid)

    def withheld_s(self, begin_s: float, end_s: float) -> float:
        """Time that the machine withheld between two moments, from the program or from who listens to it."""
        return max(self.pacemaker.withheld_s(begin_s, end_s), self.starving.withheld_s(begin_s, end_s))

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self.live.program.process.poll() is None

    def speak(self, *, loud: float = 1.0) -> None:
        """Talk into the microphone for the next 50 s; `loud` beyond 2 is clipped."""
        self.sound.hush()
        self.sound.play(np.tile(self._voice * loud, 16), name=self._mic)
        self._spoke_s = time.monotonic()

    def keep_speaking(self) -> None:
        """Talk again before the last talk is over."""
        if time.monotonic() - self._spoke_s > SPEAK_EVERY_S:
            self.speak()

    def drown(self) -> None:
        """White noise as loud as the voice."""
        frames = self._voice[: len(self._voice) // 512 * 512].reshape(-1, 512)
        power = np.mean(frames**2, axis=1)
        loud = float(np.sqrt(np.mean(power[power > np.median(power)])))
        noise = np.random.default_rng(0).standard_normal(16_000 * 30).astype(np.float32) * loud
        self.sound.play(noise, name=self._mic)

    def trouble(self, *lines: str) -> None:
        """Let stages fail, see scripts/harness/troubled.py."""
        fresh = self._trouble.with_suffix(".new")
        fresh.write_text("\n".join(lines))
        fresh.replace(self._trouble)

    def hang(self, stage: str) -> None:
        """Let the calls of a stage hang that are made in the next seconds: a busy machine decodes seldom."""
        self.trouble(f"{stage} hang")
        time.sleep(HANGING_S)
        self.trouble()

    def let_go(self, stage: str) -> None:
        """Let what hangs return."""
        self.trouble(f"{stage} free")
        time.sleep(0.5)
        self.trouble()

    def set_clock(self, seconds: int) -> None:
        """Set the program's wall clock."""
        fresh = self._off_s.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        fresh.replace(self._off_s)

    def pull_out(self) -> None:
        """Unplug the microphone."""
        self.sound.hush()
        self.sound.remove_sinks()

    def plug_in(self, *, other_rate: bool = False) -> None:
        """Plug the microphone in again, perhaps with another sample rate."""
        if other_rate:
            self._rate_hz = 44_100 if self._rate_hz == 48_000 else 48_000
        self.sound.add_sink("mic", self._rate_hz)
        self.speak()

    def second_microphone(self) -> None:
        """Plug in another one, which becomes the default."""
        self.sound.hush()
        self.sound.add_sink("usb", 44_100)
        self._mic = "usb"
        self.speak()

    def first_microphone(self) -> None:
        """Unplug the other one again."""
        self.sound.hush()
        self.sound.choose("mic")
        self.sound.remove_sink("usb")
        self._mic = "mic"
        self.speak()

    def restart_sound(self) -> None:
        """Start the sound server after its death."""
        self.sound.start()
        self.speak()

    def kill_broker(self) -> None:
        """Kill it, but not before it has saved which events were taken: it would give them out again itself."""
        while any(self.live.heard("event", stream, time.monotonic() - SAVED_S) for stream in STREAMS):
            time.sleep(0.1)
        self.broker.kill()

    def refuse(self) -> None:
        """Let the broker refuse everyone."""
        self.kill_broker()
        self.broker.start(refusing=True)

    def readmit(self) -> None:
        """Let the broker take everyone again."""
        self.broker.kill()
        self.broker.start()

    def other_size(self) -> None:
        """Bring the unplugged webcam back with another size."""
        self.small, self.large = self.large, self.small
        self.camera.show(self.large)
        self.camera.run()


def sees(heard: Heard) -> bool:
    """Whether the face counts."""
    return bool(heard.part("face")["weight"] > 0)


def hears(heard: Heard) -> bool:
    """Whether the voice counts, and is clear."""
    return bool(heard.part("voice")["weight"] > 0 and heard.part("voice")["reliability"] > 0.5)


def healthy(heard: Heard) -> bool:
    """Whether all devices of a message's stream count."""
    return sees(heard) and (heard.body["stream"] == "hall" or hears(heard))
