"""Pictures and sound in a recording: with consent only, at their times, never in the way, and out again as files."""

import os
import signal
import subprocess
import sys
import threading
import wave

import av
import cv2
import numpy as np
import pytest

from realtime.config.load import load
from realtime.config.schema import Config, WindowConfig
from realtime.errors import UsageError
from realtime.export.__main__ import main as export
from realtime.pipeline import Inlets, tapped
from realtime.recording import media_tap
from realtime.recording.journal import Entry
from realtime.recording.media_tap import MediaTap, decode_media
from realtime.recording.reader import open_recordings
from realtime.recording.writer import Recorder
from realtime.run import main as run
from realtime.session.recorder import tap_of
from realtime.types import NS_PER_S, Chunk, Frame

S = NS_PER_S
T0 = 1000 * S
TONE = np.sin(np.arange(320) * 2 * np.pi / 32).astype(np.float32) * 0.5
"""20 ms of 500 Hz: chunks of it fit together without a step."""


def picture(t_ns, shade=128, shape=(120, 160, 3)):
    return Frame(t_ns, np.full(shape, shade, np.uint8))


def recorder_in(folder, *, consent=True):
    about = {"stream": "desk", "media": consent, "words": False, "window": WindowConfig().model_dump()}
    return Recorder(folder, "desk", about, words=False, media=consent, failed=pytest.fail)


def media_in(folder):
    """Time and content of what a recording holds of each topic of media."""
    [recording] = open_recordings(folder)
    found = {"video": [], "audio": []}
    for at_ns, topic, data in recording.raw():
        if topic in found:
            t_ns, content = decode_media(data)
            assert t_ns == at_ns
            found[topic].append((t_ns, content))
    return found


def play(tap, begin_ns, seconds, fps=15):
    """Let devices deliver: sound in chunks of 20 ms, pictures in between, as fast as the encoder keeps up."""
    for number in range(int(seconds * 50)):
        t_ns = begin_ns + number * S // 50
        if number * fps // 50 != (number - 1) * fps // 50:
            tap.video(picture(t_ns))
        tap.audio(Chunk(t_ns, TONE))
        if number % 50 == 49:
            settle(tap)


def settle(tap):
    """Wait until the encoder has taken all that waits: a test is faster than any device."""
    gone = threading.Event()
    for _ in range(500):
        if tap._waiting.stats().pending == 0:
            return
        gone.wait(0.01)
    pytest.fail("the encoder stands still")


@pytest.fixture
def session(tmp_path):
    """Two seconds of media, a pause of one second, one more second of media."""
    folder, paused = tmp_path / "session", threading.Event()
    recorder = recorder_in(folder)
    tap = MediaTap(recorder, "desk", paused)
    recorder.note(Entry(T0, "begin", T0))
    play(tap, T0, 2.0)
    paused.set()
    play(tap, T0 + 2 * S, 1.0)
    paused.clear()
    play(tap, T0 + 3 * S, 1.0)
    tap.close()
    recorder.close()
    assert tap.dropped() == 0
    return folder


