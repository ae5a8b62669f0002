"""Recordings: what a window took comes back bit for bit, a replay says the same again, and broken files do no harm."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from realtime.clock import VirtualClock
from realtime.config.schema import WindowConfig
from realtime.errors import AgfnError, SourceError, UsageError
from realtime.extract.schema import EMBEDDING_DIM, FACE_DIM, FACE_SHAPES, TEXT_DIM, VOICE_DIM
from realtime.fuse.window import Window
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.recording import writer
from realtime.recording.journal import MESSAGES, TOPICS, VERSION, Entry, decode, encode
from realtime.recording.reader import is_recording, open_recordings
from realtime.recording.window import RecordedWindow
from realtime.recording.writer import Recorder
from realtime.types import Ended, FaceFeatures, SpeechFrame, TextFeatures, VoiceFeatures, Word
from scripts.harness.session import session

RNG = np.random.default_rng(0)
DEVICES = {"face": "picture", "voice": "sound", "text": "sound"}
ABOUT = {
    "stream": "desk",
    "words": False,
    "window": WindowConfig().model_dump(),
    "smoothing_s": 1.0,
    "devices": DEVICES,
}
MS = 1_000_000
MAGIC = 8
"""Bytes after the last record of an MCAP file."""


def vector(size):
    return RNG.standard_normal(size).astype(np.float32)


def face(t_ns, *, found=True):
    values = vector(FACE_DIM) if found else np.zeros(FACE_DIM, np.float32)
    return FaceFeatures(t_ns, values, found, 1, 0.9, 40.5, 0.5, 0.01, 3)


def words(t_ns):
    said = (
        Word(t_ns - 900 * MS, t_ns - 500 * MS, "secret", 0.9, True),
        Word(t_ns - 400 * MS, t_ns, "plan", 0.8, False),
    )
    read = (Word(t_ns - 900 * MS, t_ns, "secretly", 0.95, True),)
    before = (Ended(t_ns - 2_000 * MS, -0.5),)
    values, heard = vector((2, TEXT_DIM)), vector(EMBEDDING_DIM)
    return TextFeatures(t_ns, said, values, 0.1, "a doubt", "final", before, read, embedding=heard)


def speech(t_ns, snr_db=12.5):
    return SpeechFrame(t_ns, np.zeros(512, np.float32), 0.875, -20.25, snr_db, 0.0)


def same(a, b):
    for name in a.__dataclass_fields__:
        one, other = getattr(a, name), getattr(b, name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other, name


def test_a_face_of_an_older_recording_says_that_its_expression_is_not_known():
    wrote = json.loads(encode(Entry(11, "face", face(5)), words=True))
    narrow = np.arange(len(FACE_SHAPES), dtype=np.float32)
    wrote["values"] = {"shape": [len(narrow)], "f32": base64.b64encode(narrow.tobytes()).decode()}
    read = decode(11, "face", json.dumps(wrote).encode()).item
    assert (read.values[: len(narrow)] == narrow).all()
    assert (read.values[len(narrow) :] == 0).all()
    wrote["values"]["shape"] = [len(narrow) - 1]
    with pytest.raises(SourceError):
        decode(11, "face", json.dumps(wrote).encode())


@pytest.mark.parametrize(
    ("topic", "item"),
    [
        ("face", face(5)),
        ("face", face(5, found=False)),
        ("voice", VoiceFeatures(7, vector(VOICE_DIM))),
        ("speech", speech(9)),
        ("speech", speech(9, None)),
        ("text", words(2_000 * MS)),
    ],
)
def test_features_come_back_bit_for_bit(topic, item):
    same(item, decode(11, topic, encode(Entry(11, topic, item), words=True)).item)


@pytest.mark.parametrize(
    ("topic", "item"),
    [
        ("tick", 3),
        ("word", 3),
        ("begin", 4),
        ("paused", True),
        ("reset", None),
        ("seen", ("picture", 5)),
        ("lost", ("sound", "why")),
    ],
)
def test_the_rest_comes_back(topic, item):
    assert decode(1, topic, encode(Entry(1, topic, item), words=False)) == Entry(1, topic, item)


def test_without_consent_no_word_is_kept_and_what_they_say_is():
    text = words(2_000 * MS)
    data = encode(Entry(1, "text", text), words=False)
    back = decode(1, "text", data).item
    assert b"secret" not in data
    assert [word.text for word in back.words] == ["", ""]
    assert [word.start_ns for word in back.words] == [word.start_ns for word in text.words]
    assert [(word.text, word.probability) for word in back.read] == [("", 0.95)]
    np.testing.assert_array_equal(back.values, text.values)
    assert (back.opinion, back.ended) == (text.opinion, text.ended)


def test_a_recording_from_before_second_readings_has_none():
    text = words(2_000 * MS)
    body = json.loads(encode(Entry(1, "text", text), words=True))
    del body["read"]
    back = decode(1, "text", json.dumps(body).encode()).item
    assert (back.words, back.read) == (text.words, ())


def test_a_recording_of_an_older_version_is_refused_in_words():
    body = json.loads(encode(Entry(1, "text", words(2_000 * MS)), words=True))
    del body["opinion"], body["ended"]
    with pytest.raises(SourceError, match="older version"):
        decode(1, "text", json.dumps(body).encode())


@given(
    st.sampled_from(["face", "voice", "speech", "text", "tick", "word", "seen", "lost", "begin", "paused", "odd"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["t_ns", "values", "words", "shape", "f32", "device", "end_ns", "faces", "samples"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ),
)
@settings(max_examples=400, deadline=None)
def test_any_entry_is_read_or_refused_in_one_line(topic, body):
    try:
        decode(0, topic, json.dumps(body).encode())
    except SourceError as error:
        assert "\n" not in str(error)


def record(folder, count=40, *, keep=False):
    """A recording of some seconds, and the views that the window gave."""
    clock = VirtualClock()
    recorder = Recorder(folder, "desk", ABOUT | {"words": keep}, words=keep, failed=pytest.fail)
    window = RecordedWindow("desk", WindowConfig(), DEVICES, clock, recorder.note)
    views = []
    for step in range(count):
        clock.advance_to(step * 100 * MS)
        now_ns = clock.now_ns()
        for device in ("picture", "sound"):
            window.saw(device, now_ns)
        window.add_face(face(now_ns))
        window.add_voice(VoiceFeatures(now_ns, vector(VOICE_DIM)))
        window.add_speech(speech(now_ns))
        if step % 5 == 4:
            window.add_text(words(now_ns))
        views.append(window.close(now_ns))
    recorder.close()
    return recorder, views


def replayed(recording):
    clock = VirtualClock()
    window, views = Window("desk", WindowConfig(), DEVICES, clock), []
    put = {"face": window.add_face, "voice": window.add_voice, "speech": window.add_speech, "text": window.add_text}
    for entry in recording.entries():
        clock.advance_to(entry.at_ns)
        if entry.topic == "tick":
            views.append(window.close(entry.item))
        elif entry.topic == "seen":
            window.saw(*entry.item)
        elif entry.topic in put:
            put[entry.topic](entry.item)
    return views


def test_a_window_fed_from_a_recording_gives_the_same_views(tmp_path):
    recorder, views = record(tmp_path / "session", keep=True)
    [recording] = open_recordings(tmp_path / "session")
    again = replayed(recording)
    assert recording.truncated is None
    assert recorder.stats().dropped == 0
    assert len(again) == len(views)
    for old, new in zip(views, again, strict=True):
        assert old.words == new.words
        for name in DEVICES:
            same(old.segments[name], new.segments[name])


def test_a_recording_says_what_it_is_and_is_nobody_elses_business(tmp_path):
    recorder, _ = record(tmp_path / "session")
    [recording] = open_recordings(tmp_path / "session")
    assert recording.stream == "desk"
    assert recording.about["devices"] == DEVICES
    assert recorder.path.stat().st_mode & 0o077 == 0
    assert is_recording(tmp_path / "session")
    assert not is_recording(tmp_path)


def test_a_recording_is_never_written_over(tmp_path):
    record(tmp_path / "session", 2)
    with pytest.raises(UsageError, match="choose a new folder"):
        record(tmp_path / "session", 2)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--record"):
        record(tmp_path / "file" / "session", 2)


def test_a_disk_that_fills_ends_the_recording_and_nothing_else(tmp_path):
    said = []
    recorder = Recorder(tmp_path / "session", "desk", ABOUT, words=False, failed=said.append)

    def full(*_):
        raise OSError(28, "No space left on device")

    recorder._write = full
    recorder.note(Entry(1, "tick", 1))
    deadline = time.monotonic() + 10
    while not said and time.monotonic() < deadline:
        recorder.note(Entry(1, "tick", 1))
        time.sleep(0.05)
    assert said == ["recording ended: No space left on device"]
    recorder.note(Entry(2, "tick", 2))
    assert not recorder.health().writing


FULL = """
import resource, signal, sys, time
from pathlib import Path
from realtime.errors import UsageError
from realtime.recording.journal import Entry
from realtime.recording.writer import Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
said = []
try:
    recorder = Recorder(Path(sys.argv[1]), "desk", {"stream": "desk"}, words=False, failed=said.append)
