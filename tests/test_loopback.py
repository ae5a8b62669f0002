"""What the computer plays, on a real PipeWire: heard as it is played, from the default sink and from nowhere else."""

import contextlib
import itertools
import time

import numpy as np
import pytest
from scipy import signal
from test_microphone import best_match, listen, loudness, within

from realtime.capture import pulse
from realtime.capture.devices import list_devices
from realtime.capture.loopback import Monitor, loopback, played_on
from realtime.capture.names import device_names, notice_of
from realtime.capture.pulse import PulseClient
from realtime.clock import MonotonicClock
from realtime.config.schema import Config, MicrophoneConfig
from realtime.doctor import checks
from realtime.errors import DeviceError
from realtime.fuse.reliability import Delivery, voice_quality
from realtime.runtime.source import SourceWorker
from realtime.runtime.worker import Watchdog
from realtime.system.shown import is_shown
from realtime.types import NS_PER_S, SpeechFrame
from scripts.harness.processes import wait_until
from scripts.harness.sound import sound_server

MS = 1_000_000


@pytest.fixture(scope="module")
def server():
    with sound_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def sound(server):
    """A sound server with speakers, which are the default, and what a microphone would hear."""
    yield server
    server.thaw()
    server.hush()
    for name in ("speakers", "headset"):
        server.remove_sink(name)


@pytest.fixture
def monitor(sound):
    sound.add_sink("speakers")
    sound.choose("mic")
    sound.play_on("speakers")
    opened = Monitor(MicrophoneConfig(), MonotonicClock())
    opened.open()
    yield opened
    opened.close()


@pytest.mark.real
def test_what_is_played_is_heard_when_it_is_played_and_the_microphone_is_not(sound, monitor, speech):
    sound.play(np.tile(speech, 3), name="mic")
    assert loudness(listen(monitor, 1.0)) == 0
    begin_ns = time.monotonic_ns()
    player = sound.play(speech, name="speakers")
    chunks = listen(monitor, len(speech) / 16_000 + 0.7)
    player.wait()
    assert {len(chunk.samples) for chunk in chunks} == {320}
    assert not any(chunk.lost_samples for chunk in chunks)
    assert all(abs(after.t_ns - before.end_ns) < MS for before, after in itertools.pairwise(chunks))
    low = signal.butter(6, 4000, fs=16_000, output="sos")
    heard, said = (signal.sosfiltfilt(low, x) for x in (np.concatenate([chunk.samples for chunk in chunks]), speech))
    found = [best_match(heard, said[begin : begin + 8000]) for begin in range(0, len(said) - 8000, 8000)]
    assert np.median([likeness for likeness, _ in found]) > 0.99
    heard_ns = chunks[0].t_ns + found[0][1] * NS_PER_S // 16_000
    assert 0 <= heard_ns - begin_ns < NS_PER_S  # the player needs a moment to begin
    assert -20 < (time.monotonic_ns() - chunks[-1].end_ns) / MS < 2000


@pytest.mark.real
def test_another_sink_that_becomes_the_default_is_followed_without_a_loss(sound, monitor, speech):
    sound.add_sink("headset", rate_hz=44_100)
    sound.choose("mic")
    sound.play(np.tile(speech, 4), name="headset")
    assert loudness(listen(monitor, 0.5)) == 0
    sound.play_on("headset")
    assert within(5, lambda: loudness(listen(monitor, 0.2)) > 0.1)
    assert played_on() == "headset"


@pytest.mark.real
@pytest.mark.usefixtures("monitor")
def test_a_recording_never_goes_on_from_the_microphone_when_its_sink_goes(sound, speech):
    client = PulseClient("loopback", 2.0)
    heard = []
    try:
        client.default_sink()
        client.record("speakers.monitor", 20)
        sound.play(np.tile(speech, 4), name="mic")
        sound.remove_sink("speakers")

        def listen_on():
            for _ in range(200):
                client.default_sink()
                if (found := client.read(0.5)) is not None:
                    heard.append(found[0])

        with pytest.raises(DeviceError, match=r"^loopback: (went away|no sound)"):
            listen_on()
    finally:
        client.close()
    assert not any(samples.any() for samples in heard)
    with contextlib.closing(PulseClient("loopback", 2.0)) as again, pytest.raises(DeviceError, match="speakers"):
        again.record("speakers.monitor", 20)


