"""Network cameras: picture and sound of one address in sync, against a real RTSP server and MJPEG over HTTP."""

import itertools
import logging
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest

from realtime.capture import connection as connections
from realtime.capture.arrival import BUCKETS, MOST_APART_NS, SLEW, ArrivalLine
from realtime.capture.network import NetworkCamera, Picture, Sound
from realtime.capture.thin import RateLimit
from realtime.clock import MonotonicClock
from realtime.config.schema import CameraConfig, MicrophoneConfig
from realtime.errors import AbsentError, DeviceError
from realtime.runtime.source import SourceWorker
from realtime.runtime.worker import Watchdog
from realtime.system.address import public_address
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ
from scripts.harness import clips
from scripts.harness.camera import child_env
from scripts.harness.films import BEEP_HZ, Film, write
from scripts.harness.live_program import Live
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import wait_until
from scripts.harness.rtsp import RtspCamera, looped

MS = 1_000_000
LIPS_NS = 80 * MS
CODED = {"aac": "aac", "opus": "libopus"}
MARKS_S = tuple(number + 0.4 for number in range(60))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Gives a film of a minute that flashes and beeps once a second, by the codec of its sound."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def film(sound):
        if sound not in made:
            path = folder / f"{sound}.mp4"
            made[sound] = write(path, Film(60.0, MARKS_S, codecs=("libx264", CODED[sound])))
        return made[sound]

    return film


@pytest.fixture
def rtsp(films, tmp_path):
    made = []

    def start(sound="aac", **options):
        made.append(RtspCamera(films("aac" if sound == "none" else sound), sound, tmp_path, **options))
        return made[-1]

    yield start
    for camera in made:
        camera.kill()


