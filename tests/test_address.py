"""A camera's password in any place of its address: nowhere to be seen, and given in ways that nobody else can read."""

import json
import os
import re
import subprocess
import sys

import psutil
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.capture.camera import Camera
from realtime.capture.names import device_names, hears_camera
from realtime.capture.network import NetworkCamera, Sound
from realtime.clock import MonotonicClock
from realtime.config.load import load, to_yaml
from realtime.config.schema import CameraConfig, Config, MicrophoneConfig, StreamConfig
from realtime.errors import DeviceError, UsageError
from realtime.run import main, options, parser
from realtime.system.address import may_hold_secret, public_address, with_password
from scripts.harness.processes import Program, wait_until

PLACES = (
    "rtsp://user:{}@cam.lan:554/live",
    "rtsp://{}@cam.lan/live",
    "rtsp://cam.lan/user=admin_password={}_channel=1",
    "rtsp://cam.lan:554/live;user=a;pw={}",
    "rtsp://cam.lan/live?user=a&pw={}",
    "rtsp://cam.lan/live#{}",
    "http://cam.lan/{}/video.mjpg",
    "rtsp://u:1/{}@cam.lan/live",
    "rtsp:/u:{}@cam.lan/live",
    "u:{}@cam.lan",
    "rtsp://{}://x@cam",
)
SECRET = "Zq7"
"""In every secret, and in nothing else."""
secrets = st.text(st.sampled_from("ab1/#?@:;&=%\\[] .-_{}é"), max_size=8).flatmap(
    lambda text: st.integers(0, len(text)).map(lambda at: text[:at] + SECRET + text[at:])
)


@given(st.sampled_from(PLACES), secrets)
@example(PLACES[0], f"{SECRET}/a")
@example(PLACES[0], f"a@b/{SECRET}")
@example(PLACES[2], f"x@{SECRET}")
@example(PLACES[7], SECRET)
def test_a_secret_in_any_place_of_an_address_is_shown_nowhere(place, secret):
    address = place.format(secret)
    config = Config(streams=(StreamConfig(camera=address),))

    assert SECRET not in public_address(address)
    assert SECRET not in to_yaml(config, {})
    assert SECRET not in " ".join(device_names(config.streams[0], config).values())
    assert SECRET not in Camera(address, CameraConfig(), MonotonicClock()).name


@pytest.mark.parametrize(
    ("options_", "sound"),
    [
        (["--camera", "rtsp://cam.lan/live"], "microphone rtsp://cam.lan"),
        (["--camera", "rtsp://cam.lan/live", "--mic", "default"], "microphone default"),
        (["--camera", "rtsp://cam.lan/live", "--mic", "USB"], "microphone USB"),
        (["--camera", "rtsp://cam.lan/live", "--no-mic"], None),
        (["--camera", "0"], "microphone default"),
        (["--no-camera"], "microphone default"),
    ],
)
def test_the_sound_of_a_network_camera_is_its_own_unless_another_is_named_or_none(options_, sound):
    config, _ = load(options=options(parser().parse_args(options_)))
    assert device_names(config.streams[0], config).get("voice") == sound
    assert hears_camera(config.streams[0]) == (sound == "microphone rtsp://cam.lan")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("0", "0"),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0", None),
        ("rtsp://u:p@ss@cam.lan:554/live", "rtsp://cam.lan:554"),
        ("rtsp://u:pa/ss@cam.lan:554/live", "rtsp://cam.lan:554"),
        ("rtsp://u:pa#ss@cam.lan/live", "rtsp://cam.lan"),
        ("rtsp://[2001:db8::7]:554/live", "rtsp://[2001:db8::7]:554"),
        ("http://192.0.2.7/video", "http://192.0.2.7"),
    ],
)
def test_scheme_host_and_port_are_shown_and_local_devices_as_they_are(address, shown):
    assert public_address(address) == (address if shown is None else shown)


@pytest.mark.parametrize("option", ["--camera", "--set"])
@given(st.sampled_from(PLACES[:6]), secrets)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(option, place, secret):
    address = place.format(secret)
    if not may_hold_secret(address):  # a lone word before the @ is a user's name
        assert re.fullmatch(r"rtsp://[^:/?#]*@cam.lan/live", address)
        return
    given_as = [f"--camera={address}"] if option == "--camera" else [f'--set=streams.0.camera="{address}"']
    args = parser().parse_args(given_as)
    with pytest.raises(UsageError) as refused:
        load(None, args.set, options(args), {})
    assert SECRET not in str(refused.value)
    assert "camera.password_file" in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "0",
        "/dev/video0",
        "rtsp://cam.lan:554/live",
        "rtsp://anna@cam.lan/live",
        "rtsp://cam.lan/Streaming/Channels/101",
        "http://cam.lan/mjpg/video.cgi?resolution=640x480&fps=15",
        "rtsp://cam.lan/live?user=&password={password}",
    ],
)
def test_an_address_without_a_secret_may_stand_on_the_command_line(address):
    assert load(environ={}, sets=[f"streams.0.camera={address}"])[0].streams[0].camera == address


