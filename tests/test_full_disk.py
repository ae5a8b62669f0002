"""A full disk is said, counted and told by the exit code; a reader that has had enough ends what nobody reads."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from test_messages import sentiment

from realtime.app import App
from realtime.config.schema import Config
from realtime.errors import AgfnError
from realtime.publish.jsonlines import JsonLines
from realtime.recording.journal import Entry
from realtime.recording.reader import open_recordings
from realtime.recording.writer import Recorder
from realtime.run import main
from scripts.harness.processes import Program, wait_until

HEEDED = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
FULL = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")


@FULL
def test_lines_that_cannot_be_written_are_an_error_and_stay_one(caplog):
    ended = threading.Event()
    sink = JsonLines("/dev/full", ended=ended.set)
    sink.send(sentiment())
    assert ended.wait(10)
    sink.close()
    assert "No space left on device" in sink.failed
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "/dev/full" in record.getMessage()


def test_a_reader_that_leaves_is_no_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["head", "-1", str(pipe)], stdout=subprocess.DEVNULL)
    ended = threading.Event()
    sink = JsonLines(str(pipe), ended=ended.set)
    sink.send(sentiment())
    reader.wait(10)
    wait_until(lambda: sink.send(sentiment()) or ended.is_set(), 10, "the end to be noticed")
    sink.close()
    assert sink.failed is None


def test_a_recording_that_ends_early_says_so_and_counts_what_is_on_disk(tmp_path, caplog):
    recorder = Recorder(tmp_path, "desk", {"stream": "desk"}, words=False, failed=lambda _: None)
    for number in range(100):
        recorder.note(Entry(number, "tick", number))
    wait_until(lambda: recorder._synced == 100, 10, "the first entries to be on disk")

    def full(*_):
        raise OSError(28, "No space left on device")

    recorder._sync = full
    for number in range(100, 150):
        recorder.note(Entry(number, "tick", number))
    wait_until(lambda: recorder.ended_early, 10, "the failure")
    for number in range(150, 160):
        recorder.note(Entry(number, "tick", number))
    recorder.close()
    assert recorder.ended_early == "recording ended: No space left on device"
    assert "ENDED EARLY (recording ended: No space left on device)" in recorder.summary()
    assert "100 entries, 60 dropped" in recorder.summary()
    assert [each for each in caplog.records if each.levelname == "ERROR" and "No space left" in each.getMessage()]
    assert len(list(open_recordings(tmp_path)[0].entries())) >= 100


class Session:
    def __init__(self, early=None):
        self.early = early

    def run(self, stop, duration_s):
        pass

    def recorded(self):
        return []

    def ended_early(self):
        return self.early


def app(session, output=None, **mqtt):
    made = App.__new__(App)
    made._config, made._session, made._lines = Config.model_validate({"mqtt": mqtt}), session, output
    made._parts, made._shown, made._stop, made._nobody = [], False, None, threading.Event()
    return made


def test_what_ended_early_is_told_by_the_exit_code():
    for failing in (
        app(Session("recording ended: No space left on device")),
        app(Session(), SimpleNamespace(failed="x: full")),
    ):
        with pytest.raises(AgfnError, match="ended early") as raised:
            failing.run(threading.Event(), None)
        assert raised.value.exit_code == 1
    app(Session()).run(threading.Event(), None)


@pytest.mark.parametrize(("url", "stops"), [("off", True), ("embedded", False)])
def test_a_program_whose_only_reader_has_gone_stops(url, stops):
    running = app(Session(), url=url)
    stop = threading.Event()
    running._no_more_output()
    running.run(stop, None)
    assert stop.is_set() == stops


@pytest.mark.models
@pytest.mark.real
@pytest.mark.timeout(170)
@FULL
def test_the_program_on_a_full_disk_and_with_a_reader_that_leaves_and_a_terminal_that_is_closed(tmp_path):
    run = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", "off", "--no-camera", "--mic", "none here"]
    full = subprocess.run([*run, "--output", "/dev/full"], capture_output=True, text=True, timeout=60, check=False)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr.splitlines()[-1]
    assert full.stderr.splitlines()[-1].startswith("error: ended early")

    piped = ["bash", "-c", 'set -o pipefail; "$@" --output - | head -1', "--", *run]
    left = subprocess.run(piped, capture_output=True, text=True, timeout=60, check=False)
    assert left.returncode == 0, left.stderr
    assert len(left.stdout.splitlines()) == 1
    assert "Traceback" not in left.stderr

    heeded = [sys.executable, "-c", HEEDED, *run]  # this test may itself run where the signal is ignored
    hung_up = Program(heeded, tmp_path / "log")
    try:
        wait_until(lambda: "NO SIGNAL" in hung_up.text(), 60, "the first window")
        hung_up.process.send_signal(signal.SIGHUP)
        assert hung_up.process.wait(60) == 0
        assert "ended" in hung_up.text()
    finally:
        hung_up.kill()


def test_too_little_memory_is_one_line(monkeypatch, capsys):
    def none(_):
        raise MemoryError

    monkeypatch.setattr("realtime.run._dispatch", none)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("error: out of memory")
