"""The running program while its recogniser or its face extractor fails, and while the wall clock jumps."""

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

import psutil
import pytest

from realtime.runtime.worker import MAX_LEFT_BEHIND
from scripts.harness.camera import V4l2Camera, built
from scripts.harness.desk import BACK_S, Desk, desk_with
from scripts.harness.processes import wait_until

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(150)]

PROGRAM = ("-m", "scripts.harness.troubled")
HANG_S, RENEW_S = 10.0, 8.0
"""When a call counts as hung, and how long a fresh model may take to load."""


@dataclass
class Troubled:
    """A desk, and the files that make trouble for its program."""

    desk: Desk
    trouble: Path
    off_s: Path

    def make(self, *lines):
        """Let stages fail, until the next call."""
        fresh = self.trouble.with_suffix(".new")
        fresh.write_text("\n".join(lines))
        fresh.replace(self.trouble)

    def set_clock(self, seconds):
        """Set the wall clock of the program."""
        fresh = self.off_s.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        fresh.replace(self.off_s)

    def events(self, component, since_s):
        return [heard.body for heard in self.desk.after(since_s, "event") if heard.body["component"] == component]

    def health(self):
        return self.desk.live.heard("health")[-1].body["components"]


@pytest.fixture(scope="module")
def running(v4l2_library, webcam_jpegs, speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("troubled")
    camera = V4l2Camera(v4l2_library, folder, webcam_jpegs)
    trouble, off_s = folder / "trouble", folder / "off"
    trouble.touch()
    off_s.write_text("0\n")
    env = {
        "AGFN_TROUBLE": str(trouble),
        "AGFN_WALLCLOCK": str(off_s),
        "LD_PRELOAD": f"{v4l2_library}:{built(folder, 'wallclock')}",
        "PYTHONPATH": ".",
    }
    with desk_with(camera, "0", folder, speech, PROGRAM, **env) as desk:
        desk.live.first(lambda heard: heard.part("text")["weight"] > 0, 0.0, "words", timeout_s=30)
        yield Troubled(desk, trouble, off_s)
        assert "Traceback" not in desk.live.program.text()


@pytest.fixture
def troubled(running):
    """All well, and put right again afterwards."""
    used = ("face", "voice", "text")
    running.desk.speak()
    running.desk.live.first(
        lambda heard: all(heard.part(name)["weight"] > 0 for name in used), monotonic(), "a healthy desk"
    )
    yield running
    running.make()
    running.set_clock(0)


@pytest.mark.parametrize("what", ["bug", "memory"])
@pytest.mark.parametrize(
    ("stage", "component", "name", "other"), [("asr", "transcribe", "text", "face"), ("face", "face", "face", "voice")]
)
def test_a_stage_that_raises_is_replaced_while_the_others_go_on(troubled, what, stage, component, name, other):
    with troubled.desk.steadily() as begin_s:
        troubled.make(f"{stage} {what}")
        wait_until(lambda: troubled.events(component, begin_s), 5, "the loss to be told")
        lost = troubled.events(component, begin_s)[0]
        assert lost["kind"] == "lost"
        assert {"bug": "ValueError", "memory": "MemoryError"}[what] in lost["cause"]
        if name == "face":  # the words of a sentence go on to count while they are recent
            troubled.desk.live.first(lambda heard: heard.part(name)["weight"] == 0, begin_s, f"{name} without weight")
        else:
            time.sleep(1)
        mended_s = monotonic()
        assert troubled.desk.live.heard()[-1].part(other)["weight"] > 0
        troubled.make()
        troubled.desk.regains(name, mended_s, BACK_S)
        wait_until(lambda: len(troubled.events(component, begin_s)) >= 2, 5, "the return to be told")
    assert [event["kind"] for event in troubled.events(component, begin_s)] == ["lost", "recovered"]
    assert troubled.health()[component]["restarts"] > 0


def test_stages_that_hang_are_replaced_their_threads_are_counted_and_the_voice_goes_on(troubled):
    process = psutil.Process(troubled.desk.live.program.process.pid)
    before = process.num_threads()
    with troubled.desk.steadily() as begin_s:
        troubled.make("asr hang", "face hang")
        time.sleep(1)
        troubled.make()  # whoever hangs goes on to hang, whoever comes next does not
        troubled.desk.live.first(lambda heard: heard.part("face")["weight"] == 0, begin_s, "no face")
        assert "behind" in troubled.desk.live.heard()[-1].part("face")["cause"]
        wait_until(
            lambda: all(troubled.events(name, begin_s) for name in ("face", "transcribe")),
            HANG_S + 5,
            "both to be told",
        )
        told_s = monotonic()
        assert troubled.desk.live.heard()[-1].part("voice")["weight"] > 0
        troubled.desk.speak()
        troubled.desk.regains("face", told_s, BACK_S)
        troubled.desk.live.first(
            lambda heard: heard.part("text")["weight"] > 0 and heard.part("text")["age_ms"] < 2000,
            told_s,
            "fresh words",
            timeout_s=RENEW_S + 30,
        )
        wait_until(
            lambda: all(len(troubled.events(name, begin_s)) >= 2 for name in ("face", "transcribe")), 20, "both back"
        )
    for name in ("face", "transcribe"):
        kinds = [event["kind"] for event in troubled.events(name, begin_s)]
        # Whoever catches up on a busy machine may be behind for a while, and says so.
        assert (kinds[0], kinds.count("stalled"), set(kinds) - {"overload"}) == ("stalled", 1, {"stalled", "recovered"})
        assert 1 <= troubled.health()[name]["left_behind"] <= MAX_LEFT_BEHIND
    assert "loading it afresh" in troubled.desk.live.program.text()
    assert process.num_threads() - before < 40


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_wall_clock_that_is_set_changes_nothing_but_the_published_utc(troubled, step_s):
    with troubled.desk.steadily() as begin_s:
        troubled.set_clock(step_s)
        time.sleep(2)
        after = troubled.desk.after(begin_s)
        assert troubled.events("camera", begin_s) == troubled.events("microphone", begin_s) == []
    late = after[-1]
    utc = datetime.fromisoformat(late.body["utc"].rstrip("Z")).replace(tzinfo=timezone.utc)
    assert abs((utc - datetime.now(timezone.utc)).total_seconds() - step_s) < 10
    assert all(late.part(name)["weight"] > 0 for name in ("face", "voice"))
    assert all(heard.part("voice")["age_ms"] < 1000 for heard in after)
    assert troubled.desk.live.heard("health")[-1].body["publisher"]["connects"] == 1