except UsageError as error:
    sys.exit(f"refused: {error}")
for number in range(2000):
    recorder.note(Entry(number, "lost", ("camera", str(hash(str(number))))))
    if number % 100 == 0:
        time.sleep(0.1)
recorder.close()
print(said, recorder.health().writing, recorder.stats().dropped > 0)
"""


def until_full(folder, size):
    command = [sys.executable, "-c", FULL, str(folder), str(size)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_file_that_can_grow_no_more_keeps_what_it_has(tmp_path):
    done = until_full(tmp_path / "session", 32_000)
    assert done.stdout.strip() == "['recording ended: File too large'] False True", done.stderr
    [recording] = open_recordings(tmp_path / "session")
    assert len(list(recording.entries())) > 100
    assert recording.truncated


def test_a_disk_that_is_full_from_the_start_is_said_and_nothing_is_left(tmp_path):
    done = until_full(tmp_path / "session", 10)
    assert done.stderr.strip() == f"refused: --record {tmp_path / 'session'}: File too large"
    assert list((tmp_path / "session").iterdir()) == []


def test_whatever_cannot_be_written_ends_the_recording_and_nothing_else(tmp_path):
    said = []
    recorder = Recorder(tmp_path / "session", "desk", ABOUT, words=False, failed=said.append)
    recorder.note(Entry(1, "seen", None))
    recorder.close()
    assert said == ["recording ended: 'NoneType' object is not subscriptable"]
    assert not recorder.health().writing


def test_entries_that_had_to_go_leave_a_mark(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "CAPACITY", 10)
    recorder = Recorder(tmp_path / "session", "desk", ABOUT, words=False, failed=pytest.fail)
    writing, go_on = threading.Event(), threading.Event()
    add = recorder._add

    def slow(*args):
        writing.set()
        assert go_on.wait(10)
        add(*args)

    recorder._add = slow
    recorder.note(Entry(0, "tick", 0))
    assert writing.wait(10)
    for number in range(1, 31):
        recorder.note(Entry(number, "tick", number))
    go_on.set()
    recorder.close()
    [recording] = open_recordings(tmp_path / "session")
    kept = [(entry.topic, entry.item) for entry in recording.entries()]
    assert kept == [("tick", 0), ("gap", 20), *(("tick", number) for number in range(21, 31))]
    assert recording.dropped == 20
    assert recorder.health().dropped == 20
    assert "20 dropped" in recorder.summary()


def test_the_file_describes_itself_with_schemas_that_hold(tmp_path):
    session(tmp_path / "session", Fuser(WEIGHTS, "cpu", VirtualClock()), words=True)
    validators, seen = {}, set()
    with (tmp_path / "session" / "desk.mcap").open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == VERSION
        for schema, channel, message in reader.iter_messages():
            assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
            if channel.topic not in validators:
                validators[channel.topic] = jsonschema.Draft202012Validator(json.loads(schema.data))
            validators[channel.topic].validate(json.loads(message.data))
            seen.add(channel.topic)
    assert seen == {*TOPICS, *MESSAGES} - {"gap"}


def test_numbers_of_a_broken_sound_card_come_back_too():
    data = encode(Entry(1, "speech", speech(9, float("-inf"))), words=False)
    json.loads(data, parse_constant=pytest.fail)
    assert decode(1, "speech", data).item.snr_db == float("-inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "FLUSH_S", 0.001)  # many chunks, as in an hour
        recorder, views = record(tmp_path_factory.mktemp("whole") / "session", 30)
    return recorder.path.read_bytes(), len(views)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_file_cut_anywhere_is_read_as_far_as_it_goes(whole, tmp_path_factory, data):
    content, count = whole
    path = tmp_path_factory.mktemp("cut") / "desk.mcap"
    kept = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:kept])
    ticks, truncated = read_or_refused(path)
    assert len(ticks) <= count
    if truncated is None:
        assert not ticks or (len(ticks) == count and kept >= len(content) - MAGIC)
    else:
        assert truncated == "cut off"


@given(at=st.integers(0, 1 << 30), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_file_with_a_wrong_byte_is_read_or_refused(whole, tmp_path_factory, at, value):
    content = bytearray(whole[0])
    content[at % len(content)] = value
    path = tmp_path_factory.mktemp("flip") / "desk.mcap"
    path.write_bytes(content)
    read_or_refused(path)


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_a_foreign_file_is_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("foreign") / "desk.mcap"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"no recording|damaged"):
        open_recordings(path)


def read_or_refused(path):
    try:
        [recording] = open_recordings(path)
        return [entry for entry in recording.entries() if entry.topic == "tick"], recording.truncated
    except AgfnError as error:
        assert "\n" not in str(error)
        return [], None


WRITES = """
import sys, time
from pathlib import Path
from realtime.recording.journal import Entry
from realtime.recording.writer import Recorder
recorder = Recorder(Path(sys.argv[1]), "desk", {"stream": "desk"}, words=False, failed=print)
number = 0
while True:
    recorder.note(Entry(number, "tick", number))
    number += 1
    print(time.time(), number, flush=True)
    time.sleep(0.01)
