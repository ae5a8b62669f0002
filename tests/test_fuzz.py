"""Bad input by the thousand: each gets a clear line or a clean skip, never a traceback, a hang or a corrupt state.

AGFN_FUZZ=50 tries fifty times as many; what fails is kept in .hypothesis and tried first the next time.
"""

import contextlib
import io
import json
import os
import random
import re
import socket
import threading
import time
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_messages import event

from realtime import run
from realtime.capture.media import MediaFile, due_ns
from realtime.capture.network import NetworkCamera, Picture
from realtime.capture.thin import RateLimit
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.load import load
from realtime.config.schema import CameraConfig, Config, MqttConfig
from realtime.errors import DeviceError, SourceError, UsageError
from realtime.publish import link
from realtime.publish.commands import Commands
from realtime.publish.mqtt import MqttPublisher
from realtime.types import Chunk
from scripts.default_config import commented
from scripts.harness.camera import HttpCamera

TIMES = int(os.environ.get("AGFN_FUZZ", "1"))
DEFAULTS = commented()
KEYS = [
    f"{section}.{key}"
    for section, values in Config().model_dump().items()
    if isinstance(values, dict)
    for key in values
] + [f"streams.{number}.{key}" for number in (0, 1, 7) for key in ("name", "camera", "mic", "source")]
ODD = [
    "-1",
    "0",
    "1",
    "1e999",
    ".nan",
    "-.inf",
    "yes",
    "null",
    "[]",
    "{}",
    "[1,{a:b}]",
    "!!x",
    "&a",
    "*a",
    "embedded",
    "off",
    "mqtt://h",
    "mqtts://u:p@h:1",
    "mqtt://[::1",
    "ws://h:99999",
    "cuda:99",
    "auto",
    "../../x",
    "$SYS/#",
    "12:30:45",
    "2026-11-24",
]
VALUES = st.one_of(
    st.sampled_from([*ODD, "", "a\x00b", "\x1b[2J", "0x" + "f" * 5000, "1" * 400, "9" * 6000, "{" * 300]),
    st.floats().map(str),
    st.integers().map(str),
    st.text(max_size=40),
)


def many(count):
    """So many examples, and more of them when asked; time says something about the machine, nothing about the code."""
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=list(HealthCheck))


def one_line(text):
    return bool(text) and text.isprintable() and len(text) < 1500


@st.composite
def mangled(draw, base):
    """A copy of bytes with parts cut out, repeated, overwritten or made up, and perhaps an early end."""
    data = bytearray(base)
    for _ in range(draw(st.integers(1, 5))):
        at = int(draw(st.floats(0, 1)) * len(data))
        until = at + draw(st.integers(0, 64))
        what = draw(st.sampled_from(["cut", "repeat", "insert", "overwrite", "flip", "end"]))
        if what == "cut":
            del data[at:until]
        elif what == "repeat":
            data[at:at] = data[at:until] * draw(st.integers(1, 4))
        elif what == "insert":
            data[at:at] = draw(st.binary(max_size=64))
        elif what == "overwrite":
            data[at:until] = draw(st.binary(max_size=64))
        elif what == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "end":
            del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def taken_or_refused(file):
    try:
        config, _ = load(file, environ={})
    except UsageError as refusal:
        assert one_line(str(refusal)), refusal
        return
    assert Config.model_validate(config.model_dump()) == config


@many(300)
@given(content=st.one_of(st.binary(max_size=300), mangled(DEFAULTS.encode())))
def test_any_bytes_as_configuration_are_taken_or_refused_in_one_line(folder, content):
    file = folder / "any.yaml"
    file.write_bytes(content)
    taken_or_refused(file)


@many(300)
@given(values=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3))
def test_any_value_of_any_key_is_taken_or_refused_in_one_line(folder, values):
    file = folder / "values.yaml"
    lines = [f"{key.split('.')[0]}: {{{key.split('.', 1)[1]}: {value}}}" for key, value in values.items()]
    file.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    taken_or_refused(file)
    environ = {f"AGFN_{key.upper().replace('.', '__')}": value for key, value in values.items()}
    for layer in ({"environ": environ}, {"environ": {}, "sets": [f"{key}={value}" for key, value in values.items()]}):
        try:
            load(**layer)
        except UsageError as refusal:
            assert one_line(str(refusal)), refusal


OPTIONS = sorted(
    option
    for action in run.parser()._actions
    for option in action.option_strings
    if option not in {"--list-devices", "--remove-homeassistant"}  # these talk to devices and brokers
)
WORDS = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(["0", "-1", "1e9", "nan", "default", "fast", "off", "nowhere.yaml", "/dev/null", "/", "x" * 300])
    | st.builds("{}={}".format, st.sampled_from(KEYS), VALUES),
    VALUES,
)


