import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from realtime.capture import portaudio
from realtime.capture.devices import list_devices
from realtime.capture.microphone import Block, Microphone
from realtime.capture.sampleclock import SampleClock
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import MicrophoneConfig
from realtime.errors import DeviceError
from realtime.types import NS_PER_S

REPOSITORY = Path(__file__).resolve().parent.parent
MS = 1_000_000


def silent_microphone(**config):
    """One that was never opened: its callback and its reader are called by the test."""
    microphone = Microphone("default", MicrophoneConfig(**config), VirtualClock(NS_PER_S))
    microphone._stream = object()
    return microphone


def call_back(microphone, samples, adc_age_s=0.02, *, overflow=False):
    times = SimpleNamespace(currentTime=100.0, inputBufferAdcTime=100.0 - adc_age_s)
    status = SimpleNamespace(input_overflow=overflow)
    microphone._heard(microphone._channel, np.full((samples, 1), 0.5, np.float32), samples, times, status)
    microphone._clock.advance_to(microphone._clock.now_ns() + samples * NS_PER_S // microphone._rate_hz)


def test_a_block_is_stamped_with_the_time_its_first_sample_was_heard():
    microphone = silent_microphone()
    call_back(microphone, 320, adc_age_s=0.035)
    chunk = microphone.read()
    assert chunk.t_ns == pytest.approx(NS_PER_S - 35 * MS, abs=1000)
    assert len(chunk.samples) == 320


@pytest.mark.parametrize("adc_age_s", [0.0, -1.0, 100.0])
def test_a_backend_that_does_not_tell_the_time_gets_the_length_of_the_block(adc_age_s):
    microphone = silent_microphone()
    call_back(microphone, 320, adc_age_s)
    assert microphone.read().t_ns == NS_PER_S - 20 * MS


def test_sound_that_waited_while_the_program_stood_still_is_lost_and_not_taken_for_new():
    microphone = silent_microphone()
    for _ in range(3):
        call_back(microphone, 320)
    before = [microphone.read() for _ in range(3)][-1]
    now_ns = microphone._clock.now_ns() + 12 * NS_PER_S
    microphone._clock.advance_to(now_ns)
    for waited in range(600):  # all at once, as a sound server hands over what it kept
        call_back(microphone, 320, 12.0 - waited * 0.02)
        microphone._clock = VirtualClock(now_ns)
    after = microphone.read()
    assert 0 < now_ns - after.t_ns < 2.1 * NS_PER_S
    assert after.t_ns - before.end_ns == pytest.approx(after.lost_samples * NS_PER_S // 16_000, abs=MS)
    newest = [microphone.read() for _ in range(microphone._channel.stats().pending)][-1]
    assert abs(newest.end_ns - now_ns) < 30 * MS


def test_sound_that_was_dropped_because_nobody_read_is_marked():
    microphone = silent_microphone(buffer_s=0.1)
    for _ in range(12):
        call_back(microphone, 320)
    chunks = [microphone.read() for _ in range(5)]
    assert [chunk.lost_samples for chunk in chunks] == [7 * 320, 0, 0, 0, 0]
    assert all(after.t_ns == before.end_ns for before, after in itertools.pairwise(chunks))
    assert chunks[0].t_ns == pytest.approx(NS_PER_S + 6 * 20 * MS, abs=1000)


def test_sound_that_the_device_lost_is_measured_by_its_clock():
    microphone = silent_microphone()
    call_back(microphone, 320)
    microphone.read()
    microphone._clock.advance_to(microphone._clock.now_ns() + 50 * MS)
    call_back(microphone, 320, overflow=True)
    assert microphone.read().lost_samples == 800


def test_another_rate_is_resampled_and_stays_in_time():
    microphone = silent_microphone()
    microphone._begin(48_000)
    times_s = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * times_s)).astype(np.float32)[:, None]
    blocks = [Block(NS_PER_S + i * 20 * MS, i * 960, tone[i * 960 : (i + 1) * 960], False) for i in range(50)]
    chunks = [chunk for chunk in map(microphone._convert, blocks) if len(chunk.samples)]
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert abs(len(heard) - 16_000) < 100
    at_s = np.concatenate([(chunk.t_ns - NS_PER_S) / 1e9 + np.arange(len(chunk.samples)) / 16_000 for chunk in chunks])
    assert np.abs(heard - 0.5 * np.sin(2 * np.pi * 440 * at_s))[100:].max() < 0.01


def test_a_stream_left_behind_cannot_speak_into_its_successor():
    microphone = silent_microphone()
    old = microphone._channel
    microphone._channel = microphone._new_channel()
    microphone._heard(old, np.zeros((320, 1), np.float32), 320, None, None)
    assert old.stats().pushed == microphone._channel.stats().pushed == 0


