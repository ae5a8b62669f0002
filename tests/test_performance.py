"""Work that is not done: pictures that nobody needs, copies, threads, and models loaded twice."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from realtime.capture.adapt import IDLE_AFTER_S, AnalysisRate
from realtime.capture.thin import RateLimit
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.config.schema import CameraConfig, Config, MqttConfig
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.extract.asr.whisper import Hypothesis
from realtime.extract.schema import FACE_DIM
from realtime.publish import link
from realtime.publish.mqtt import MqttPublisher
from realtime.system.threads import POOLS, name_thread, starting_threads
from realtime.types import NS_PER_S, FaceFeatures, SpeechFrame

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
CAMERA_FPS = 30
FULL, IDLE = 15.0, 8.0


class Room:
    """A camera at 30 frames/s whose kept frames are looked at after `delay_s`."""

    def __init__(self, **config):
        self.clock = VirtualClock()
        self.rate = AnalysisRate(CameraConfig(**config), self.clock)
        self.frames = 0
        self.values = np.zeros(FACE_DIM, np.float32)

    def run(self, seconds, *, speech=False, moving=False, found=True, delay_s=0.02):
        """Pictures a second that were looked at."""
        kept = 0
        for _ in range(round(seconds * CAMERA_FPS)):
            self.frames += 1
            t_ns = self.frames * NS_PER_S // CAMERA_FPS
            self.clock.advance_to(max(self.clock.now_ns(), t_ns))
            self.rate.heard(SpeechFrame(t_ns, np.zeros(512, np.float32), float(speech), -30.0, 20.0, 0.0))
            if self.rate.admits(t_ns):
                kept += 1
                self.clock.advance_to(max(self.clock.now_ns(), t_ns + int(delay_s * NS_PER_S)))
                values = self.values + (0.6 * (kept % 2) if moving else 0.0)
                self.rate.seen(FaceFeatures(t_ns, values, found, int(found), 0.9, 50.0, 0.5, 0.1))
        return kept / seconds


def test_a_silent_room_with_a_still_face_is_looked_at_less_often():
    room = Room()
    assert room.run(IDLE_AFTER_S) == pytest.approx(FULL, abs=1.5)
    assert room.run(20) == pytest.approx(IDLE, abs=0.3)


@pytest.mark.parametrize("sign", [{"speech": True}, {"moving": True}])
def test_every_sign_of_life_brings_the_full_rate_back_at_once(sign):
    room = Room()
    room.run(10)
    assert room.run(0.2, **sign) >= 10
    assert room.run(10, **sign) == pytest.approx(FULL, abs=0.2)
    room.run(IDLE_AFTER_S + 0.5)
    assert room.run(10) == pytest.approx(IDLE, abs=0.3)


def test_an_empty_chair_is_a_quiet_room_until_somebody_sits_down():
    room = Room()
    room.run(5, found=False)
    assert room.run(10, found=False) == pytest.approx(IDLE, abs=0.3)
    assert room.run(1) >= 12


def test_a_machine_that_is_behind_looks_at_fewer_pictures_and_recovers():
    room = Room()
    room.run(6, speech=True, delay_s=0.3)
    behind = room.run(10, speech=True, delay_s=0.3)
    assert 5 < behind < 7, "as few as the face can bear, not fewer"
    room.run(12, speech=True)
    assert room.run(5, speech=True) == pytest.approx(FULL, abs=0.3)


def test_a_camera_whose_pictures_come_late_by_themselves_does_not_make_the_machine_behind():
    room = Room()
    room.rate.comes_late(int(0.3 * NS_PER_S))
    assert room.run(10, speech=True, delay_s=0.35) == pytest.approx(FULL, abs=1.5)


def test_the_rate_never_exceeds_what_is_configured():
    room = Room(max_fps=5)
    assert room.run(10, speech=True) == pytest.approx(5, abs=0.2)
    assert room.run(10) == pytest.approx(5, abs=0.2)


def test_a_faster_rate_holds_from_the_next_frame_on():
    limit = RateLimit(1)
    assert limit.admits(0)
    assert not limit.admits(NS_PER_S // 10)
    limit.set(10)
    assert limit.admits(NS_PER_S // 10)


def test_the_libraries_are_told_of_their_threads_before_they_are_imported():
    code = "import sys; from realtime.run import main; main(['--print-config']); import cv2; print(cv2.getNumThreads())"
    env = {name: value for name, value in os.environ.items() if name not in POOLS}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"


def test_what_the_user_says_of_threads_stays():
    code = (
        "import os; from realtime.run import main; main(['--print-config']); print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    env = os.environ | {"OPENBLAS_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "3"


class Slow:
    """A model whose decodes take as long as the sound says, and that notes who is inside together."""

    def __init__(self):
        self.order, self.together, self._inside = [], 0, 0

    def decode(self, sound, prefix, max_tokens, language):
        self._inside += 1
        self.together = max(self.together, self._inside)
        self.order.append(prefix[0])
        time.sleep(float(sound[0]))
        self._inside -= 1
        if max_tokens < 0:
            raise RuntimeError("no memory")
        return Hypothesis(()), language


def share(model, workers, takes, seconds):
    """Streams that decode without pause for so long, stream n with decodes of takes[n] seconds."""
    queue, over = DecodeQueue(model, workers), threading.Event()

    def stream(name):
        member = queue.member()
        while not over.is_set():
            member.decode(np.float32([takes[name]]), [name], 5, "en")

    threads = [threading.Thread(target=stream, args=(name,)) for name in range(len(takes))]
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join(10)
    return Counter(model.order)


def test_streams_take_turns_at_the_speech_model_however_long_their_sentences():
    model = Slow()
    counts = share(model, 1, [0.1, 0.02, 0.02, 0.02], 1.5)
    assert model.together == 1
    assert max(counts.values()) - min(counts.values()) <= 3


def test_more_workers_decode_at_the_same_time_but_not_more_than_that():
    model = Slow()
    counts = share(model, 2, [0.01] * 5, 0.6)
    assert model.together == 2
    assert max(counts.values()) - min(counts.values()) <= 3


def test_who_begins_to_speak_does_not_queue_behind_the_others():
    model, gate = Slow(), threading.Event()
    queue = DecodeQueue(model)
    old = [queue.member() for _ in range(3)]
    for name, member in enumerate(old):
        member.decode(np.float32([0]), [name], 5, "en")
    held = threading.Thread(target=old[0].decode, args=(np.float32([0.4]), ["held"], 5, "en"))
    held.start()
    late = [threading.Thread(target=member.decode, args=(np.float32([0]), ["old"], 5, "en")) for member in old[1:]]
    for thread in late:
        thread.start()
        gate.wait(0.05)
    new = threading.Thread(target=queue.member().decode, args=(np.float32([0]), ["new"], 5, "en"))
    new.start()
    for thread in (held, *late, new):
        thread.join(5)
    assert model.order[3:] == ["held", "new", "old", "old"]


def test_a_decode_that_fails_gives_its_turn_back():
    queue = DecodeQueue(Slow())
    with pytest.raises(RuntimeError, match="no memory"):
        queue.member().decode(np.float32([0]), [0], -1, "en")
    assert queue.member().decode(np.float32([0]), [0], 5, "en")[1] == "en"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the names of threads")
def test_threads_have_names_that_top_shows():
    def shown():
        return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()

    names = []

    def work():
        name_thread("a-name-that-is-too-long")
        names.append(shown())
        with starting_threads("inner"):
            child = threading.Thread(target=lambda: names.append(shown()))
            child.start()
            child.join()
        names.append(shown())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert names == ["a-name-that-is-", "inner", "a-name-that-is-"]


def test_the_profiles_say_what_they_are_for_and_can_be_loaded():
    default = Config()
    for name in ("laptop", "pi", "gpu"):
        file = CONFIGS / f"{name}.yaml"
        assert file.read_text().startswith("# "), "the first line says which machine it is for"
        assert load(file, environ={})[0] != default
    pi, laptop = (load(CONFIGS / f"{name}.yaml", environ={})[0] for name in ("pi", "laptop"))
    assert pi.camera.max_fps < laptop.camera.max_fps
    assert pi.window.hop_s > laptop.window.hop_s
    assert load(CONFIGS / "gpu.yaml", environ={})[0].fusion.device == "cuda"


@pytest.mark.models
@pytest.mark.parametrize("name", ["laptop", "pi"])
def test_a_profile_analyses_a_clip(name, clip):
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--config", CONFIGS / f"{name}.yaml"]
    options = ["--source", clip, "--pace", "fast", "--mqtt", "off", "--output", "-"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=120)
    messages = [json.loads(line) for line in done.stdout.splitlines() if "agfn.sentiment" in line]
    assert messages[-1]["score"] is not None
    assert messages[-1]["modalities"]["face"]["weight"] > 0


def test_the_gpu_profile_says_what_is_missing_where_there_is_no_gpu(clip):
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "realtime.run", "--config", CONFIGS / "gpu.yaml", "--source", clip]
    done = subprocess.run([*command, "--mqtt", "off"], capture_output=True, text=True, check=False, timeout=60, env=env)
    assert done.returncode == 5
    assert "no CUDA device" in done.stderr


@pytest.mark.real
def test_a_message_does_not_wait_for_the_broker_to_acknowledge_the_one_before(mosquitto, monkeypatch):
    """The system holds back a small packet after another, up to 40 ms, unless told not to."""
    made = []

    class Noted(link.BoundedClient):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(link, "BoundedClient", Noted)
    publisher = MqttPublisher(MqttConfig(url=mosquitto.url), ["desk"], print)
    publisher.start()
    try:
        assert publisher.wait_ready(10)
        connection = made[0]._client.socket()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        publisher.close(0.5)