@many(400)
@given(words=st.lists(WORDS, max_size=8))
def test_any_command_line_runs_or_ends_with_one_line_and_a_documented_code(words):
    said, ran = io.StringIO(), []
    with (
        mock.patch.object(run, "_run", lambda _, config: ran.append(config) or 0),
        mock.patch.object(run, "_demo", return_value="demo.mp4"),
        mock.patch.object(run, "set_up"),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(said),
    ):
        try:
            code = run.main(words)
        except SystemExit as asked:  # --help
            assert asked.code == 0
            return
    if code == 0:
        assert said.getvalue() == ""
        assert all(isinstance(config, Config) for config in ran)
    else:
        assert code == UsageError.exit_code
        assert re.fullmatch(r"error: .+\n", said.getvalue())
        assert one_line(said.getvalue()[:200].rstrip()), said.getvalue()


COMMAND = b'{"command": "pause"}'


@many(500)
@given(
    payloads=st.lists(
        st.one_of(st.binary(max_size=300), mangled(COMMAND), st.sampled_from([b"pause", b"resume", COMMAND])),
        min_size=1,
        max_size=12,
    ),
    pauses_s=st.lists(st.floats(0, 2), min_size=12, max_size=12),
)
def test_any_command_is_obeyed_or_counted_as_refused(payloads, pauses_s, caplog):
    clock = VirtualClock()
    commands = Commands("desk", lambda *_: None, clock)
    caplog.clear()
    for payload, pause_s in zip(payloads, pauses_s, strict=False):
        commands.take(payload, retained=False)
        clock.advance_to(clock.now_ns() + int(pause_s * 1e9))
    assert commands.accepted + commands.refused == len(payloads)
    assert commands._next is None or commands._next[0].command in {"pause", "resume"}
    assert all(one_line(record.getMessage()) for record in caplog.records)


CONNACK = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}


class Babbler:
    """What takes connections as a broker would, and then says the next of its lines, whatever it is asked."""

    def __init__(self, lines):
        self.lines, self.met = lines, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._server.accept()
                self.met += 1
                with one, contextlib.suppress(OSError):
                    one.settimeout(0.1)
                    asked = one.recv(1000)
                    level = asked[8] if len(asked) > 8 else 5
                    one.sendall(CONNACK.get(level, b"") + self.lines[self.met % len(self.lines)])
                    one.shutdown(socket.SHUT_WR)
                    while one.recv(1000):
                        continue

    def close(self):
        self._server.close()