@pytest.mark.parametrize(
    "arguments",
    [
        ["--camera", "0", f"rtsp://u:{SECRET}@cam"],
        [f"--cam=rtsp://u:{SECRET}@cam"],
        [f"--source=rtsp://u:{SECRET}@cam"],
        ["--set", f"rtsp://u:{SECRET}@cam"],
        ["--set", f"streams.0.source=rtsp://u:{SECRET}@cam"],
        ["--set", f"streams.0.rtsp://{SECRET}.lan=1"],
    ],
)
def test_a_mistyped_option_does_not_repeat_an_address(arguments, capsys):
    assert main(arguments) == 2
    assert SECRET not in capsys.readouterr().err


def test_the_password_comes_from_a_file_or_the_environment_into_its_place(tmp_path):
    file = tmp_path / "password"
    file.write_text("p/ss#1\n")

    assert with_password("rtsp://anna@cam/live", str(file), {}) == "rtsp://anna:p%2Fss%231@cam/live"
    assert with_password("rtsp://anna@cam/live", None, {"AGFN_CAMERA_PASSWORD": "x y"}) == "rtsp://anna:x%20y@cam/live"
    assert with_password("rtsp://cam/user=a_pw={password}_", str(file), {}) == "rtsp://cam/user=a_pw=p%2Fss%231_"
    for as_it_is in ("rtsp://anna:x@cam/live", "rtsp://cam/live", "rtsp://anna@cam/live", "0"):
        assert with_password(as_it_is, None, {}) == as_it_is


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff"])
def test_a_password_file_that_is_none_is_said_before_anything_slow(tmp_path, capsys, content):
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["--camera", "rtsp://anna@127.0.0.1:9/live", "--no-mic", "--set", f"camera.password_file={file}"]) == 2
    assert f"camera.password_file {file}: " in capsys.readouterr().err


def test_a_password_that_is_gone_later_is_a_device_that_fails(tmp_path):
    config = CameraConfig(password_file=str(tmp_path / "gone"))
    camera = Sound(NetworkCamera("rtsp://a@127.0.0.1:9/x", config, MonotonicClock(), sound=True), MicrophoneConfig())
    with pytest.raises(DeviceError, match="password_file"):
        camera.open()


@pytest.mark.models
@pytest.mark.real
@pytest.mark.timeout(120)
def test_the_running_program_shows_no_password_anywhere(tmp_path):
    """Messages, recordings, log and process list of one stream for every place a password may stand in."""
    here = [place.replace("cam.lan:554", "127.0.0.1:9").replace("cam.lan", "127.0.0.1:9") for place in PLACES[:8]]
    streams = [{"name": f"s{n}", "mic": None, "camera": place.format(SECRET)} for n, place in enumerate(here)]
    config = tmp_path / "cameras.yaml"
    config.write_text(yaml.safe_dump({"streams": streams, "asr": {"enabled": False}}))
    config.chmod(0o600)
    output, folder = tmp_path / "out.jsonl", tmp_path / "session"
    command = [sys.executable, "-m", "realtime.run", "--config", config, "--output", output, "--record", folder]
    command += ["--mqtt", "off", "--no-view", "--log-format", "json", "--log-level", "debug", "--duration", "4"]
    program = Program([str(part) for part in command], tmp_path / "log", os.environ)
    try:
        wait_until(lambda: output.exists() and b'"lost"' in output.read_bytes(), 60, "a camera to be lost")
        processes = [psutil.Process(program.process.pid), *psutil.Process(program.process.pid).children(recursive=True)]
        listed = " ".join(part for each in processes for part in each.cmdline())
        program.process.wait(60)
    finally:
        program.kill()
    recorded = subprocess.run(
        [sys.executable, "-m", "realtime.export", str(folder), "-o", str(tmp_path / "tables")],
        capture_output=True,
        check=True,
        text=True,
    )
    assert len(recorded.stdout.splitlines()) >= len(here)
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != config}
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert {line["stream"] for line in lines if line["schema"] == "agfn.event/1"} == {each["name"] for each in streams}
    assert [path for path, data in written.items() if SECRET.encode() in data] == []
    assert SECRET not in listed
    assert SECRET not in recorded.stdout + recorded.stderr