def test_media_is_kept_at_its_times_a_few_pictures_a_second_and_nothing_of_a_pause(session):
    found = media_in(session)
    times_s = [(t_ns - T0) / S for t_ns, _ in found["video"]]
    assert np.allclose(np.diff(times_s[:10]), 0.2, atol=0.05)
    assert 13 <= len(times_s) <= 16  # five a second of three
    assert not [at_s for at_s in times_s if 2.0 <= at_s < 3.0]
    assert len(found["audio"]) == 15
    sound = {(t_ns - T0) // (S // 5): np.frombuffer(pcm, "<i2") for t_ns, pcm in found["audio"]}
    assert sorted(sound) == [*range(10), *range(15, 20)]
    np.testing.assert_allclose(sound[3] / 32767, np.tile(TONE, 10), atol=1e-4)
    image = cv2.imdecode(np.frombuffer(found["video"][0][1], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (120, 160, 3)
    assert abs(image.mean() - 128) < 3


def test_without_consent_no_picture_and_no_sound_reaches_the_file(tmp_path):
    folder, config = tmp_path / "session", Config.model_validate({"record": {"folder": str(tmp_path), "text": True}})
    recorder = recorder_in(folder, consent=False)
    assert tap_of(recorder, config, "desk", threading.Event()) is None
    tap = MediaTap(recorder, "desk", threading.Event())  # were one there by mistake, the file is still closed to it
    play(tap, T0, 1.0)
    tap.close()
    recorder.close()
    assert tap.dropped() > 0
    assert media_in(folder) == {"video": [], "audio": []}
    content = (folder / "desk.mcap").read_bytes()
    assert b"foxglove" not in content
    recorder_in(tmp_path / "empty", consent=False).close()
    assert len(content) == (tmp_path / "empty" / "desk.mcap").stat().st_size


def test_a_stuck_encoder_never_holds_up_a_device_and_what_goes_is_counted(tmp_path, monkeypatch):
    recorder, let_go = recorder_in(tmp_path / "session"), threading.Event()
    honest = media_tap.encode_picture
    monkeypatch.setattr(media_tap, "encode_picture", lambda frame: (let_go.wait(30), honest(frame))[1])
    tap = MediaTap(recorder, "desk", threading.Event())
    recorder.media_dropped = tap.dropped
    analysed = []
    inlets = tapped(Inlets(analysed.append, analysed.append, lambda: None), tap)
    for number in range(600):  # twelve seconds of sound and pictures, were they real
        inlets.audio(Chunk(T0 + number * S // 50, TONE))
        inlets.video(picture(T0 + number * S // 50))
    assert len(analysed) == 1200
    assert tap.dropped() > 300
    assert recorder.health().media_dropped == tap.dropped()
    let_go.set()
    tap.close()
    recorder.close()
    found = media_in(tmp_path / "session")
    assert found["video"]
    assert found["audio"]
    assert "pictures or pieces of sound dropped" in recorder.summary()


def test_media_goes_before_the_numbers_when_the_disk_is_behind(tmp_path, monkeypatch):
    recorder, let_go = recorder_in(tmp_path / "session"), threading.Event()
    honest = recorder._sync
    monkeypatch.setattr(recorder, "_sync", lambda: (let_go.wait(30), honest())[1])
    for number in range(2000):
        recorder.note(Entry(T0 + number, "tick", number))
    threading.Event().wait(1.0)  # the writer is at its first sync by now
    for number in range(2000):
        recorder.note(Entry(T0 + number, "tick", 2000 + number))
    assert recorder.keep(T0, "video", media_tap.encode_picture(picture(T0))) is False
    let_go.set()
    recorder.close()
    [recording] = open_recordings(tmp_path / "session")
    assert [entry.item for entry in recording.entries()] == list(range(4000))


def test_large_pictures_are_made_smaller_and_bad_ones_are_refused():
    _, jpeg = decode_media(media_tap.encode_picture(picture(T0, shape=(1080, 1920, 3))))
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (360, 640, 3)
    _, pcm = decode_media(media_tap.encode_sound(T0, np.array([0.0, 2.0, -2.0, np.nan], np.float32)))
    assert np.frombuffer(pcm, "<i2").tolist() == [0, 32767, -32767, 0]
    for damaged in (b"[]", b"{}", b"\xff", b'{"timestamp":{"sec":-1,"nsec":0},"data":""}', b'{"timestamp":3,"data":3}'):
        with pytest.raises(ValueError, match=r"."):
            decode_media(damaged)


WRITES = """
import sys, threading, time
from pathlib import Path
import numpy as np
from realtime.recording.media_tap import MediaTap
from realtime.recording.writer import Recorder
from realtime.types import Chunk, Frame
recorder = Recorder(Path(sys.argv[1]), "desk", {"stream": "desk"}, words=False, media=True, failed=print)
tap = MediaTap(recorder, "desk", threading.Event())
while True:
    tap.video(Frame(time.monotonic_ns(), np.random.randint(0, 255, (480, 640, 3), np.uint8)))
    tap.audio(Chunk(time.monotonic_ns(), np.zeros(320, np.float32)))
    print(time.monotonic_ns(), flush=True)
    time.sleep(0.02)
"""


def test_a_killed_recording_has_its_media_but_for_the_last_moments(tmp_path):
    command = [sys.executable, "-c", WRITES, str(tmp_path / "session")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        times_ns = [int(program.stdout.readline()) for _ in range(150)]
        os.kill(program.pid, signal.SIGKILL)
    found = media_in(tmp_path / "session")
    for topic in ("video", "audio"):
        assert found[topic][0][0] - times_ns[0] < S
        assert times_ns[-1] - found[topic][-1][0] < 2 * S  # one second, and one for a busy machine
    assert export([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--media"]) == 0
    assert (tmp_path / "out" / "desk.mkv").stat().st_size > 100_000


def test_pictures_and_sound_come_out_as_files_at_the_seconds_of_the_tables(session, tmp_path, capsys):
    assert export([str(session), "-o", str(tmp_path / "out"), "--media"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in ("desk.mkv", "desk.wav")]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    with wave.open(str(tmp_path / "out" / "desk.wav")) as sound:
        assert sound.getparams()[:3] == (1, 2, 16000)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 1600)
    loud = (np.abs(samples).max(axis=1) > 8000).tolist()
    assert loud == [True] * 20 + [False] * 10 + [True] * 10  # tenths of a second; the pause is silent
    with av.open(str(tmp_path / "out" / "desk.mkv")) as film:
        pictures = list(film.decode(video=0))
    with av.open(str(tmp_path / "out" / "desk.mkv")) as film:
        heard = [frame.time for frame in film.decode(audio=0)]
    kept = [(t_ns - T0) / S for t_ns, _ in media_in(session)["video"]]
    assert [frame.time for frame in pictures] == pytest.approx(kept, abs=0.002)
    assert abs(pictures[0].to_ndarray(format="bgr24").mean() - 128) < 3
    assert heard[0] == pytest.approx(0.0, abs=0.002)
    assert heard[-1] == pytest.approx(3.8, abs=0.05)
    assert export([str(session), "-o", str(tmp_path / "out"), "--media"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_recording_without_media_says_what_it_needs(tmp_path, capsys):
    recorder_in(tmp_path / "session", consent=False).close()
    recorder_in(tmp_path / "other").close()
    assert export([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--media"]) == 2
    assert "--record-media" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert export([str(tmp_path / "other"), "-o", str(tmp_path / "out"), "--tables", "words"]) == 0
    assert "holds pictures and sound, too: --media" in capsys.readouterr().err


def test_damaged_media_is_said_in_one_line_and_leaves_no_half_files(tmp_path, capsys):
    recorder = recorder_in(tmp_path / "session")
    recorder.note(Entry(T0, "begin", T0))
    recorder.keep(T0, "audio", media_tap.encode_sound(T0, TONE))
    recorder.keep(T0 + 60 * 3600 * S, "audio", media_tap.encode_sound(T0 + 60 * 3600 * S, TONE))
    recorder.close()
    assert export([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--media"]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "damaged: sound 216000 s after the beginning" in line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--record-media"], "--record-media says what --record DIR keeps: add it"),
        (["--set", "record.media=true"], "set record.folder, too"),
        (["--record", "x", "--record-media", "--source", "clip.mp4", "--pace", "fast"], "leave it out"),
    ],
)
def test_consent_for_nothing_is_an_error(capsys, options, said):
    assert run(options) == 2
    assert said in capsys.readouterr().err


def test_the_flag_sets_its_key_and_no_other_does():
    with pytest.raises(UsageError, match=r"record\.media"):
        load(None, ["record.media=perhaps"], {})
    config, _ = load(None, ["record.folder=x", "record.text=true"], {})
    assert config.record.media is False