@pytest.mark.filterwarnings("error")
def test_a_broker_that_talks_nonsense_is_given_up_and_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(link, "BACKOFF_S", (0.001, 0.002))
    monkeypatch.setattr(link, "ANSWER_S", 0.3)
    rng = np.random.default_rng(0)
    packet = b"\x32\x1e\x00\x12agfn/desk/command\x00\x01"  # a publish that claims to be longer than it is
    lines = [rng.bytes(rng.integers(1, 60)) for _ in range(40)]
    lines += [bytes([kind << 4 | flags, 2, 0, 1]) for kind in range(16) for flags in (0, 2, 15)]  # every kind of packet
    lines += [packet[:end] for end in range(1, len(packet))]
    lines += [b"\xff\xff\xff\xff\xff", b"\x30\xff\xff\xff\x7f", b"\x30\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    rude = Babbler(lines)
    publisher = MqttPublisher(MqttConfig(url=f"mqtt://127.0.0.1:{rude.port}"), ("desk",), lambda *_: None)
    publisher.start()
    try:
        begin_s = time.monotonic()
        while rude.met < len(lines) and time.monotonic() < begin_s + 60:
            publisher.send_event(event())
            time.sleep(0.01)
        assert rude.met >= len(lines)
        assert publisher._thread.is_alive()
        stats = publisher.stats("desk")
        assert stats.events_pending <= link.EVENTS_WAITING + 1
        assert stats.queue.pushed == stats.queue.popped + stats.queue.dropped + stats.queue.pending
    finally:
        publisher.close(1)
        rude.close()
    assert "Traceback" not in caplog.text


FORMATS = {
    "mp4": ("mpeg4", "aac"),
    "mkv": ("mpeg4", "pcm_s16le"),
    "avi": ("mjpeg", "pcm_s16le"),
    "mpg": ("mpeg1video", "mp2"),
    "flv": ("flv", "aac"),
    "wav": (None, "pcm_s16le"),
    "flac": (None, "flac"),
}


def written(path, video, audio):
    """A third of a second of noise and stripes."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as sink:
        sound = sink.add_stream(audio, rate=44_100, layout="mono")
        picture = sink.add_stream(video, rate=25, width=48, height=32) if video else None
        if picture:
            picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            for number in range(8):
                image = np.full((32, 48, 3), number * 30, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts = number
                sink.mux(picture.encode(frame))
            sink.mux(picture.encode(None))
        pcm = rng.integers(-9000, 9000, (1, 14_700), dtype=np.int16)
        fifo, resampler = av.AudioFifo(), av.AudioResampler(sound.format, "mono", 44_100)
        frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.sample_rate, frame.pts = 44_100, 0
        for part in resampler.resample(frame):
            fifo.write(part)
        while (part := fifo.read(sound.frame_size or 1024, partial=True)) is not None:
            sink.mux(sound.encode(part))
        sink.mux(sound.encode(None))
    return path.read_bytes()


class Media:
    """A small file of each format as bytes, and bytes of other kinds to be glued in."""

    def __init__(self, folder):
        self.files = {ending: written(folder / f"whole.{ending}", *codecs) for ending, codecs in FORMATS.items()}
        self.foreign = [Path(av.__file__).read_bytes()[:2000], DEFAULTS.encode(), b"\x00" * 4096, b"\xff" * 4096]
        self.foreign += [data[:3000] for data in self.files.values()]


@pytest.fixture(scope="module")
def media(folder):
    return Media(folder)


def read(path):
    """Read a file as the program does; returns its items, or the line that refuses it."""
    try:
        items = list(MediaFile(path, CameraConfig()).items(0))
    except SourceError as refusal:
        assert one_line(str(refusal)), refusal
        assert path.name in str(refusal)
        return str(refusal)
    dues = [due_ns(item) for item in items]
    assert dues == sorted(dues)
    assert all(np.isfinite(item.samples).all() for item in items if isinstance(item, Chunk))
    return items


def test_the_small_files_are_read_whole(folder, media):
    for ending in media.files:
        items = read(folder / f"whole.{ending}")
        sound = sum(len(item.samples) for item in items if isinstance(item, Chunk))
        assert sound == pytest.approx(5333, abs=1200), ending


@many(250)
@given(
    ending=st.sampled_from(sorted(FORMATS)),
    other=st.sampled_from(sorted(FORMATS)),
    name=st.sampled_from(["own", "mp4", "txt"]),
    kind=st.sampled_from(["mangled", "cut", "glued", "header"]),
    share=st.floats(0, 1),
    seed=st.integers(0, 1 << 30),
)
def test_any_damaged_media_file_is_read_as_far_as_it_goes_or_refused_in_one_line(
    folder, media, ending, other, name, kind, share, seed
):
    whole, rng = media.files[ending], random.Random(seed)
    at = int(share * len(whole))
    damaged = bytearray(whole)
    if kind == "mangled":
        for _ in range(rng.randint(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    elif kind == "cut":
        del damaged[at:]
    elif kind == "glued":
        damaged[at:at] = rng.choice(media.foreign)
    else:  # the head of one format on the body of another
        at = rng.randint(0, 600)
        damaged[:at] = media.files[other][:at]
    path = folder / f"damaged.{ending if name == 'own' else name}"
    path.write_bytes(damaged)
    read(path)


def network_camera(address, config):
    network = NetworkCamera(address, config, MonotonicClock(), sound=False)
    return Picture(network, RateLimit(config.max_fps), lambda _: None, lambda _: None)


@pytest.mark.real
def test_a_network_camera_that_sends_broken_pictures_gives_whole_ones_or_a_clear_error(webcam_jpegs, capfd):
    rng = np.random.default_rng(0)
    good = webcam_jpegs[0]
    broken = [good[: rng.integers(1, len(good))] for _ in range(10)] + [rng.bytes(500) for _ in range(5)]
    for _ in range(10):
        flipped = bytearray(good)
        for at in rng.integers(0, len(good), 30):
            flipped[at] ^= 0xA5
        broken.append(bytes(flipped))
    server = HttpCamera([good, *broken, good])
    camera = network_camera(server.url, CameraConfig(open_timeout_s=3, read_timeout_s=1))
    shapes, errors = [], []
    try:
        end_s = time.monotonic() + 4
        while time.monotonic() < end_s:
            try:
                camera.open()
                while time.monotonic() < end_s:
                    shapes.append(camera.read().image.shape)
            except DeviceError as error:
                errors.append(str(error))
            finally:
                camera.close()
    finally:
        server.kill()
    assert (480, 640, 3) in shapes
    assert all(len(shape) == 3 and shape[2] == 3 for shape in shapes)
    assert all(map(one_line, errors))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>log in</html>",
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n--x\r\n\r\n" + b"\x00" * 9000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        json.dumps({"error": "no stream"}).encode(),
    ],
    ids=range(8),
)
def test_an_address_that_is_no_camera_is_refused_in_one_line_and_in_time(answer, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    one, _ = server.accept()
                    with one, contextlib.suppress(OSError):
                        one.settimeout(0.2)
                        one.recv(1000)
                        one.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        camera = network_camera(address, CameraConfig(open_timeout_s=2, read_timeout_s=1))
        with pytest.raises(DeviceError) as refusal:
            camera.open()
    assert one_line(str(refusal.value))
    assert capfd.readouterr().err == ""
