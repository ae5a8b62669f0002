"""Fixtures with real parts. A part that is missing skips its tests with the reason; where CI=true it fails them.

Only tests marked `corpus`, which judge accuracy on labelled recordings, need anything beside the repository and the
models: pictures and sound of the others are made of the demo's portrait and voice.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from models.zoo import ZooError
from scripts.harness import camera as cameras
from scripts.harness import clips, talking
from scripts.harness.mosquitto import Mosquitto, Subscriber
from scripts.harness.processes import absent, need
from scripts.harness.sound import sound_server

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_CORPUS_TESTS = 25

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """In CI only a test that judges accuracy on a corpus may skip, whoever skips it."""
    report = (yield).get_result()
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    if in_ci and report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("corpus"):
        report.outcome = "failed"
        report.longrepr = f"a part is missing in CI: {report.longrepr[-1]}"


def pytest_collection_modifyitems(items):
    """Mark what needs the models for a clip; refuse a test that needs a corpus and is not marked so, and too many."""
    for item in items:
        if "clip" in item.fixturenames or "other_clip" in item.fixturenames:
            item.add_marker("models")
        if "data_dir" in item.fixturenames and not item.get_closest_marker("corpus"):
            raise pytest.UsageError(f"{item.nodeid} uses data_dir: only tests marked `corpus` may, others use `clip`")
    if sum(item.get_closest_marker("corpus") is not None for item in items) > MOST_CORPUS_TESTS:
        raise pytest.UsageError(f"more than {MOST_CORPUS_TESTS} tests need a corpus: a user's machine has none")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the labelled corpora: AGFN_DATA, by default ../shared/data beside the repository."""
    folder = Path(os.environ.get("AGFN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"judges accuracy on labelled recordings, and there are none in {folder}: set AGFN_DATA")
    return folder


def filmed(take: talking.Take) -> Path:
    """Return a made clip, or skip where what it is made of can neither be found nor fetched."""
    try:
        return talking.film(take)
    except ZooError as error:
        absent(str(error))


@pytest.fixture(scope="session")
def clip() -> Path:
    """A short clip of a talking person: mp4, 640x360 at 30 frames/s, stereo at 44.1 kHz, 3.3 s; `talking.BEST`."""
    return filmed(talking.BEST)


@pytest.fixture(scope="session")
def other_clip() -> Path:
    """The same person saying something else: mp4, 640x360 at 20 frames/s, 3.8 s; `talking.WISDOM`."""
    return filmed(talking.WISDOM)


@pytest.fixture(scope="session")
def webcam_jpegs(clip) -> list[bytes]:
    """The pictures of `clip` as a webcam sends them: 83 JPEGs of 640x480, meant for 25 frames/s."""
    return clips.jpegs(clip)


@pytest.fixture(scope="session")
def speech(clip):
    """The sound of `clip`, (N,) float32 at 16 kHz, made as loud as a person at a desk (peak 0.5)."""
    samples = clips.sound(clip)
    return samples * (0.5 / abs(samples).max())


@pytest.fixture(scope="session")
def v4l2_library(tmp_path_factory) -> Path:
    """The compiled library behind `v4l2_camera`."""
    return cameras.built(tmp_path_factory.mktemp("v4l2"))


@pytest.fixture
def v4l2_camera(v4l2_library, webcam_jpegs, tmp_path) -> cameras.V4l2Camera:
    """A local camera at /dev/video0, for a child process started with `child_env(v4l2_camera)`.

    `run() stall() freeze() unplug() set_fps(n) show(jpegs)` work at any time.
    """
    return cameras.V4l2Camera(v4l2_library, tmp_path, webcam_jpegs)


@pytest.fixture
def http_camera(webcam_jpegs):
    """A network camera at `http_camera.url`, for any process.

    `run() stall() kill() start()` break and mend it; `.jpegs` and `.fps` may be set at any time.
    """
    camera = cameras.HttpCamera(webcam_jpegs)
    yield camera
    camera.kill()


@pytest.fixture
def sound(monkeypatch):
    """A microphone `mic` in a sound server of its own, the default for this process and for `child_env(sound)`.

    `play(samples)` speaks into it; `mute() remove_sinks() add_sink(name, rate) freeze() thaw() kill() start()` break
    and mend it.
    """
    with sound_server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def mosquitto(tmp_path):
    """A real broker that lets anyone in, at `mosquitto.url`: `kill() start() freeze() thaw()`."""
    broker = Mosquitto(tmp_path)
    yield broker
    broker.close()


@pytest.fixture
def subscribe(mosquitto):
    """Make subscribers to the broker, which end with the test."""
    made = []

    def make(**options):
        made.append(Subscriber(mosquitto.port, **options))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.close()


@pytest.fixture(scope="session")
def certified(tmp_path_factory) -> dict[str, str]:
    """A certificate and its key, which nobody vouches for: `cert_file` and `key_file`."""
    need("openssl")
    folder = tmp_path_factory.mktemp("tls")
    files = {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=dash.lan", "-keyout", files["key_file"], "-out", files["cert_file"]]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.fixture(scope="session")
def recording(tmp_path_factory) -> Path:
    """Folder of a recording: half a minute of a made person with face, voice and two sentences."""
    from scripts.harness.mock_clock import MockClock  # noqa: PLC0415 - PyTorch comes with it
    from scripts.harness.mock_session import MockSession, script_of  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("recorded") / "run"
    words = script_of([(1.0, "this is quite good", 1.5), (7.0, "no that was bad", -1.8)])
    MockSession(MockClock(), script=words, settings={"record": {"folder": str(folder)}}).run(30.0)
    return folder
