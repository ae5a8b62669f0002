"""The overlay on a real screen: its pixels, its place, and that the mouse goes through it."""

import configparser
import logging
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_messages import health, part, sentiment

from realtime.config.schema import MqttConfig
from realtime.overlay.child import OverlayProcess
from realtime.publish.messages import RecordingHealth, label_of
from scripts.harness.mosquitto import Subscriber
from scripts.harness.processes import Program, wait_until
from scripts.harness.screen import Screen

pytestmark = pytest.mark.real

TITLE = "AGFN Live overlay"
BELOW = (0x2F, 0x6F, 0x6F)
ORANGE, SKY_BLUE = (230, 159, 0), (86, 180, 233)
YELLOW, VERMILLION, RED = (240, 228, 66), (213, 94, 0), (235, 64, 52)
FINE = {"text": part(0.6, 0.9), "voice": part(0.3, 0.9), "face": part(0.1, 0.9)}
SILENT = {"score": None, "raw": None, "label": None, "interval": None}
OFF = {"text": part(state="off"), "voice": part(state="off"), "face": part(state="off")}
DESKTOP = ("-m", "scripts.harness.desktop")


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    screen = Screen(tmp_path_factory.mktemp("screen"))
    yield screen
    screen.close()


@pytest.fixture
def desktop(screen, tmp_path):
    """A window below that prints its clicks."""
    colour = "#{:02x}{:02x}{:02x}".format(*BELOW)
    program = Program([sys.executable, *DESKTOP, colour], tmp_path / "desktop.log", screen.env)
    screen.place_of("desktop below")
    yield program
    program.kill()


@pytest.fixture
def publisher(mosquitto):
    client = Subscriber(mosquitto.port)
    client.say("agfn/desk/status", "online", retain=True)
    yield client
    client.close()


class Shown:
    """A running overlay, and what is seen of it."""

    def __init__(self, screen, program, folder, publisher):
        self.screen, self.program = screen, program
        self._folder, self._publisher = folder, publisher
        wait_until(lambda: "Above" in screen.run("xwininfo", "-name", TITLE, "-wm"), 15, "the overlay")
        self.place = screen.place_of(TITLE)

    def say(self, **changes):
        message = sentiment(**({"state": "ok", "modalities": FINE} | changes))
        self._publisher.say("agfn/desk/sentiment", message.payload())

    def pixels(self, name="now"):
        return self.screen.photo(self._folder / f"{name}.png", self.place)

    def becomes(self, condition, what, say=None):
        """Photograph until the pixels are as they should be, and keep the last photograph."""

        def holds():
            if say is not None:
                self.say(**say)
            return condition(self.pixels(what))

        wait_until(holds, 10, what, step_s=0.2)


@pytest.fixture
def start(screen, desktop, mosquitto, publisher, tmp_path):  # noqa: ARG001 - the desktop has to be below
    started = []

    def make(*options, **env):
        command = [sys.executable, "-m", "realtime.overlay", "--mqtt", mosquitto.url, *options]
        folder = Path(os.environ.get("AGFN_SCREENSHOTS", tmp_path))
        started.append(Program(command, tmp_path / "overlay.log", screen.env | env))
        return Shown(screen, started[-1], folder, publisher)

    yield make
    for program in started:
        program.kill()
        assert program.text() == ""


def count(pixels, colour, slack=12):
    """How many pixels have about that colour."""
    return int((np.abs(pixels.astype(int) - colour).max(axis=2) <= slack).sum())


def columns(pixels, colour):
    """The columns in which that colour is seen."""
    return np.flatnonzero((np.abs(pixels.astype(int) - colour).max(axis=2) <= 12).any(axis=0))


def test_a_good_state_shows_no_alarm_and_the_score_in_its_colour(start):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, SKY_BLUE) > 100, "ok", say={"score": 2.0, "interval": (1.2, 2.6)})

    seen = overlay.pixels("ok")

    assert count(seen, YELLOW) == count(seen, VERMILLION) == count(seen, ORANGE) == 0
    assert count(seen, RED) > 40, "the mark that it analyses"


