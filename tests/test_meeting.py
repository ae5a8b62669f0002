"""A meeting on the screen, as the running program hears and sees it: a film by ffplay, on Xvfb and PipeWire.

The display is killed and comes back; meanwhile nobody speaks, which is nothing wrong with what is heard.
"""

import os
from contextlib import ExitStack
from time import monotonic

import pytest

from scripts.harness.camera import child_env
from scripts.harness.live_program import Live
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import Program, need, wait_until
from scripts.harness.screen import XServer
from scripts.harness.sound import sound_server

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(180)]
PLACE = "screen:100,50,640,360"


class Meeting:
    """A clip that is shown at PLACE and played, over and over."""

    def __init__(self, folder, clip, env):
        need("ffplay")
        command = ["ffplay", "-loglevel", "error", "-loop", "0", "-noborder", "-left", "100", "-top", "50", str(clip)]
        self._program = Program(command, folder / "ffplay.log", env | {"SDL_AUDIODRIVER": "pulse"})

    def end(self):
        self._program.kill()


def test_a_meeting_is_heard_and_seen_and_a_display_that_goes_is_only_the_picture_lost(clip, tmp_path):
    with ExitStack() as stack:
        display = XServer(tmp_path, "900x600")
        stack.callback(display.close)
        sound = stack.enter_context(sound_server())
        broker = Mosquitto(tmp_path)
        stack.callback(broker.close)
        env = child_env(sound) | {"DISPLAY": display.display, "OMP_NUM_THREADS": "1"}
        env.pop("WAYLAND_DISPLAY", None)
        meeting = Meeting(tmp_path, clip, os.environ | env)
        stack.callback(meeting.end)
        live = Live(tmp_path, broker.port, ["--camera", PLACE, "--mic", "loopback"], env)
        stack.callback(live.close)

        def weigh(*names):
            return lambda heard: all(heard.part(name)["weight"] > 0 for name in names)

        live.first(weigh("face", "voice"), 0.0, "face and voice", timeout_s=60)
        assert "desk hears what this computer plays and sees what its screen shows" in live.program.text()

        meeting.end()
        display.kill()
        gone_s = monotonic()
        lost = live.first(lambda heard: heard.part("face")["state"] == "lost", gone_s, "the loss of the picture")
        assert lost.part("face")["cause"].startswith(f"{PLACE}: ")
        silent = live.first(lambda heard: heard.part("voice")["cause"] == "silence", gone_s, "silence", timeout_s=20)
        assert silent.part("voice")["state"] == "stale"

        display.start()
        back_s = monotonic()
        meeting = Meeting(tmp_path, clip, os.environ | env)
        stack.callback(meeting.end)
        live.first(weigh("face", "voice"), back_s, "face and voice again")

        def events():
            return [(heard.body["component"], heard.body["kind"]) for heard in live.heard("event")]

        wait_until(lambda: ("camera", "recovered") in events(), 5, "the recovery")
        assert [kind for component, kind in events() if component == "camera"] == ["started", "lost", "recovered"]
        assert [kind for component, kind in events() if component == "microphone"] == ["started"]
        assert "Traceback" not in live.program.text()