"""


def test_a_killed_recording_has_all_but_its_last_second(tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(tmp_path / "session")], stdout=subprocess.PIPE, text=True
    )
    lines = [program.stdout.readline().split() for _ in range(250)]
    os.kill(program.pid, signal.SIGKILL)
    lines += [line.split() for line in program.stdout.read().splitlines()]
    program.stdout.close()
    program.wait()
    [recording] = open_recordings(tmp_path / "session")
    kept = [entry.item for entry in recording.entries()]
    assert recording.truncated == "cut off"
    assert kept == list(range(len(kept)))
    killed_s = float(lines[-1][0])
    second_before = max(int(number) for at_s, number in lines if float(at_s) <= killed_s - 1.0)
    assert len(kept) >= second_before


@pytest.mark.real
@pytest.mark.models
def test_a_disk_that_fills_is_an_event_and_the_analysis_goes_on(other_clip, tmp_path):
    options = [
        "--source",
        other_clip,
        "--record",
        tmp_path / "session",
        "--output",
        "-",
    ]
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", "off", *map(str, options)]
    limited = ["bash", "-c", 'ulimit -f 16; exec "$@"', "--", *command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == "error: ended early: recording ended: File too large"
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    [lost] = [message for message in messages if message.get("component") == "recording"]
    assert (lost["kind"], lost["cause"]) == ("lost", "recording ended: File too large")
    scores = [message for message in messages if message["schema"] == "agfn.sentiment/1"]
    assert scores[-1]["window"]["end_s"] > lost["time_s"] + 0.5
    health = [message["recording"] for message in messages if message["schema"] == "agfn.health/1"]
    assert not health[-1]["writing"]
    assert (tmp_path / "session" / "desk.mcap").stat().st_size <= 16 * 1024