def test_a_recording_shows_its_mark_until_it_ends(start, publisher):
    overlay = start()
    kept = RecordingHealth(bytes=1, dropped=0, writing=True, words=True, media=True)

    def shows(recording, condition, what):
        told = health().model_copy(update={"recording": recording}).payload()
        overlay.becomes(
            lambda seen: (publisher.say("agfn/desk/health", told), condition(seen[163:178]))[1],
            what,
            say={"score": 2.0},
        )

    shows(kept, lambda line: count(line, RED) > 1500, "recording")
    shows(kept.model_copy(update={"writing": False}), lambda line: count(line, YELLOW) > 800, "failed")
    shows(None, lambda line: count(line, RED) == count(line, YELLOW) == 0, "not recorded")


def test_a_negative_score_stands_to_the_left_in_another_colour(start):
    overlay = start()
    low = {"score": -2.0, "raw": -2.0, "label": label_of(-2), "interval": (-2.6, -1.2)}
    overlay.becomes(lambda seen: count(seen, ORANGE) > 100, "negative", say=low)

    scale = overlay.pixels("negative")[84:108]

    assert count(scale, SKY_BLUE) == 0
    assert abs(columns(scale, ORANGE).mean() - (14 + 344 / 6)) < 6


def test_the_band_is_a_bar_upon_the_whiskers(start):
    overlay = start()
    wide = {"score": -2.0, "raw": -2.0, "label": label_of(-2), "interval": (-2.5, 2.0)}
    overlay.becomes(lambda seen: count(seen, ORANGE) > 100, "whiskers", say=wide)
    bare = count(overlay.pixels("whiskers")[84:108], (244, 246, 248))

    overlay.becomes(
        lambda seen: count(seen[84:108], (244, 246, 248)) > bare + 200, "band", say=wide | {"band": (-1.0, 1.0)}
    )
    drawn = columns(overlay.pixels("band")[84:108], (244, 246, 248))
    assert drawn.min() < 14 + 344 / 3 - 40, "the whisker reaches farther than the band"


def test_noisy_and_lost_are_unmistakable_and_told_apart(start):
    overlay = start()
    noisy = FINE | {"voice": part(0.3, 0.4, "noisy", "snr 3 dB")}
    overlay.becomes(lambda seen: count(seen, YELLOW) > 400, "noisy", {"state": "degraded", "modalities": noisy})
    assert count(overlay.pixels("noisy"), VERMILLION) == 0

    lost = {"text": part(0.7, 0.9), "voice": part(0.3, 0.9), "face": part(0, 0, "lost", "camera 0: no frame for 2 s")}
    overlay.becomes(lambda seen: count(seen, VERMILLION) > 400, "lost", {"state": "degraded", "modalities": lost})
    assert count(overlay.pixels("lost"), YELLOW) == 0


def test_bars_are_as_long_as_the_weights(start):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "bars", say={})

    rows = overlay.pixels("bars")[:, 62:250]
    lengths = [count(rows[180 + 38 * row + 10 : 180 + 38 * row + 11], (244, 246, 248)) / 188 for row in range(3)]

    assert lengths == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_paused_shows_no_score_and_no_mark_of_analysis(start):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "before the pause", say={})
    overlay.becomes(
        lambda seen: count(seen, RED) == 0 == count(seen, SKY_BLUE),
        "paused",
        say={"state": "paused", "modalities": OFF, **SILENT},
    )
    assert count(overlay.pixels("paused")[36:62], (244, 246, 248)) > 100, "a headline says so"


def test_a_broker_that_goes_dims_the_past_and_one_that_comes_back_brings_it_to_life(start, mosquitto, publisher):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "before the broker goes", say={})
    mosquitto.kill()
    overlay.becomes(lambda seen: count(seen, RED) == 0, "broker gone")
    assert count(overlay.pixels("broker gone")[184:], (244, 246, 248)) == 0, "old gates must not look alive"

    mosquitto.start()
    wait_until(publisher.client.is_connected, 10, "the test's own connection")
    overlay.becomes(lambda seen: count(seen, RED) > 40, "broker back", say={})


def test_what_lies_below_shines_through_and_around_the_corners(start):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40 and tuple(seen[0, 0]) == BELOW, "translucent", say={})

    seen = overlay.pixels("translucent").astype(int)

    ground, opacity = np.array([14, 18, 24]), 212 / 255
    assert np.abs(seen[176, 20] - (ground * opacity + np.array(BELOW) * (1 - opacity))).max() <= 2