class Watched:
    """Picture and sound of a camera in watched threads, as in the program: what came, and what was said."""

    def __init__(self, address, *, sound=True, **config):
        self.clock = MonotonicClock()
        self.network = NetworkCamera(address, CameraConfig(max_fps=60, idle_fps=60, **config), self.clock, sound=sound)
        self.pictures, self.chunks, self.events, self.lags = [], [], [], []
        picture = lambda: Picture(self.network, RateLimit(60), self.events.append, self.lags.append)  # noqa: E731
        hears = lambda: Sound(self.network, MicrophoneConfig())  # noqa: E731
        self.workers = [self._worker("camera", picture, self._see)]
        if sound:
            self.workers.append(self._worker("microphone", hears, self.chunks.append))
        self.dog = Watchdog(self.workers, self.clock)
        for worker in self.workers:
            worker.start()
        self.dog.start()

    def _worker(self, name, make, sink):
        return SourceWorker(name, make, sink, self.clock, self.events.append, open_s=11, read_s=11)

    def _see(self, frame):
        # When it was taken, how bright it is, and how old it was.
        self.pictures.append((frame.t_ns, frame.image.mean(), time.monotonic_ns() - frame.t_ns))

    def told(self, component, kind):
        return [event for event in self.events if (event.component, event.kind) == (component, kind)]

    def waits_for(self, component, kind, count=1):
        wait_until(lambda: len(self.told(component, kind)) >= count, 45, f"{component} {kind}; told: {self.events}")
        return self.told(component, kind)[count - 1]

    def flashes_ns(self, since_ns=0):
        seen = [(t_ns, bright > 125) for t_ns, bright, _ in list(self.pictures) if t_ns >= since_ns]
        # One before which a picture was left out may have begun earlier.
        near = [(a, b) for a, b in itertools.pairwise(seen) if b[0] - a[0] < 60 * MS]
        return [b[0] for a, b in near if b[1] and not a[1]]

    def beeps_ns(self, since_ns=0):
        found, loud = [], False
        for chunk in [each for each in list(self.chunks) if each.t_ns >= since_ns]:
            for begin in range(0, len(chunk.samples), 80):
                was, loud = loud, float(np.abs(chunk.samples[begin : begin + 80]).max()) > 0.3
                t_ns = chunk.t_ns + begin * NS_PER_S // SAMPLE_RATE_HZ
                if loud and not was and (not found or t_ns - found[-1] > NS_PER_S // 2):
                    found.append(t_ns)
        return found

    def lips_ns(self, count, since_ns=0):
        """How far apart flash and beep of the same moment are, for so many marks."""
        wait_until(
            lambda: min(len(self.flashes_ns(since_ns)), len(self.beeps_ns(since_ns))) > count, 45, "flashes and beeps"
        )
        beeps = np.array(self.beeps_ns(since_ns))
        return [int(np.abs(beeps - flash).min()) for flash in self.flashes_ns(since_ns)[:count]]

    def close(self):
        self.dog.stop()
        for worker in self.workers:
            worker.stop()
        joined = [worker.join(3) for worker in self.workers]
        assert all(joined)


@pytest.fixture
def watch():
    made = []

    def start(address, **options):
        made.append(Watched(address, **options))
        return made[-1]

    yield start
    for watched in made:
        watched.close()


def connected_to(port):
    return [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]


@pytest.mark.real
@pytest.mark.parametrize("sound", CODED)
def test_lips_and_voice_of_a_camera_are_together_over_one_connection(rtsp, watch, sound):
    camera = rtsp(sound)
    watched = watch(camera.url)
    assert max(watched.lips_ns(4)) <= LIPS_NS
    assert len(connected_to(camera.port)) == 1
    chunks = list(watched.chunks)
    assert all(abs(b.t_ns - a.end_ns) < 2 * MS for a, b in itertools.pairwise(chunks) if not b.lost_samples)
    assert sum(chunk.lost_samples for chunk in chunks) < SAMPLE_RATE_HZ // 10
    heard = np.concatenate([chunk.samples for chunk in chunks])
    spectrum = np.abs(np.fft.rfft(heard[: len(heard) // 16000 * 16000].reshape(-1, 16000), axis=1)).sum(axis=0)
    assert spectrum.argmax() == pytest.approx(BEEP_HZ, abs=15)
    assert {event.kind for event in watched.events} <= {"started", "slow", "recovered"}


@pytest.mark.real
def test_a_camera_that_is_killed_is_lost_with_its_sound_and_both_come_back_in_sync(rtsp, watch):
    camera = rtsp()
    watched = watch(camera.url)
    watched.lips_ns(1)
    camera.kill()
    for component in ("camera", "microphone"):
        lost = watched.waits_for(component, "lost")
        assert lost.cause.startswith(f"{component} rtsp://127.0.0.1:{camera.port}: ")
        assert "check that it is on" in lost.cause
    camera.start()
    back_ns = [watched.waits_for(component, "recovered").t_ns for component in ("camera", "microphone")]
    assert max(watched.lips_ns(2, max(back_ns))) <= LIPS_NS
    assert len(connected_to(camera.port)) == 1


@pytest.mark.real
def test_a_camera_that_stalls_is_lost_and_what_it_held_back_is_not_taken_for_new(rtsp, watch):
    camera = rtsp()
    watched = watch(camera.url)
    watched.lips_ns(1)
    camera.stall()
    for component in ("camera", "microphone"):
        assert watched.waits_for(component, "lost").cause
    camera.run()
    back_ns = max(watched.waits_for(component, "recovered").t_ns for component in ("camera", "microphone"))
    assert max(watched.lips_ns(2, back_ns)) <= LIPS_NS


@pytest.mark.real
def test_a_hold_up_shorter_than_a_stall_moves_no_time_and_the_newest_picture_is_seen_first(rtsp, watch):
    camera = rtsp()
    watched = watch(camera.url, read_timeout_s=20)
    watched.workers[1].stop()  # its own time-out is shorter
    wait_until(lambda: len(watched.flashes_ns()) > 1, 20, "flashes")
    camera.stall()
    time.sleep(1.2)
    camera.run()
    seen = len(watched.flashes_ns())
    wait_until(lambda: len(watched.flashes_ns()) > seen + 2, 20, "flashes")
    first, *rest = watched.flashes_ns()
    # The film goes on a beat of a second; a picture stamped at its late arrival would be off it.
    off_ns = [abs((flash - first + NS_PER_S // 2) % NS_PER_S - NS_PER_S // 2) for flash in rest]
    assert max(off_ns) <= 150 * MS
    assert not watched.told("camera", "lost")
    stamps = [t_ns for t_ns, _, _ in watched.pictures]
    assert stamps == sorted(stamps)
    assert max(b - a for a, b in itertools.pairwise(stamps)) > 0.5 * NS_PER_S, "old pictures were left out"


@pytest.mark.real
def test_a_changed_password_is_said_not_tried_over_and_over_and_the_new_one_is_taken_at_once(
    rtsp, watch, tmp_path, monkeypatch, caplog
):
    tried = []
    real = connections.av.open
    monkeypatch.setattr(
        connections,
        "av",
        SimpleNamespace(error=connections.av.error, open=lambda *a, **k: tried.append(a) or real(*a, **k)),
    )
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "password"
    file.write_text("first / s3cret\n")
    camera = rtsp(login="anna:first / s3cret")
    watched = watch(camera.url.replace("//", "//anna@"), password_file=str(file))
    watched.lips_ns(1)
    camera.kill()
    camera.login = "anna:2nd?s3cret"
    camera.start()
    before = len(tried)
    wait_until(lambda: refused_by(watched), 20, "the refusal")
    time.sleep(4)  # several times the longest wait between two tries of a camera that is gone
    assert len(tried) - before <= 4
    file.write_text("2nd?s3cret\n")
    for component in ("camera", "microphone"):
        watched.waits_for(component, "recovered")
    assert max(watched.lips_ns(2, watched.told("microphone", "recovered")[0].t_ns)) <= LIPS_NS
    said = [event.cause or "" for event in watched.events] + [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "s3cret" in line or "anna" in line]


def refused_by(watched):
    return (watched.network._refused or [None])[0]


@pytest.mark.real
def test_a_wrong_password_is_a_clear_error(rtsp):
    camera = rtsp(login="anna:right")
    network = NetworkCamera(camera.url.replace("//", "//anna:wrong@"), CameraConfig(), MonotonicClock(), sound=True)
    with pytest.raises(DeviceError, match=r"^camera rtsp://127.0.0.1:\d+: refuses the login; check .*password_file"):
        opened_half(network).open()


@pytest.mark.real
def test_a_wrong_path_is_a_clear_error(rtsp):
    network = NetworkCamera(rtsp().url + "/wrong", CameraConfig(), MonotonicClock(), sound=True)
    with pytest.raises(DeviceError, match="has no such stream; check the path"):
        opened_half(network).open()


@pytest.mark.real
def test_a_camera_without_sound_says_so_once_and_its_picture_goes_on(rtsp, watch):
    watched = watch(rtsp("none").url)
    wait_until(lambda: len(watched.flashes_ns()) > 3, 20, "flashes")
    (lost,) = watched.told("microphone", "lost")
    assert "the camera sends no sound: choose a microphone with --mic" in lost.cause
    assert watched.workers[1].gauge().restarts > 1
    assert not watched.told("camera", "lost")


@pytest.mark.real
def test_sound_that_is_not_wanted_is_not_even_sent(rtsp, watch):
    watched = watch(rtsp().url, sound=False)
    wait_until(lambda: len(watched.pictures) > 10, 20, "pictures")
    assert set(watched.network._connection.contexts) == {"video"}
    with pytest.raises(AbsentError):
        Sound(watched.network, MicrophoneConfig()).open()


@pytest.mark.real
def test_a_decoder_that_hangs_is_not_touched_by_who_comes_after_it(rtsp):
    network = NetworkCamera(rtsp().url, CameraConfig(), MonotonicClock(), sound=True)
    hung, other = opened_half(network), Sound(network, MicrophoneConfig())
    hung.open()
    other.open()
    first = network._connection
    fresh = opened_half(network)
    fresh.open()
    assert network._connection is not first
    with pytest.raises(DeviceError):
        read_on(other, [])
    other.close()
    other.open()
    assert other.read().samples.size
    hung.close()  # it came back after all: the others go on
    assert fresh.read().image.size
    fresh.close()
    other.close()
    wait_until(lambda: not network._connection.running, 5, "the end of the connection")


def opened_half(network, rate=60):
    return Picture(network, RateLimit(rate), [].append, [].append)


@pytest.fixture
def opened():
    made = []

    def start(address, rate=60, **config):
        network = NetworkCamera(address, CameraConfig(**config), MonotonicClock(), sound=False)
        made.append(opened_half(network, rate))
        made[-1].open()
        return made[-1]

    yield start
    for picture in made:
        picture.close()


def read_on(device, items):
    while True:
        items.append(device.read())


def read_until_lost(device):
    with pytest.raises(DeviceError) as caught:
        read_on(device, [])
    return str(caught.value)


@pytest.mark.real
def test_a_camera_over_http_delivers_its_pictures_at_the_rate_that_was_asked(http_camera, opened, webcam_jpegs):
    camera = opened(http_camera.url, rate=12.5)
    frames = [camera.read() for _ in range(20)]
    sent = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in webcam_jpegs]
    assert all(min(cv2.absdiff(frame.image, picture).mean() for picture in sent) < 3 for frame in frames[::5])
    assert (frames[-1].t_ns - frames[0].t_ns) / NS_PER_S == pytest.approx(19 / 12.5, rel=0.25)


@pytest.mark.real
def test_a_stalled_camera_over_http_is_noticed_and_comes_back(http_camera, opened):
    camera = opened(http_camera.url, read_timeout_s=0.6)
    camera.read()
    http_camera.stall()
    assert "for 0.6 s" in read_until_lost(camera)
    http_camera.run()
    camera.open()
    assert camera.read().image.shape == (480, 640, 3)


@pytest.mark.real
def test_pictures_without_times_that_piled_up_are_not_stamped_as_new(http_camera, opened):
    camera = opened(http_camera.url, read_timeout_s=20)
    for _ in range(10):
        camera.read()
    threading.Timer(0.1, http_camera.stall).start()
    threading.Timer(1.3, http_camera.run).start()
    stamps = [camera.read().t_ns for _ in range(30)]
    assert max(b - a for a, b in itertools.pairwise(stamps)) > 0.5 * NS_PER_S
    assert min(b - a for a, b in itertools.pairwise(stamps)) > 5 * MS, "a picture that need not be waited for is old"


@pytest.mark.real
def test_a_camera_that_accepts_and_says_nothing_cannot_hold_up_opening(http_camera):
    http_camera.stall()
    network = NetworkCamera(
        http_camera.url, CameraConfig(open_timeout_s=1, read_timeout_s=0.5), MonotonicClock(), sound=False
    )
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="check that it is on"):
        opened_half(network).open()
    assert time.monotonic() - begin < 10


@pytest.mark.real
def test_a_killed_camera_over_http_is_found_again_at_its_address_with_another_size_too(http_camera, opened, clip):
    camera = opened(http_camera.url)
    assert camera.read().image.shape == (480, 640, 3)
    http_camera.kill()
    assert "check that it is on" in read_until_lost(camera)
    with pytest.raises(DeviceError, match=r"cannot be opened \(Connection refused\)"):
        camera.open()
    http_camera.jpegs = clips.jpegs(clip, (320, 180))
    http_camera.start()
    camera.open()
    assert camera.read().image.shape == (180, 320, 3)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://anna:s3cret@cam.local:554/live?token=s3cret", "rtsp://cam.local:554"),
        ("http://cam.local/stream", "http://cam.local"),
        ("rtsp://anna:s3cret@[cam/x", "rtsp://(the rest is not shown)"),
    ],
)
def test_a_password_in_the_address_is_never_shown(address, shown):
    assert public_address(address) == shown
    here = address.replace("cam.local:554", "127.0.0.1:9").replace("cam.local", "127.0.0.1:9")
    camera = opened_half(NetworkCamera(here, CameraConfig(), MonotonicClock(), sound=True))
    assert "s3cret" not in camera.name
    with pytest.raises(DeviceError) as caught:
        camera.open()
    assert "s3cret" not in str(caught.value)


def test_reading_before_opening_says_so():
    with pytest.raises(DeviceError, match="not open"):
        opened_half(NetworkCamera("rtsp://127.0.0.1:9/x", CameraConfig(), MonotonicClock(), sound=False)).read()


class Wire:
    """A camera whose clock is `drift` faster than ours, and packets that take `delay_ns` and some jitter."""

    def __init__(self, drift=0.0):
        self.line, self.now_ns, self.drift, self.set_ns = ArrivalLine(), 100 * NS_PER_S, drift, 7 * NS_PER_S
        self.random = np.random.default_rng(1)

    def run(self, seconds, delay_ns=None, jitter_ns=30 * MS):
        """Let packets come; return by kind how far the stamps are after the moments they were taken at."""
        delay_ns = {"video": 60 * MS, "audio": 20 * MS} | (delay_ns or {})
        errors = {kind: [] for kind in delay_ns}
        for _ in range(int(seconds * 50)):
            self.now_ns += NS_PER_S // 50
            for kind, least_ns in delay_ns.items():
                camera_ns = int((self.now_ns - 100 * NS_PER_S) * (1 + self.drift)) + self.set_ns
                arrived_ns = self.now_ns + least_ns + int(self.random.exponential(jitter_ns))
                self.line.feed(kind, camera_ns, camera_ns, arrived_ns)
                self.offset = self.line.offset(kind, arrived_ns)
                errors[kind].append((camera_ns + self.offset.ahead_ns - self.now_ns, self.offset.lag_ns))
        return {kind: np.array(values) for kind, values in errors.items()}


def test_jitter_and_what_one_stream_takes_longer_move_neither_lips_nor_stamps():
    wire = Wire()
    wire.run(5)
    errors = wire.run(30)
    for kind, lag_ms in (("video", 40), ("audio", 0)):
        stamps, lags = errors[kind][:, 0] / MS, errors[kind][:, 1] / MS
        assert stamps.min() >= 19
        assert stamps.max() <= 25
        assert np.median(lags) == pytest.approx(lag_ms, abs=4)
    assert np.abs(errors["video"][:, 0] - errors["audio"][:, 0]).max() < 4 * MS


@pytest.mark.parametrize("drift", [3e-4, -3e-4])
def test_a_clock_that_drifts_is_followed(drift):
    wire = Wire(drift)
    errors = wire.run(600)
    assert np.abs(errors["audio"][-500:, 0] / MS - 20).max() < 6


def test_stamps_never_fall_back_by_more_than_sound_can_follow():
    wire = Wire()
    wire.run(5, {"video": 200 * MS, "audio": 200 * MS})
    stamps = wire.run(30)["audio"][:, 0]
    assert np.diff(stamps).min() >= -SLEW * 0.4 * NS_PER_S  # no two packets arrive so far apart
    assert stamps[-1] / MS == pytest.approx(20, abs=5)


def test_a_longer_way_is_got_used_to():
    wire = Wire()
    wire.run(10)
    errors = wire.run(BUCKETS + 2, {"video": 860 * MS, "audio": 820 * MS})
    assert errors["audio"][0, 0] / MS == pytest.approx(20, abs=6)
    assert errors["audio"][-1, 0] / MS == pytest.approx(820, abs=6)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.4, -5.0])
def test_a_clock_that_is_set_costs_no_more_than_a_moment(step_s):
    wire = Wire()
    wire.run(10)
    wire.set_ns += int(step_s * NS_PER_S)
    errors = wire.run(BUCKETS + 2)
    assert np.abs(errors["audio"][-50:, 0] / MS - 20).max() < 6
    assert np.abs(errors["video"][-50:, 0] / MS - 20).max() < 6


def test_streams_whose_times_begin_apart_are_each_taken_as_they_come():
    line, later_ns = ArrivalLine(), MOST_APART_NS + NS_PER_S
    for number in range(50):
        t_ns = number * NS_PER_S // 50
        line.feed("video", t_ns, t_ns, t_ns + 100)
        line.feed("audio", t_ns + later_ns, t_ns + later_ns, t_ns + 200)
    assert line.offset("video", t_ns).ahead_ns == 100
    assert line.offset("audio", t_ns).ahead_ns == 200 - later_ns
    assert line.offset("subtitles", t_ns) is None


@pytest.mark.real
@pytest.mark.models
def test_the_program_sees_and_hears_a_person_at_a_network_camera_through_a_power_cut(clip, tmp_path):
    camera = RtspCamera(looped(tmp_path / "person.mp4", clip, 120), "aac", tmp_path)
    broker = Mosquitto(tmp_path)
    live = Live(tmp_path, broker.port, ["--camera", camera.url], child_env() | {"OMP_NUM_THREADS": "1"})
    try:
        weighs = lambda heard: all(heard.part(name)["weight"] > 0 for name in ("face", "voice"))  # noqa: E731
        live.first(weighs, 0.0, "face and voice", timeout_s=90)
        live.first(lambda heard: heard.part("text")["weight"] > 0, 0.0, "words", timeout_s=30)
        cut_s = time.monotonic()
        camera.kill()
        gone = ("face", "voice", "text")
        lost = live.first(lambda heard: all(heard.part(name)["state"] == "lost" for name in gone), cut_s, "the loss")
        assert lost.body["state"] == "no_signal"
        assert lost.part("voice")["cause"].startswith(f"microphone rtsp://127.0.0.1:{camera.port}: ")
        camera.start()
        live.first(weighs, time.monotonic(), "face and voice again")
        assert "Traceback" not in live.program.text()
    finally:
        live.close()
        broker.close()
        camera.kill()