@given(jitter_ms=st.lists(st.floats(-15, 40), min_size=2, max_size=200))
def test_jittering_stamps_become_one_line_without_holes(jitter_ms):
    clock = SampleClock(16_000)
    blocks = [clock.feed(NS_PER_S + i * 20 * MS + int(late * MS), 320) for i, late in enumerate(jitter_ms)]
    assert not any(missing for _, missing in blocks)
    steps_ms = [(b - a) / MS for (a, _), (b, _) in itertools.pairwise(blocks)]
    assert all(19.4 < step < 22 for step in steps_ms)


def test_the_drift_of_a_quartz_is_followed():
    clock = SampleClock(16_000)
    for i in range(30_000):  # ten minutes with 200 ppm
        stamp_ns = int(i * 20 * MS * 1.0002)
        t_ns, missing = clock.feed(stamp_ns, 320)
        assert missing == 0
    assert abs(t_ns - stamp_ns) < MS


def test_a_hole_is_measured():
    clock = SampleClock(16_000)
    clock.feed(0, 320)
    assert clock.feed(520 * MS, 320) == (520 * MS, 8000)
    assert clock.feed(540 * MS, 320) == (540 * MS, 0)


def test_without_portaudio_the_error_says_how_to_get_it(monkeypatch):
    def missing():
        raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr("builtins.__import__", wrapped(missing))
    with pytest.raises(DeviceError, match=r"PortAudio cannot be loaded.*libportaudio2"):
        Microphone("default", MicrophoneConfig(), MonotonicClock()).open()
    assert any("libportaudio2" in line for line in list_devices())


def wrapped(missing, real=__import__):
    return lambda name, *rest: missing() if name == "sounddevice" else real(name, *rest)


def test_reading_before_opening_says_so():
    with pytest.raises(DeviceError, match="not open"):
        Microphone("default", MicrophoneConfig(), MonotonicClock()).read()


@pytest.fixture
def opened(sound):
    made = []

    def start(address="default", **config):
        microphone = Microphone(address, MicrophoneConfig(**config), MonotonicClock())
        made.append(microphone)
        microphone.open()
        return microphone

    yield start
    sound.thaw()
    for microphone in made:
        microphone.close()
    # A close that was left behind must be through before the next test, which wants PortAudio for itself.
    end = time.monotonic() + 10
    while portaudio._open and time.monotonic() < end:
        time.sleep(0.05)
    assert not portaudio._open


def listen(microphone, seconds):
    return [microphone.read() for _ in range(int(seconds * 50))]


def loudness(chunks):
    return max(float(np.abs(chunk.samples).max()) for chunk in chunks)


def within(timeout_s, condition):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
    return False


def hears_again(sound, microphone, samples, name="mic"):
    sound.hush()
    sound.play(np.tile(samples, 4), name=name)
    return within(10, lambda: loudness(listen(microphone, 0.2)) > 0.1)


def read_on(microphone, chunks):
    while True:
        chunks.append(microphone.read())


def lost(microphone):
    """Read to the end; return the error and how long it took, in seconds."""
    begin = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        read_on(microphone, [])
    return str(caught.value), time.monotonic() - begin


@pytest.mark.real
def test_a_microphone_hears_what_is_said_when_it_is_said(sound, opened, speech):
    microphone = opened()
    listen(microphone, 0.5)
    begin_ns = time.monotonic_ns()
    player = sound.play(speech)
    chunks = listen(microphone, len(speech) / 16_000 + 0.7)
    player.wait()
    assert not any(chunk.lost_samples for chunk in chunks)
    # Hisses above 4 kHz shift by a fraction of a sample where the sound server resamples; words lie below.
    low = signal.butter(6, 4000, fs=16_000, output="sos")
    heard, said = (signal.sosfiltfilt(low, x) for x in (np.concatenate([chunk.samples for chunk in chunks]), speech))
    # Word by word: on a busy machine the sound server itself may stumble between two.
    found = [best_match(heard, said[begin : begin + 8000]) for begin in range(0, len(said) - 8000, 8000)]
    assert np.median([likeness for likeness, _ in found]) > 0.99
    heard_ns = chunks[0].t_ns + found[0][1] * NS_PER_S // 16_000
    assert 0 <= heard_ns - begin_ns < NS_PER_S  # the player needs a moment to begin


def best_match(heard, said):
    """The highest correlation of `said` with a stretch of `heard`, and where that begins."""
    heard, said = heard.astype(float), said.astype(float)
    products = signal.correlate(heard, said, "valid", "fft")
    energies = signal.correlate(heard**2, np.ones(len(said)), "valid", "fft")
    likeness = products / np.sqrt(np.maximum(energies, 1e-6) * np.sum(said**2))
    return likeness.max(), int(likeness.argmax())