def test_a_click_goes_through_to_the_window_below(start, desktop, screen):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "click-through", say={})
    x, y = overlay.place[0] + 180, overlay.place[1] + 150

    screen.click(x, y)

    wait_until(lambda: f"click {x} {y}\n" in desktop.text(), 5, "the click in the window below")


def test_ctrl_shift_makes_it_movable_and_the_place_is_remembered(start, desktop, screen):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "before the move", say={})
    x, y = overlay.place[0] + 180, overlay.place[1] + 150
    screen.run("xdotool", "keydown", "ctrl", "keydown", "shift", "mousemove", str(x), str(y))
    try:
        overlay.becomes(lambda seen: count(seen, (74, 88, 108)) > 500, "movable", say={})
        screen.run("xdotool", "mousedown", "1", "sleep", "0.3", "mousemove", str(x - 50), str(y + 40), "sleep", "0.2")
        screen.run("xdotool", "mousemove", str(x - 200), str(y + 90), "sleep", "0.3", "mouseup", "1")
    finally:
        screen.run("xdotool", "keyup", "shift", "keyup", "ctrl")
    moved = (overlay.place[0] - 200, overlay.place[1] + 90)
    wait_until(lambda: screen.place_of(TITLE)[:2] == moved, 5, "the move")
    wait_until(lambda: kept(screen) == moved, 5, "the kept place")
    assert desktop.text() == "", "no click went through"

    inside = (moved[0] + 90, moved[1] + 60)
    screen.click(*inside)
    wait_until(lambda: "click {} {}\n".format(*inside) in desktop.text(), 5, "click-through after the move")
    overlay.program.kill()

    again = start()
    wait_until(lambda: screen.place_of(TITLE)[:2] == moved, 5, "the same place again")
    again.program.kill()
    (Path(screen.env["XDG_CONFIG_HOME"]) / "agfn-live" / "overlay.ini").unlink()


def kept(screen):
    file = configparser.ConfigParser()
    file.read(Path(screen.env["XDG_CONFIG_HOME"]) / "agfn-live" / "overlay.ini")
    return (file.getint("General", "x", fallback=-1), file.getint("General", "y", fallback=-1))


def test_its_pause_button_publishes_the_command(start, publisher, screen):
    overlay = start()
    overlay.becomes(lambda seen: count(seen, RED) > 40, "before the button", say={})
    x, y = overlay.place[0] + 204, overlay.place[1] + 285
    screen.run("xdotool", "keydown", "ctrl", "keydown", "shift", "mousemove", str(x), str(y))
    try:
        overlay.becomes(lambda seen: count(seen, (74, 88, 108)) > 500, "button", say={})
        screen.click(x, y)
        wait_until(lambda: publisher.payloads("desk/command"), 5, "the command")
    finally:
        screen.run("xdotool", "keyup", "shift", "keyup", "ctrl")

    assert publisher.payloads("desk/command") == [b'{"schema":"agfn.command/1","command":"pause"}']


def test_on_a_dense_screen_it_is_drawn_with_all_its_pixels(start):
    overlay = start(QT_SCALE_FACTOR="2")

    assert overlay.place[2:] == (744, 608)
    overlay.becomes(lambda seen: count(seen, SKY_BLUE) > 400, "dense", say={"score": 2.0, "interval": (1.2, 2.6)})
    seen = overlay.pixels("dense").astype(int)
    doubled = np.repeat(np.repeat(seen[::2, ::2], 2, axis=0), 2, axis=1)
    assert (np.abs(seen - doubled).max(axis=2) > 40).sum() > 2000, "finer than a picture of half the size"


def test_it_ends_with_the_program_that_started_it_and_its_crash_is_only_logged(screen, mosquitto, monkeypatch, caplog):
    for name, value in screen.env.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.WARNING)
    first = OverlayProcess(mosquitto.url, MqttConfig(url=mosquitto.url, username="me"), "desk")
    screen.place_of(TITLE)
    assert "me" not in psutil.Process(first.process.pid).cmdline()
    first.close()
    assert first.process.returncode == 0
    assert not caplog.records

    second = OverlayProcess(mosquitto.url, MqttConfig(url=mosquitto.url), None)
    screen.place_of(TITLE)
    second.process.kill()
    wait_until(lambda: "analysis goes on" in caplog.text, 5, "a warning")
    second.close()
