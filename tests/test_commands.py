"""Pause, resume and toggle from several threads, in every order, on a live session whose camera is a stand-in."""

import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from realtime.clock import MonotonicClock
from realtime.config.schema import Config, StreamConfig
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import Health, Sentiment
from realtime.publish.outlet import Outlet
from realtime.runtime import worker as supervise
from realtime.session import live as session
from realtime.session.devices import Devices
from realtime.session.live import Live
from realtime.types import Frame


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.005)


class Camera:
    """A camera that knows who holds it; without `going` its reads hang."""

    def __init__(self):
        self.opened = self.held = self.most_held = self.reads = 0
        self.going = threading.Event()
        self.going.set()
        self.stuck = threading.Event()
        self._lock = threading.Lock()

    def open(self):
        with self._lock:
            self.opened += 1
            self.held += 1
            self.most_held = max(self.most_held, self.held)

    def read(self):
        if not self.going.is_set():
            self.stuck.set()
            self.going.wait(20)
        time.sleep(0.01)
        self.reads += 1
        return Frame(time.monotonic_ns(), np.zeros((2, 2, 3), np.uint8))

    def close(self):
        with self._lock:
            self.held -= 1


class Blind:
    """A stage that sees nothing."""

    def feed(self, _item):
        return []

    def flush(self):
        return []

    def close(self):
        """Nothing is held."""


@pytest.fixture(scope="module")
def fuser():
    return Fuser(WEIGHTS, "cpu", MonotonicClock())


class Running:
    """A session in a thread, with a camera a stream."""

    def __init__(self, fuser, names=("desk",), window=None):
        self.cameras = {name: Camera() for name in names}
        streams = [StreamConfig(name=name, camera=name, mic=None) for name in names]
        # A pause must do without the watchdog's help: it would give up a stuck read.
        settings = {"camera": {"read_timeout_s": 60}, "asr": {"enabled": False}, "window": window or {"hop_s": 0.05}}
        config = Config.model_validate(settings | {"streams": streams})
        parts = SimpleNamespace(fuser=fuser, face=Blind, voice=Blind, speech=Blind)
        self.sent = []
        devices = Devices(camera=lambda address, *_: self.cameras[address])
        self.live = Live(config, parts, MonotonicClock(), Outlet.into(self.sent.append), devices=devices)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.live.run, args=(self.stop,), daemon=True)
        self.thread.start()
        wait_until(lambda: all(camera.reads for camera in self.cameras.values()))

    def events(self, name="desk"):
        kinds = [(m.stream, m.kind) for m in list(self.sent) if getattr(m, "component", None) == "stream"]
        return [kind for stream, kind in kinds if stream == name]

    def windows(self, name="desk"):
        return [m for m in list(self.sent) if isinstance(m, Sentiment) and m.stream == name]

    def healths(self, name="desk"):
        return [m for m in list(self.sent) if isinstance(m, Health) and m.stream == name]

    def close(self):
        for camera in self.cameras.values():
            camera.going.set()
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def start(fuser):
    made = []

    def begin(**options):
        made.append(Running(fuser, **options))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def in_between(monkeypatch, stream, method, command):
    """Have another thread give a command in the middle of a method of the stream, once."""
    original, others = getattr(stream, method), []

    def slow():
        other = threading.Thread(target=command, daemon=True)
        if not others:
            others.append(other)
            if method == "resume":  # before the stream runs again; for a pause, after it stands still
                other.start()
                other.join(2)
                return original()
            original()
            other.start()
            return other.join(2)
        return original()

    monkeypatch.setattr(stream, method, slow)


def test_a_resume_in_the_middle_of_a_pause_leaves_no_stream_running_with_its_camera_closed(start, monkeypatch):
    running = start()
    live, camera = running.live, running.cameras["desk"]
    in_between(monkeypatch, live.streams["desk"].stream, "pause", lambda: live.resume("desk"))
    live.pause("desk")
    wait_until(lambda: running.events() == ["paused", "resumed"])
    before = camera.reads
    wait_until(lambda: camera.reads > before + 5)
    assert not live.streams["desk"].stream.paused.is_set()
    assert camera.held == camera.most_held == 1


def test_two_resumes_at_once_open_the_camera_once(start, monkeypatch):
    running = start()
    live, camera = running.live, running.cameras["desk"]
    live.pause("desk")
    wait_until(lambda: camera.held == 0)
    in_between(monkeypatch, live.streams["desk"].stream, "resume", lambda: live.resume("desk"))
    live.resume("desk")
    wait_until(lambda: "resumed" in running.events() and camera.held)
    live.pause("desk")  # whatever the second one does has been done when this one is
    wait_until(lambda: running.events()[-1] == "paused" and camera.held == 0)
    assert running.events() == ["paused", "resumed", "paused"]
    assert camera.opened == 2


