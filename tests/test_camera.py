import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from realtime.capture.camera import Camera
from realtime.capture.devices import list_devices
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import CameraConfig
from realtime.errors import DeviceError
from realtime.types import NS_PER_S
from scripts.harness import clips
from scripts.harness.camera import child_env

REPOSITORY = Path(__file__).resolve().parent.parent
WATCH = ("-m", "scripts.harness.watch_camera")


class Watcher:
    """A child process that reads the camera, and what it says."""

    def __init__(self, env, max_fps=15):
        self.process = subprocess.Popen(
            [sys.executable, *WATCH, "0", str(max_fps)],
            env=env | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def next(self, key, timeout_s=10.0):
        """The next line that has the key; lines without it are passed over."""
        end = time.monotonic() + timeout_s
        while key not in (line := self._lines.get(timeout=max(0.01, end - time.monotonic()))):
            continue
        return line

    def frames(self, count):
        return [self.next("shape") for _ in range(count)]

    def forget(self):
        while not self._lines.empty():
            self._lines.get()

    def close(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()


@pytest.fixture
def watch():
    made = []

    def start(camera, **options):
        made.append(Watcher(child_env(camera), **options))
        made[-1].next("opened")
        return made[-1]

    yield start
    for watcher in made:
        watcher.close()


def read_on(camera, stamps):
    while True:
        stamps.append(camera.read().t_ns)


class FakeCapture:
    """At OpenCV's place: a camera of 30 frames/s on a virtual clock, which counts what is decoded."""

    def __init__(self, clock, grabs):
        self._clock, self._grabs = clock, grabs
        self.grabbed = self.retrieved = 0

    def grab(self):
        self.grabbed += 1
        self._clock.advance_to(self._clock.now_ns() + NS_PER_S // 30)
        return self.grabbed <= self._grabs

    def retrieve(self):
        self.retrieved += 1
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self):
        self.released = True


def test_frames_above_the_rate_are_never_decoded():
    clock = VirtualClock(NS_PER_S)
    camera = Camera("0", CameraConfig(max_fps=10), clock)
    camera._capture = capture = FakeCapture(clock, grabs=300)
    stamps = []
    with pytest.raises(DeviceError, match="went away"):
        read_on(camera, stamps)
    assert len(stamps) == capture.retrieved == 100
    assert {round((b - a) * 10 / NS_PER_S) for a, b in itertools.pairwise(stamps)} == {1}
    camera.close()
    assert capture.released


def test_a_frame_is_stamped_when_it_was_grabbed():
    clock = VirtualClock(NS_PER_S)
    camera = Camera("0", CameraConfig(max_fps=30), clock)
    camera._capture = FakeCapture(clock, grabs=3)
    assert [camera.read().t_ns for _ in range(3)] == [NS_PER_S + i * (NS_PER_S // 30) for i in (1, 2, 3)]


def test_a_camera_that_sends_data_but_no_picture_is_lost():
    clock = VirtualClock(NS_PER_S)
    camera = Camera("0", CameraConfig(), clock)
    camera._capture = capture = FakeCapture(clock, grabs=1000)
    capture.retrieve = lambda: (False, None)
    with pytest.raises(DeviceError, match="no picture"):
        camera.read()
    assert clock.now_ns() < 3 * NS_PER_S


class BurstyCapture(FakeCapture):
    """A camera of 25 frames/s whose pictures say when they were taken; those of a stall come at once after it."""

    def __init__(self, clock, stalls_s):
        super().__init__(clock, grabs=1000)
        self._stalls_ns = [(int(begin * NS_PER_S), int(end * NS_PER_S)) for begin, end in stalls_s]
        self.taken_ns = clock.now_ns()

    def grab(self):
        self.taken_ns += NS_PER_S // 25
        ends = [end for begin, end in self._stalls_ns if begin <= self.taken_ns < end]
        self._clock.advance_to(max([self.taken_ns, self._clock.now_ns() + NS_PER_S // 1000, *ends]))
        return True


def test_pictures_that_piled_up_in_a_stall_are_not_stamped_as_new():
    clock = VirtualClock(NS_PER_S)
    camera = Camera("0", CameraConfig(max_fps=25), clock)
    camera._capture = capture = BurstyCapture(clock, [(3.0, 3.8), (5.0, 5.4)])
    ages_ms, stamps = [], []
    while clock.now_ns() < 8 * NS_PER_S:
        stamps.append(camera.read().t_ns)
        ages_ms.append((stamps[-1] - capture.taken_ns) / 1e6)
    assert max(ages_ms) <= 40
    assert max(b - a for a, b in itertools.pairwise(stamps)) <= 0.9 * NS_PER_S
    assert len(stamps) >= 25 * (7 - 1.2) - 4


@pytest.mark.parametrize("fps", [2, 30])
def test_a_steady_camera_loses_no_picture_for_being_slow(fps):
    clock = VirtualClock(NS_PER_S)
    camera = Camera("0", CameraConfig(max_fps=60), clock)
    camera._capture = capture = FakeCapture(clock, grabs=1000)
    capture.grab = lambda: clock.advance_to(clock.now_ns() + NS_PER_S // fps) is None
    stamps = [camera.read().t_ns for _ in range(20)]
    assert capture.retrieved == 20
    assert {b - a for a, b in itertools.pairwise(stamps)} == {NS_PER_S // fps}


@pytest.mark.parametrize("address", ["63", "/dev/no-such-camera"])
def test_a_camera_that_is_not_there_is_named_with_what_to_try(address):
    camera = Camera(address, CameraConfig(), MonotonicClock())
    with pytest.raises(DeviceError, match=f"^camera {address}: cannot be opened; .*--list-devices"):
        camera.open()
    camera.close()


def test_reading_before_opening_says_so():
    with pytest.raises(DeviceError, match="not open"):
        Camera("0", CameraConfig(), MonotonicClock()).read()


@pytest.mark.real
def test_a_webcam_delivers_its_pictures_thinned(v4l2_camera, watch):
    frames = watch(v4l2_camera, max_fps=12.5).frames(26)
    assert {tuple(frame["shape"]) for frame in frames} == {(480, 640, 3)}
    assert len({frame["sum"] for frame in frames}) > 20
    assert (frames[-1]["t_ns"] - frames[0]["t_ns"]) / NS_PER_S == pytest.approx(2.0, rel=0.25)


@pytest.mark.real
def test_an_unplugged_webcam_is_noticed_at_once_and_found_again(v4l2_camera, watch):
    watcher = watch(v4l2_camera)
    watcher.frames(3)
    v4l2_camera.unplug()
    lost = watcher.next("error")
    assert lost["error"].startswith("camera 0: went away;")
    assert "cannot be opened; plug it in" in watcher.next("error")["error"]
    v4l2_camera.run()
    assert watcher.next("opened")
    assert len(watcher.frames(3)) == 3


@pytest.mark.real
def test_a_stalled_webcam_is_noticed_after_about_a_second_and_comes_back(v4l2_camera, watch):
    watcher = watch(v4l2_camera)
    last = watcher.frames(5)[-1]
    v4l2_camera.stall()
    lost = watcher.next("error")
    assert "no frame for" in lost["error"]
    assert (lost["t_ns"] - last["t_ns"]) / NS_PER_S < 3
    v4l2_camera.run()
    assert watcher.next("opened")
    assert watcher.frames(1)


@pytest.mark.real
def test_a_slow_start_is_no_stall(v4l2_camera):
    v4l2_camera.stall()
    watcher = Watcher(child_env(v4l2_camera))
    try:
        time.sleep(2.5)  # longer than a read may take
        v4l2_camera.run()
        first = watcher.next("opened")
        assert "error" not in first
        assert watcher.frames(1)
        assert watcher.process.poll() is None
    finally:
        watcher.close()


@pytest.mark.real
def test_a_webcam_may_come_back_with_another_size(v4l2_camera, watch, clip):
    watcher = watch(v4l2_camera)
    watcher.frames(1)
    v4l2_camera.unplug()
    watcher.next("error")
    v4l2_camera.show(clips.jpegs(clip, (320, 240)))
    v4l2_camera.run()
    watcher.next("opened")
    assert tuple(watcher.frames(1)[0]["shape"]) == (240, 320, 3)


@pytest.mark.real
def test_frozen_dark_and_slow_pictures_are_handed_on_as_they_are(v4l2_camera, watch):
    watcher = watch(v4l2_camera)
    v4l2_camera.freeze()
    watcher.frames(8)
    assert len({frame["sum"] for frame in watcher.frames(5)}) == 1
    v4l2_camera.run()
    v4l2_camera.show(clips.black_jpegs())
    watcher.frames(8)
    dark = watcher.frames(5)
    assert max(frame["mean"] for frame in dark) < 6
    assert len({frame["sum"] for frame in dark}) > 1
    v4l2_camera.set_fps(5)
    watcher.frames(8)
    slow = watcher.frames(4)
    assert (slow[-1]["t_ns"] - slow[0]["t_ns"]) / NS_PER_S == pytest.approx(0.6, rel=0.25)


@pytest.mark.real
def test_opening_prints_nothing_of_its_own(v4l2_camera, watch):
    watcher = watch(v4l2_camera)
    v4l2_camera.unplug()
    watcher.next("error")
    watcher.next("error")
    watcher.process.kill()
    assert not watcher.process.stderr.read()


@pytest.mark.real
def test_list_devices_shows_a_webcam_with_its_number_and_size(v4l2_camera):
    code = "from realtime.capture.devices import list_devices; print('\\n'.join(list_devices()))"
    listed = subprocess.run(
        [sys.executable, "-c", code],
        env=child_env(v4l2_camera),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("  0 ")]
    assert "640x480" in line


def test_list_devices_says_what_to_do_where_there_is_no_camera(monkeypatch):
    monkeypatch.setattr("realtime.capture.devices._bounded_probe", lambda _number: None)
    assert any("none found; plug one in" in line for line in list_devices())


def test_the_environment_that_opencv_reads_is_set():
    assert int(os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"]) <= 1