@pytest.mark.real
def test_a_killed_server_is_a_loss_and_a_new_one_the_end_of_it(sound, monitor, speech):
    monitor.close()
    events, chunks = [], []
    worker = SourceWorker(
        "microphone",
        lambda: loopback(MicrophoneConfig(), MonotonicClock()),
        chunks.append,
        MonotonicClock(),
        events.append,
        open_s=5.0,
        read_s=1.8,
    )
    watchdog = Watchdog([worker], MonotonicClock())
    worker.start()
    watchdog.start()
    try:
        wait_until(lambda: chunks, 5, "sound")
        sound.kill()
        wait_until(lambda: [event.kind for event in events] == ["started", "lost"], 5, "the loss")
        assert events[-1].cause.startswith("loopback: ")
        sound.start()
        wait_until(lambda: events[-1].kind == "recovered", 10, "the recovery")
        sound.play(np.tile(speech, 3))  # the only sink there is
        wait_until(lambda: loudness(chunks[-20:]) > 0.1, 10, "what is played")
    finally:
        watchdog.stop()
        worker.stop()
        worker.join(5)


@pytest.mark.real
def test_a_frozen_server_is_noticed_and_holds_up_nothing(sound, monitor):
    monitor._config = MicrophoneConfig(read_timeout_s=0.3)
    sound.freeze()
    begin = time.monotonic()
    with pytest.raises(DeviceError, match=r"^loopback: no sound for 0\.3 s"):
        listen(monitor, 100)
    monitor.close()
    assert time.monotonic() - begin < 2
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="no sound server answers"):
        monitor.open()
    assert time.monotonic() - begin < 4
    sound.thaw()
    monitor.open()
    assert len(listen(monitor, 0.2)) == 10


@pytest.mark.real
@pytest.mark.usefixtures("monitor")
def test_doctor_and_list_say_what_would_be_heard():
    assert [(found.state, found.text) for found in checks.loopback("loopback")] == [
        ("ok", "--mic loopback hears what speakers plays")
    ]
    assert list_devices()[-2:] == ["What this computer plays (--mic loopback):", "  speakers"]


def test_without_a_sound_server_the_error_says_what_to_start(monkeypatch, tmp_path):
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nowhere")
    with pytest.raises(DeviceError, match=r"^loopback: no sound server answers; start PipeWire or PulseAudio"):
        Monitor(MicrophoneConfig(), MonotonicClock()).open()
    (found,) = checks.loopback("loopback")
    assert (found.state, found.remedy) == ("note", "only --mic loopback needs it")
    assert "start PipeWire or PulseAudio" in found.text


def test_without_its_library_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(pulse, "LIBRARY", "libno-such.so.0")
    pulse.library.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"^loopback: libno-such\.so\.0 is missing.*apt-get install libpulse0"):
            Monitor(MicrophoneConfig(), MonotonicClock()).open()
    finally:
        pulse.library.cache_clear()


@pytest.mark.real
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_no_input_is_a_loopback_the_error_says_what_to_set_up(platform):
    device = loopback(MicrophoneConfig(), MonotonicClock(), platform)
    with pytest.raises(DeviceError, match=r"^loopback: no input here gives.*Stereo Mix.*BlackHole"):
        device.open()


def test_it_is_told_at_the_start_that_others_are_heard_and_seen():
    streams = [
        {"name": "desk"},
        {"name": "call", "mic": "loopback", "camera": "screen:2"},
        {"name": "film", "source": "film.mp4", "mic": "loopback", "camera": "screen"},
        {"name": "radio", "mic": "loopback", "camera": None},
    ]
    assert [notice_of(stream) for stream in Config.model_validate({"streams": streams}).streams] == [
        None,
        (
            "call hears what this computer plays and sees what its screen shows: other people, too; ask them first "
            "(docs/privacy.md)"
        ),
        None,
        "radio hears what this computer plays: other people, too; ask them first (docs/privacy.md)",
    ]


def test_it_is_named_in_messages_as_it_is_asked_for():
    config = Config.model_validate({"streams": [{"mic": "loopback", "camera": "screen:2:0,0,64,64"}]})
    assert device_names(config.streams[0], config) == {
        "text": "loopback",
        "voice": "loopback",
        "face": "screen:2:0,0,64,64",
    }


@pytest.mark.parametrize(
    ("device", "state", "trouble"), [("loopback", "stale", None), ("microphone 1", "lost", "frozen")]
)
def test_perfect_silence_is_nothing_wrong_with_what_is_played(device, state, trouble):
    silent = [SpeechFrame(step * 32 * MS, np.zeros(512, np.float32), 0.0, -120.0, None, 0.0) for step in range(100)]
    found = voice_quality(silent, Delivery(device, 0.0, 0.0, 1.0, shown=is_shown(device)), 3200 * MS)
    assert (found.state, found.trouble, found.value) == (state, trouble, 0.0)


def test_reading_before_opening_says_so():
    with pytest.raises(DeviceError, match="not open"):
        Monitor(MicrophoneConfig(), MonotonicClock()).read()