@pytest.mark.real
def test_the_blocks_are_one_line_close_to_now(opened):
    microphone = opened()
    listen(microphone, 0.5)
    chunks, ages_ms = [], []
    for _ in range(50):
        chunks.append(microphone.read())
        ages_ms.append((time.monotonic_ns() - chunks[-1].end_ns) / MS)
    assert {len(chunk.samples) for chunk in chunks} == {320}
    assert all(abs(after.t_ns - before.end_ns) < MS for before, after in itertools.pairwise(chunks))
    assert -20 < np.median(ages_ms) < 200


@pytest.mark.real
@pytest.mark.parametrize("address", ["default", "DEFAULT", "efau", "1"])
def test_a_microphone_is_found_by_number_name_or_part_of_it(opened, address):
    assert listen(opened(address), 0.1)


@pytest.mark.real
def test_a_microphone_that_is_not_there_is_named_with_those_that_are(opened):
    with pytest.raises(DeviceError, match=r"^microphone studio: no such input; there are: .*'default'"):
        opened("studio")


@pytest.mark.real
@pytest.mark.usefixtures("sound")
def test_list_devices_marks_the_default_microphone():
    assert any("default" in line and line.endswith("(default)") for line in list_devices())


@pytest.mark.real
def test_a_killed_sound_server_is_noticed_and_found_again(sound, opened, speech):
    microphone = opened()
    listen(microphone, 0.2)
    sound.kill()
    error, after_s = lost(microphone)
    assert error.startswith("microphone default: went away") or "no sound for" in error
    assert after_s < 2
    with pytest.raises(DeviceError, match=r"no microphone found|cannot be opened"):
        microphone.open()
    sound.start()
    microphone.open()
    assert hears_again(sound, microphone, speech)


@pytest.mark.real
def test_a_frozen_sound_server_is_noticed_holds_up_nothing_and_is_used_again(sound, opened, speech):
    microphone = opened(read_timeout_s=0.5)
    listen(microphone, 0.2)
    sound.freeze()
    error, after_s = lost(microphone)
    assert "no sound for 0.5 s" in error
    assert after_s < 3
    begin = time.monotonic()
    microphone.close()
    assert time.monotonic() - begin < portaudio.CLOSE_S + 1
    # The supervisor tries again while it is frozen; that hangs, and it leaves the thread behind.
    abandoned = Microphone("default", MicrophoneConfig(), MonotonicClock())
    hanging = threading.Thread(target=try_to_open, args=(abandoned,), daemon=True)
    hanging.start()
    hanging.join(0.5)
    assert hanging.is_alive()
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="does not answer"):
        opened()
    assert time.monotonic() - begin < portaudio.LOCK_S + 1
    sound.thaw()
    hanging.join(10)
    assert not hanging.is_alive()
    abandoned.close()
    assert hears_again(sound, opened(), speech)


def try_to_open(microphone):
    try:
        microphone.open()
    except DeviceError:
        return


@pytest.mark.real
def test_a_removed_microphone_is_silence_and_its_successor_is_heard(sound, opened, speech):
    microphone = opened()
    assert hears_again(sound, microphone, speech)
    sound.hush()
    sound.remove_sinks()
    assert within(5, lambda: loudness(listen(microphone, 0.3)) < 0.01)
    sound.add_sink("other", rate_hz=44_100)
    assert hears_again(sound, microphone, speech, name="other")


@pytest.mark.real
def test_a_muted_microphone_is_exact_silence(sound, opened, speech):
    microphone = opened()
    assert hears_again(sound, microphone, speech)
    sound.mute()
    assert within(5, lambda: loudness(listen(microphone, 0.3)) == 0)
    sound.mute(False)
    assert hears_again(sound, microphone, speech)


@pytest.mark.real
def test_two_microphones_at_once_do_not_disturb_each_other(opened):
    first = opened()
    listen(first, 0.2)
    second = opened()
    assert listen(second, 0.2)
    assert not any(chunk.lost_samples for chunk in listen(first, 0.2))
    second.close()
    assert listen(first, 0.2)


@pytest.mark.real
def test_a_program_ends_although_the_sound_server_hangs(sound):
    code = """
import os, signal, sys
from realtime.capture.microphone import Microphone
from realtime.clock import MonotonicClock
from realtime.config import MicrophoneConfig
from realtime.errors import DeviceError
microphone = Microphone("default", MicrophoneConfig(read_timeout_s=0.5), MonotonicClock())
microphone.open()
print("open", flush=True)
try:
    while True:
        microphone.read()
except DeviceError as error:
    microphone.close()
    print(error, flush=True)
"""
    program = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout.readline() == "open\n"
        time.sleep(0.3)
        sound.freeze()
        try:
            assert "no sound for" in program.stdout.readline()
            assert program.wait(15) == 0
        finally:
            sound.thaw()
            program.kill()