def test_a_camera_that_hangs_in_a_pause_holds_up_no_tick_and_no_command_and_is_not_opened_twice(start, monkeypatch):
    monkeypatch.setattr(supervise, "HANDOVER_S", 20)
    running = start(names=("desk", "sofa"))
    live, desk = running.live, running.cameras["desk"]
    desk.going.clear()
    assert desk.stuck.wait(20)
    live.pause("desk")
    live.pause("sofa")
    live.resume("desk")
    live.resume("sofa")
    wait_until(lambda: running.events("sofa") == ["paused", "resumed"] and running.cameras["sofa"].opened == 2)
    assert running.events() == ["paused", "resumed"]
    ticks = len(running.windows())
    wait_until(lambda: len(running.windows()) > ticks + 3)
    assert desk.opened == 1  # the call from before the pause still holds it
    desk.going.set()
    wait_until(lambda: desk.opened == 2)
    assert desk.most_held == 1


def test_a_command_wakes_the_tick_and_toggle_is_taken_in_its_turn(start):
    running = start(names=("desk", "sofa"), window={"hop_s": 10.0, "length_s": 10.0})
    running.live.pause("sofa")
    running.live.toggle_pause()  # one still runs: both pause
    running.live.toggle_pause()
    wait_until(lambda: running.events("sofa") == ["paused", "resumed"], 5)
    assert running.events("desk") == ["paused", "resumed"]


def test_a_command_that_fails_ends_no_tick_and_leaves_the_other_streams_theirs(start, monkeypatch, caplog):
    running = start(names=("desk", "sofa"))

    def broken():
        raise RuntimeError("broken driver")

    monkeypatch.setattr(running.live.streams["desk"].runner, "pause", broken)
    running.live.toggle_pause()
    wait_until(lambda: running.events("sofa") == ["paused"])
    assert "stream desk: pause failed" in caplog.text
    ticks = len(running.windows())
    wait_until(lambda: len(running.windows()) > ticks + 3)


def test_a_message_is_as_a_whole_before_a_pause_or_after_it(start, monkeypatch):
    """What is remembered of the windows before is not forgotten in the middle of the next one, which would stay."""
    running = start()
    stream = running.live.streams["desk"].stream
    inside, feed, reset = threading.Event(), stream._before.expect, stream._before.reset
    done = []

    def slow_feed(view, estimate):
        done.append("begin")
        inside.set()
        time.sleep(0.3)  # the pause comes meanwhile
        done.append("end")
        return feed(view, estimate)

    def noted_reset():
        done.append("reset")
        reset()

    monkeypatch.setattr(stream._before, "expect", slow_feed)
    monkeypatch.setattr(stream._before, "reset", noted_reset)
    assert inside.wait(20)
    running.live.pause("desk")
    wait_until(lambda: running.windows() and running.windows()[-1].state == "paused")
    assert done.index("reset") == len(done) - 1
    assert done[-2] == "end"
    sent = [m for m in running.sent if isinstance(m, Sentiment) or getattr(m, "component", "") == "stream"]
    states = ["event" if not isinstance(m, Sentiment) else m.state for m in sent]
    assert states.count("event") == 1
    at = states.index("event")
    assert set(states[at + 1 :]) == {"paused"}


@pytest.mark.parametrize("broken", ["close_window", "report", "gauges"])
def test_whatever_fails_in_one_stream_of_a_tick_the_other_goes_on(start, monkeypatch, broken):
    running = start(names=("desk", "sofa"))
    desk = running.live.streams["desk"]

    def fails(*_):
        raise RuntimeError("deque mutated during iteration")

    where = {"close_window": desk.stream, "report": desk.health, "gauges": desk}[broken]
    monkeypatch.setattr(where, broken, fails)
    ticks, health = len(running.windows("sofa")), len(running.healths("sofa"))
    wait_until(lambda: len(running.windows("sofa")) > ticks + 3 and len(running.healths("sofa")) > health)


def test_after_a_standstill_only_the_newest_window_is_sent_and_it_is_said(start, monkeypatch):
    monkeypatch.setattr(session, "STOOD_STILL_S", 0.5)
    running = start()
    stream = running.live.streams["desk"].stream
    close, still = stream.close_window, iter([0.0, 0.0, 0.0, 2.0])

    def slow(end_ns):
        time.sleep(next(still, 0.0))
        return close(end_ns)

    monkeypatch.setattr(stream, "close_window", slow)
    wait_until(lambda: running.events() == ["stalled", "recovered"])
    before = len(running.windows())
    wait_until(lambda: len(running.windows()) > before + 2)
    seqs = [message.seq for message in running.windows()]
    ends_s = [message.window.end_s for message in running.windows()]
    assert 3 not in seqs, "the window that was closed too late has no message"
    assert seqs == [seq for seq in range(seqs[-1] + 1) if seq != 3]
    assert max(later - earlier for earlier, later in pairwise(ends_s)) > 1.0
