"""Replays: the same weights give the same scores, others give others, and what can't be played is said in a line."""

import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch

from models import checkpoint
from realtime.clock import VirtualClock
from realtime.config.schema import Config
from realtime.errors import AgfnError, SourceError
from realtime.extract.schema import OLDER, schema_hash
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.recording import codec, writer
from realtime.recording.journal import Entry
from realtime.recording.reader import open_recordings
from realtime.recording.writer import Recorder
from realtime.run import main
from realtime.session.playback import RecordingReplay, recorded_settings
from realtime.types import NS_PER_S
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import BLOCK, MockSession, script_of
from scripts.harness.session import session

WALL_CLOCK = {"utc", "id"}


@pytest.fixture(scope="module")
def fuser():
    return Fuser(WEIGHTS, "cpu", VirtualClock())


@pytest.fixture(scope="module")
def recorded(fuser, tmp_path_factory):
    """A folder with a recording, and the messages that went out while it was made."""
    folder = tmp_path_factory.mktemp("recorded") / "session"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "FLUSH_S", 0.01)  # six seconds are made in the twentieth part: many chunks all the same
        return folder, session(folder, fuser)


def play(path, fuser, stop=None):
    """The messages of a replay."""
    [recording] = open_recordings(path)
    clock, sent = VirtualClock(), []
    playback = RecordingReplay(
        recorded_settings(Config(), recording), recording, fuser, clock, Outlet.into(sent.append), fast=True
    )
    playback.run(stop or threading.Event())
    return sent


def judged(messages, without=("utc",)):
    """The sentiment messages as published, but for wall-clock times."""
    dumps = [message.model_dump(mode="json") for message in messages if isinstance(message, Sentiment)]
    return [json.dumps({key: value for key, value in each.items() if key not in without}) for each in dumps]


def test_a_replay_publishes_the_same_bytes(recorded, fuser):
    folder, sent = recorded
    first = judged(sent, ("utc", "text"))
    assert len(first) == 24
    assert {json.loads(each)["state"] for each in first} == {"ok", "degraded", "no_signal", "paused"}
    assert judged(play(folder, fuser), ("utc", "text")) == first
    assert judged(play(folder, fuser)) == judged(play(folder, fuser))


