"""What a screen shows, on a real Xvfb: its pixels, its bounds, the face on it; a display that goes and comes back."""

import itertools
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import zoo
from realtime.capture.adapt import AnalysisRate
from realtime.capture.devices import list_devices
from realtime.capture.screen import Screen, box_of, screens
from realtime.clock import MonotonicClock
from realtime.config.load import load
from realtime.config.schema import CameraConfig, FaceConfig
from realtime.doctor import checks
from realtime.errors import DeviceError, UsageError
from realtime.extract.face.extractor import FaceExtractor
from realtime.extract.schema import FACE_DIM
from realtime.fuse.reliability import Delivery, face_quality
from realtime.runtime.source import SourceWorker
from realtime.runtime.worker import Watchdog
from realtime.system.address import public_address
from realtime.system.shown import ScreenArea, is_screen, is_shown, screen_area
from realtime.types import NS_PER_S, FaceFeatures
from scripts.harness.processes import wait_until
from scripts.harness.screen import XServer

WIDTH, HEIGHT = 800, 600
TWO = [
    {"left": 0, "top": 0, "width": 3200, "height": 1080},
    {"left": 0, "top": 0, "width": 1920, "height": 1080},
    {"left": 1920, "top": 56, "width": 1280, "height": 1024},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = XServer(tmp_path_factory.mktemp("x"), f"{WIDTH}x{HEIGHT}")
    yield server
    server.close()


@pytest.fixture
def display(running, monkeypatch):
    monkeypatch.setenv("DISPLAY", running.display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return running


@pytest.fixture
def watch(display):
    opened = []

    def start(address="screen", **config):
        assert display.display
        screen = Screen(address, CameraConfig(**config), MonotonicClock())
        opened.append(screen)
        screen.open()
        return screen

    yield start
    for screen in opened:
        screen.close()


def pattern():
    """A picture of the display's size in which every pixel says where it is, (H, W, 3) BGR."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x % 256, y % 256, (x // 256) * 16 + y // 256], axis=-1).astype(np.uint8)


@pytest.mark.real
@pytest.mark.parametrize(
    "address", ["screen", "screen:1", "screen:0", "screen:30,40,320,200", "screen:1:30,40,320,200"]
)
def test_a_picture_holds_the_very_pixels_that_are_shown_there(display, watch, address):
    display.show(pattern())
    frame = watch(address).read()
    shown = pattern()[40:240, 30:350] if "," in address else pattern()
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous
    np.testing.assert_array_equal(frame.image, shown)


@pytest.mark.real
def test_pictures_come_at_the_rate_that_is_asked_for_with_the_time_they_were_taken(watch):
    screen = watch("screen:0,0,64,64", max_fps=20)
    frames = [screen.read() for _ in range(21)]
    apart_s = [(after.t_ns - before.t_ns) / NS_PER_S for before, after in itertools.pairwise(frames)]
    assert sum(apart_s) == pytest.approx(1.0, rel=0.15)
    assert min(apart_s) > 0.02
    assert 0 <= (time.monotonic_ns() - frames[-1].t_ns) / NS_PER_S < 0.5


@pytest.mark.real
@pytest.mark.usefixtures("display")
def test_no_more_pictures_are_taken_than_the_analysis_looks_at():
    clock = MonotonicClock()
    rate = AnalysisRate(CameraConfig(max_fps=30, idle_fps=5), clock)
    screen = Screen("screen:0,0,64,64", CameraConfig(max_fps=30), clock, rate)
    screen.open()
    taken, grab = [], screen._grabber.grab
    screen._grabber.grab = lambda box: taken.append(box) or grab(box)
    begin = time.monotonic()
    while time.monotonic() - begin < 2.5:
        screen.read()
    screen.close()
    # Lively for 1.5 s, then the rate of a quiet room.
    assert 30 <= len(taken) <= 54


@pytest.mark.real
@pytest.mark.models
def test_a_face_that_the_screen_shows_is_found(display, watch):
    portrait = cv2.imread(str(zoo.path("demo-face")))
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    picture[20 : 20 + portrait.shape[0], 100 : 100 + portrait.shape[1]] = portrait
    display.show(picture)
    extractor = FaceExtractor(FaceConfig(), zoo.path("face"), stills=True)
    try:
        (whole,) = extractor.feed(watch().read())
        (head,) = extractor.feed(watch("screen:200,20,300,300").read())
        (nobody,) = extractor.feed(watch("screen:620,0,180,600").read())
    finally:
        extractor.close()
    assert (whole.found, head.found, nobody.found) == (True, True, False)
    assert head.score > 0.7


@pytest.mark.real
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("screen:3", r"^screen:3: there is no monitor 3; there are: 1 \(800x600\)$"),
        ("screen:700,0,101,100", r"the region 101x100 at 700,0 reaches beyond monitor 1, which has 800x600 pixels$"),
        ("screen:1:0,501,100,100", r"the region 100x100 at 0,501 reaches beyond monitor 1"),
    ],
)
def test_what_is_not_there_is_named(watch, address, says):
    with pytest.raises(DeviceError, match=says):
        watch(address)


@pytest.mark.real
@pytest.mark.usefixtures("display")
def test_a_display_that_is_killed_is_a_loss_and_its_return_the_end_of_it(tmp_path, monkeypatch):
    own = XServer(tmp_path, f"{WIDTH}x{HEIGHT}")
    monkeypatch.setenv("DISPLAY", own.display)
    events, frames = [], []
    worker = SourceWorker(
        "camera",
        lambda: Screen("screen", CameraConfig(max_fps=20), MonotonicClock()),
        frames.append,
        MonotonicClock(),
        events.append,
        open_s=6.0,
        read_s=2.0,
    )
    watchdog = Watchdog([worker], MonotonicClock())
    worker.start()
    watchdog.start()
    try:
        wait_until(lambda: len(frames) > 3, 5, "pictures")
        own.kill()
        wait_until(lambda: [event.kind for event in events] == ["started", "lost"], 5, "the loss")
        assert events[-1].cause.startswith("screen: ")
        assert "\n" not in events[-1].cause
        own.start()
        own.show(pattern())
        wait_until(lambda: events[-1].kind == "recovered", 10, "the recovery")
        wait_until(lambda: np.array_equal(frames[-1].image, pattern()), 5, "what it shows now")
    finally:
        watchdog.stop()
        worker.stop()
        worker.join(5)
        own.close()


@pytest.mark.real
@pytest.mark.usefixtures("display")
def test_doctor_and_list_say_what_would_be_seen():
    assert [(found.state, found.text) for found in checks.screen("screen")] == [
        ("ok", "--camera screen sees monitor 1 (800x600)")
    ]
    lines = list_devices()
    assert lines[lines.index("Screens (--camera screen:NUMBER):") + 1] == "  1 (800x600)"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, r"^screen: no screen: DISPLAY is not set; start it inside the desktop session$"),
        ({"DISPLAY": ":4711"}, r"^screen: the display :4711 cannot be looked at \("),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, r"^screen: this is a Wayland session, which shows its"),
    ],
)
def test_without_a_screen_that_can_be_seen_the_error_says_why(monkeypatch, environ, says):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match=says):
        Screen("screen", CameraConfig(), MonotonicClock()).open()
    with pytest.raises(DeviceError, match=says):
        screens()
    (found,) = checks.screen("screen")
    assert (found.state, found.remedy) == ("note", "only --camera screen needs it")


def test_a_region_is_counted_from_the_corner_of_its_monitor():
    assert box_of(ScreenArea(2), TWO, "screen:2") == TWO[2]
    assert box_of(ScreenArea(0), TWO, "screen:0") == TWO[0]
    region = ScreenArea(2, (10, 20, 640, 480))
    assert box_of(region, TWO, "") == {"left": 1930, "top": 76, "width": 640, "height": 480}
    with pytest.raises(DeviceError, match="reaches beyond monitor 2, which has 1280x1024"):
        box_of(ScreenArea(2, (641, 0, 640, 480)), TWO, "screen:2")
    with pytest.raises(DeviceError, match=r"no monitor 3; there are: 1 \(1920x1080\), 2 \(1280x1024\)"):
        box_of(ScreenArea(3), TWO, "screen:3")


@given(
    monitor=st.none() | st.integers(0, 99),
    region=st.none()
    | st.tuples(st.integers(0, 99999), st.integers(0, 99999), st.integers(32, 99999), st.integers(32, 99999)),
)
def test_an_address_is_read_as_it_is_written(monitor, region):
    address = "screen" + (f":{monitor}" if monitor is not None else "")
    address += f":{','.join(map(str, region))}" if region else ""
    assert screen_area(address) == ScreenArea(1 if monitor is None else monitor, region)
    assert public_address(address) == address


@pytest.mark.parametrize(
    "address",
    ["screen:", "screen:x", "screen:1:", "screen:-1", "screen:1,2,3", "screen:0,0,640,480:1", "screen:1:0,0,9,9"],
)
def test_an_address_that_is_badly_written_is_refused_before_anything_is_opened(address):
    assert is_screen(address)
    with pytest.raises(UsageError, match=r"^config key streams\.0\.camera .*(write screen\[:MONITOR\]|at least 32x32)"):
        load(options={"streams": [{"camera": address}]}, environ={})


@pytest.mark.parametrize(("device", "state", "trouble"), [("screen:2", "stale", None), ("camera 0", "lost", "frozen")])
def test_a_picture_that_stands_still_is_nothing_wrong_with_a_screen(device, state, trouble):
    values = np.zeros(FACE_DIM, np.float32)
    still = [FaceFeatures(step * NS_PER_S // 10, values, True, 1, 0.9, 300.0, 0.5, 0.0) for step in range(30)]
    found = face_quality(still, Delivery(device, 0.0, 0.0, 1.0, shown=is_shown(device)), 3 * NS_PER_S)
    assert (found.state, found.trouble, found.value) == (state, trouble, 0.0)


def test_reading_before_opening_says_so():
    with pytest.raises(DeviceError, match="not open"):
        Screen("screen", CameraConfig(), MonotonicClock()).read()
