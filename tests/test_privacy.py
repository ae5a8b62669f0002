"""What docs/privacy.md promises, of the running program on real devices: numbers only, nothing kept, devices let go."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from scripts.harness.camera import V4l2Camera, child_env
from scripts.harness.live_program import Live
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import wait_until
from scripts.harness.sound import sound_server

ROOT = Path(__file__).resolve().parent.parent
SILENCERS = {"CI", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"}
"""Variables that keep libraries from reporting: the program must do that by itself, wherever it runs."""
TEXTS = {
    "opinion",
    "language",
    "reason",
    "schema",
    "stream",
    "utc",
    "state",
    "label",
    "cause",
    "id",
    "component",
    "kind",
}


class Desk:
    """The running program with its real devices and its broker."""

    def __init__(self, folder, v4l2_library, webcam_jpegs, speech, stack):
        self.folder = folder
        self.sound = stack.enter_context(sound_server())
        self.camera = V4l2Camera(v4l2_library, folder, webcam_jpegs)
        self.broker = Mosquitto(folder)
        stack.callback(self.broker.close)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        env = {key: value for key, value in child_env(self.sound, self.camera).items() if key not in SILENCERS}
        env |= {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        self.live = Live(folder, self.broker.port, ["--camera", "0", "--mic", "default"], env)
        stack.callback(self.live.close)
        self.sound.play(np.tile(speech, 40))
        self.process = psutil.Process(self.live.program.process.pid)

    def first(self, holds, since_s, what, kind="sentiment"):
        return self.live.first(holds, since_s, what, kind, 60)

    def healthy(self, since_s):
        return self.first(
            lambda heard: heard.part("face")["weight"] > 0 and heard.part("voice")["weight"] > 0, since_s, "all well"
        )

    def light(self):
        """Whether the camera's light is on, as its own log of calls tells, and whether anyone has it open."""
        calls = self.camera.history()
        return calls.count("streamon") > calls.count("streamoff"), calls.count("open") > calls.count("close")

    def recorders(self):
        """Who records from the sound server, as it says itself."""
        command = ["pactl", "list", "short", "source-outputs"]
        done = subprocess.run(command, env=os.environ | self.sound.env, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def desk(v4l2_library, webcam_jpegs, speech, tmp_path_factory):
    with ExitStack() as stack:
        yield Desk(tmp_path_factory.mktemp("desk"), v4l2_library, webcam_jpegs, speech, stack)


def texts_of(value, key=""):
    """Every text in a message with the key it stands under."""
    if isinstance(value, dict):
        return [found for inner, each in value.items() for found in texts_of(each, inner)]
    if isinstance(value, list):
        return [found for each in value for found in texts_of(each, key)]
    return [(key, value)] if isinstance(value, str) else []


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(120)
def test_pause_lets_go_of_camera_and_microphone_and_resume_takes_them_again(desk):
    desk.healthy(0.0)
    assert desk.light() == (True, True)
    assert len(desk.recorders()) == 1

    desk.live.subscriber.say("agfn/desk/command", b"pause")
    paused = desk.first(lambda heard: heard.body["state"] == "paused", 0.0, "the pause")
    wait_until(lambda: desk.light() == (False, False), 10, "the camera to be closed")
    wait_until(lambda: not desk.recorders(), 10, "the microphone to be let go")
    before = desk.camera.history()
    time.sleep(1.0)
    assert (desk.camera.history(), desk.recorders()) == (before, [])
    for heard in [heard for heard in desk.live.heard() if heard.at_s > paused.at_s]:
        assert heard.body["state"] == "paused"
        assert (heard.body["score"], heard.body["faces"]) == (None, 0)
        assert {part["cause"] for part in heard.body["modalities"].values()} == {"paused"}

    resumed_s = time.monotonic()
    desk.live.subscriber.say("agfn/desk/command", b"resume")
    desk.healthy(resumed_s)
    assert desk.light() == (True, True)
    assert len(desk.recorders()) == 1
    kinds = [heard.body["kind"] for heard in desk.live.heard("event") if heard.body["component"] == "stream"]
    assert kinds == ["paused", "resumed"]


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(120)
def test_no_word_leaves_the_process_although_they_are_recognised(desk):
    desk.first(lambda heard: heard.part("text")["weight"] > 0, 0.0, "words to count")
    for message in desk.live.subscriber.messages:
        if message.payload.startswith(b"{"):
            assert {key for key, _ in texts_of(json.loads(message.payload))} <= TEXTS


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(120)
def test_nothing_is_written_but_what_was_asked_for(desk):
    desk.healthy(0.0)
    writable = {Path(each.path) for each in desk.process.open_files() if set(each.mode) & set("wa+")}

    assert writable == {desk.live.output, desk.live.program.log}
    assert list(desk.temporary.iterdir()) == []


def test_libraries_are_told_not_to_report_their_use_before_they_are_loaded():
    code = "import realtime, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    env = {key: value for key, value in os.environ.items() if key not in SILENCERS}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(120)
def test_it_talks_to_its_broker_only_and_listens_nowhere(desk):
    desk.healthy(0.0)
    connections = desk.process.net_connections("inet")

    assert [each for each in connections if each.status == psutil.CONN_LISTEN] == []
    assert {each.raddr for each in connections if each.raddr} == {("127.0.0.1", desk.broker.port)}


def configured(*options):
    """The configuration as the program shows it, every value under its dotted name."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AGFN_")}
    command = [sys.executable, "-m", "realtime.run", "--print-config", *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    sections = yaml.safe_load(done.stdout)
    return {
        f"{section}.{name}": value
        for section, values in sections.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def test_each_consent_is_off_until_its_flag_is_given(tmp_path):
    values = {"DIR": str(tmp_path / "session"), "PORT": "8123", "HOST:PORT": "localhost:9"}
    page = (ROOT / "docs" / "privacy.md").read_text()
    consents = re.findall(r"^\| `(--[a-z-]+) ?([A-Z:]*)` \(`([a-z_.]+)`\)", page, re.MULTILINE)
    assert len(consents) >= 7
    default = configured()
    asked = configured(*(part for flag, value, _ in consents for part in (flag, values.get(value)) if part))
    assert [key for _, _, key in consents if default[key]] == []
    assert [key for _, _, key in consents if not asked[key]] == []
    assert default["mqtt.url"] == "embedded"


@pytest.mark.parametrize("file", ["README.md", "docs/privacy.md", "models/CARD.md"])
def test_the_uses_that_are_forbidden_and_the_duty_to_inform_are_named(file):
    paragraphs = (ROOT / file).read_text().replace("\n\n", "\0").replace("\n", " ").split("\0")
    forbidden = [text for text in paragraphs if "5(1)(f)" in text]
    told = [text for text in paragraphs if "50(3)" in text]
    assert any(re.search(r"prohibited|out of bounds|do not use", text, re.IGNORECASE) for text in forbidden)
    assert any("education" in text and "work" in text for text in forbidden)
    assert any(re.search(r"must (be told|tell)", text) for text in told)