def test_a_live_session_is_replayed_with_its_windows_closed_as_early_as_they_were(fuser, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "SPEECH_SAMPLES", BLOCK)  # the steps of a mock detector are longer than the real one's
    clock = MockClock(100 * NS_PER_S)
    said = [(101.0, "what a lovely film", 2.5), (103.2, "but I hated the end", -2.5)]
    settings = {"record": {"folder": str(tmp_path / "session"), "text": True}, "fusion": {"backend": "torch"}}
    session = MockSession(clock, script=script_of(said), settings=settings)
    session.start()
    clock.advance_s(2.05)
    session.cameras["desk"].plugged = False
    clock.advance_s(1.6)
    session.cameras["desk"].plugged = True
    clock.advance_s(3)
    session.close()
    published = judged(session.windows(), ("utc", "latency_ms"))
    assert {json.loads(each)["reason"] for each in published} == {"hop", "word"}
    [recording] = open_recordings(tmp_path / "session")
    closed = [
        (entry.topic, entry.at_ns - entry.item) for entry in recording.entries() if entry.topic in {"tick", "word"}
    ]
    assert {wait_ns // 1_000_000 for topic, wait_ns in closed if topic == "word"} == {0}
    assert {0, 50} <= {wait_ns // 1_000_000 for topic, wait_ns in closed if topic == "tick"}
    again = play(tmp_path / "session", fuser)
    assert judged(again, ("utc", "latency_ms")) == published
    assert judged(play(tmp_path / "session", fuser)) == judged(again)


def test_with_consent_the_words_come_back_too(fuser, tmp_path):
    sent = session(tmp_path / "session", fuser, words=True)
    assert "secret" in " ".join(judged(sent))
    assert judged(play(tmp_path / "session", fuser)) == judged(sent)


def test_without_consent_nothing_of_the_words_is_on_the_disk(recorded):
    folder, sent = recorded
    assert "secret" in " ".join(judged(sent))
    [recording] = open_recordings(folder)
    content = b"".join(data for _, _, data in recording.raw())
    assert b"reliability" in content
    assert not any(word in content for word in (b"secret", b"plan", b"really"))


def other(fuser, path, change):
    """A weights file that differs."""
    torch.manual_seed(1)
    kept = checkpoint.assemble(fuser.checkpoint)
    checkpoint.save(path, replace(kept, model=change(kept.model)))
    return Fuser(path, "cpu", VirtualClock())


def test_new_weights_give_an_old_session_new_scores(recorded, fuser, tmp_path, caplog):
    folder, sent = recorded
    new = other(fuser, tmp_path / "new.safetensors", lambda model: type(model)(model.config))
    again = judged(play(folder, new))
    assert len(again) == len(judged(sent))
    assert again != judged(play(folder, fuser))

    [recording] = open_recordings(folder)
    old = recorded_settings(Config(), recording)
    new = old.model_copy(
        update={"fusion": old.fusion.model_copy(update={"weights": str(tmp_path / "new.safetensors")})}
    )
    for config, said in ((old, False), (new, True)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            RecordingReplay(config, recording, fuser, VirtualClock(), Outlet(), fast=True)
        assert ("other weights" in caplog.text) == said


def test_a_cut_recording_is_played_as_far_as_it_goes(recorded, fuser, tmp_path, caplog):
    folder, sent = recorded
    content = (folder / "desk.mcap").read_bytes()
    (tmp_path / "desk.mcap").write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        again = judged(play(tmp_path, fuser), ("utc", "text"))
    assert "desk.mcap ends early: cut off" in caplog.text
    assert 0 < len(again) < len(judged(sent))
    assert again == judged(sent, ("utc", "text"))[: len(again)]


def test_a_stopped_replay_ends_with_its_event(recorded, fuser):
    stop = threading.Event()
    stop.set()
    [ended] = play(recorded[0], fuser, stop)
    assert (ended.component, ended.kind) == ("stream", "ended")


ABOUT = {
    "stream": "desk",
    "words": False,
    "window": {"length_s": 4.0, "hop_s": 0.25, "lateness_s": 0.15},
    "smoothing_s": 1.0,
    "schema": schema_hash(),
    "devices": {"face": "camera", "voice": "sound", "text": "sound"},
}


def written(folder, about, *entries):
    recorder = Recorder(folder, "desk", about, words=False, failed=pytest.fail)
    for entry in entries:
        recorder.note(entry)
    recorder.close()
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window": {"length_s": -4.0}}, "damaged: 1 validation error"),
        ({"smoothing_s": "soon"}, "damaged: 1 validation error"),
        ({"smoothing_s": float("nan")}, "damaged"),
        ({"schema": "other"}, "recorded with other features"),
        ({"stream": "a/+/#"}, "damaged: nothing can be read"),
        ({"devices": "many"}, "which devices"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused_in_one_line(fuser, tmp_path, change, said):
    written(tmp_path / "session", ABOUT | change, Entry(1, "tick", 1))
    with pytest.raises(SourceError, match=said) as caught:
        play(tmp_path / "session", fuser)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("older", sorted(OLDER))
def test_a_recording_of_older_features_is_played(fuser, tmp_path, older):
    written(tmp_path / "session", ABOUT | {"schema": older}, Entry(1, "begin", 0), Entry(1, "tick", 1))
    assert [message.seq for message in play(tmp_path / "session", fuser) if hasattr(message, "seq")] == [0]


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(5, "seen", ("camera", 1 << 61)), Entry(6, "tick", 10)],
        [Entry(1, "begin", 1 << 61), Entry(6, "tick", 10)],
        [Entry(1, "tick", 1 << 61), Entry(1, "tick", 2), Entry((1 << 62) - 1, "tick", 3)],
    ],
)
def test_times_that_cannot_be_do_no_harm(fuser, tmp_path, entries):
    written(tmp_path / "session", ABOUT, *entries)
    try:
        play(tmp_path / "session", fuser)
    except AgfnError as error:
        assert "\n" not in str(error)


def test_what_a_slow_disk_dropped_is_told(fuser, tmp_path, caplog):
    written(tmp_path / "session", ABOUT, Entry(1, "tick", 1), Entry(2, "gap", 7), Entry(3, "tick", 3))
    with caplog.at_level(logging.WARNING):
        play(tmp_path / "session", fuser)
    assert "lacks 7 entries" in caplog.text


def run(*options):
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", "off", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("name", "options", "code", "said"),
    [
        ("desk.mcap", [], 3, "no recording of AGFN Live"),
        ("", ["--record", "again"], 2, "leave one out"),
        ("", ["--record-text"], 2, "--record-text"),
    ],
)
def test_the_program_says_in_one_line_what_cannot_be_played(recorded, tmp_path, capsys, name, options, code, said):
    (tmp_path / "desk.mcap").write_bytes(b"\x89MCAP0\r\n and then something else")
    source = str(tmp_path / name if name else recorded[0])
    assert main(["--source", source, "--pace", "fast", "--no-view", "--mqtt", "off", *options]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_of_two_recordings_one_is_to_be_chosen(fuser, tmp_path, capsys):
    for name in ("left", "right"):
        session(tmp_path / "session", fuser, 1.0, name=name)
    assert main(["--source", str(tmp_path / "session"), "--pace", "fast", "--no-view", "--mqtt", "off"]) == 2
    assert "one of left.mcap, right.mcap" in capsys.readouterr().err
    out = tmp_path / "out.jsonl"
    done = run("--source", tmp_path / "session" / "left.mcap", "--pace", "fast", "--output", out)
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["stream"] for line in out.read_text().splitlines()} == {"left"}


def lines(path, without):
    bodies = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [body for body in bodies if body["schema"] == "agfn.sentiment/1"]
    return [{key: value for key, value in body.items() if key not in without} for body in kept]


@pytest.mark.real
@pytest.mark.models
@pytest.mark.parametrize("pace", ["fast", "realtime"])
def test_a_real_session_is_judged_the_same_again(pace, clip, tmp_path):
    kept = ["--record-text"] if pace == "fast" else ["--record-media"]
    session_dir, first, again = tmp_path / "session", tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    done = run("--source", clip, "--pace", pace, "--record", session_dir, "--output", first, *kept)
    assert done.returncode == 0, done.stderr
    assert f"recorded {session_dir}/desk.mcap: " in done.stderr
    [recording] = open_recordings(session_dir)
    assert ({"video", "audio"} <= {topic for _, topic, _ in recording.raw()}) == (pace == "realtime")
    done = run("--source", session_dir, "--pace", "fast", "--output", again)
    assert done.returncode == 0, done.stderr
    assert ("holds pictures and sound" in done.stderr) == (pace == "realtime")
    # Latencies are those of the replay: it decodes nothing, and its clock stands still while it judges.
    without = {"utc"} if pace == "fast" else {"utc", "latency_ms"}
    assert lines(again, without) == lines(first, without)
    assert any(body["score"] is not None and body["modalities"]["text"]["weight"] > 0.3 for body in lines(again, ()))
