"""The report: everything that was recorded is told, nothing of it is obeyed, and it reads on a phone and on paper."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from realtime.report.__main__ import main
from realtime.report.page import page
from realtime.report.plot import COLUMNS, clock, runs, thinned
from realtime.report.session import Session
from realtime.types import MODALITIES
from scripts.harness.browser import Tab, chromium

EVIL = "<script>document.title='owned'</script>"


def session(count=400, **changes):
    times_s = np.arange(1, count + 1) * 0.25
    score = np.sin(times_s / 5)
    score[50:60] = np.nan
    made = Session(
        stream="desk",
        begun="2026-11-23T18:02:11+00:00",
        words_kept=True,
        end_s=times_s,
        score=score,
        low=np.maximum(-3, score - 1),
        high=np.minimum(3, score + 1),
        band_low=np.maximum(-3, score - 0.5),
        band_high=np.minimum(3, score + 0.5),
        weight={name: np.full(count, 1 / 3) for name in MODALITIES},
        reliability={name: np.full(count, 0.9) for name in MODALITIES},
        states={"ok": count - 10, "no_signal": 10},
        causes={name: {"ok": count} for name in MODALITIES},
        latency_ms={"total": np.full(count, 31.0), "text_lag": np.full(count, np.nan)},
        events=[{"time_s": 12.5, "component": "camera", "kind": "lost", "cause": "camera 0: no frame"}],
        words=[(1.0, "that"), (1.3, "was"), (9.0, "good")],
        drops={"face": 7, "voice": 0},
        missing=2,
    )
    return replace(made, **changes)


def test_the_page_tells_what_was_recorded():
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page([session()]), flags=re.DOTALL)
    for said in (
        "desk",
        "2026-11-23 18:02:11",
        "400 windows",
        "camera 0: no frame",
        "that was",
        "face 7",
        "Messages missing: 2",
    ):
        assert said in text
    assert "97%" in re.sub(r"\s", "", text) or "98%" in text, "the share of windows with a score"


def heights(made, kind):
    """Lowest and highest place of each drawing of a kind, from top to bottom of the picture."""
    found = re.findall(rf'<poly(?:gon|line) class="{kind}" points="([^"]+)"', made)
    return [[float(pair.split(",")[1]) for pair in points.split(" ")] for points in found]


def test_the_band_lies_within_the_interval_and_both_part_where_there_is_no_score():
    made = page([session()])
    bands, intervals, edges = (heights(made, kind) for kind in ("band", "interval", "whisker"))
    assert len(bands) == len(intervals) == 2
    assert len(edges) == 4
    for band, interval in zip(bands, intervals, strict=True):
        assert min(interval) < min(band) < max(band) < max(interval)
    assert {min(edge) for edge in edges} & {min(interval) for interval in intervals}
    assert "0.5 for 68 %" in made


def test_a_recording_of_an_older_program_has_no_band():
    nothing = np.full(400, np.nan)
    made = page([session(band_low=nothing, band_high=nothing)])
    assert heights(made, "band") == []
    assert len(heights(made, "interval")) == 2
    assert "68 %</small>" not in made


def test_nothing_recorded_is_obeyed_and_nothing_is_fetched():
    evil = session(
        stream=EVIL,
        words=[(1.0, EVIL)],
        events=[{"time_s": EVIL, "component": EVIL, "kind": EVIL, "cause": EVIL}],
        states={EVIL: 400},
        causes={name: {EVIL: 400} for name in MODALITIES},
        drops={EVIL: 1},
        begun=EVIL,
        truncated=EVIL,
    )
    made = page([evil])
    assert "<script" not in made
    assert "http" not in made.replace("http-equiv", "")


def test_words_without_consent_are_not_there():
    made = page([session(words_kept=False, words=[])])
    assert "needs consent" in made


def test_a_session_without_a_window_is_said():
    empty = np.zeros(0)
    nothing = dict.fromkeys(MODALITIES, empty)
    ranges = dict.fromkeys(("score", "low", "high", "band_low", "band_high"), empty)
    made = page([session(end_s=empty, weight=nothing, reliability=nothing, **ranges)])
    assert "No window was closed" in made


def test_four_hours_stay_a_small_page():
    assert len(page([session(57_600)])) < 400_000


def test_thinning_keeps_the_extremes():
    values = np.zeros(10_000)
    values[1234] = 5
    values[4321] = np.nan
    times_s, [(low, mean, high)] = thinned(np.arange(10_000.0), values)
    assert len(times_s) <= COLUMNS
    assert times_s[-1] == 9999
    assert high.max() == 5
    assert low.min() == 0
    assert np.isfinite(mean).all()


def test_gaps_stay_gaps():
    assert runs(np.array([True, True, False, True])) == [[0, 1], [3]]
    assert [clock(value) for value in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]


def test_a_folder_without_a_recording_is_one_line_and_code_3(tmp_path, capsys):
    assert main([str(tmp_path), "-o", str(tmp_path / "report.html")]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.models
@pytest.mark.real
def test_a_real_session_reads_on_a_screen_a_phone_and_paper(clip, tmp_path):
    options = ["--source", clip, "--pace", "fast", "--mqtt", "off", "--no-view", "--record", tmp_path / "session"]
    command = [sys.executable, "-m", "realtime.run", *map(str, options), "--record-text"]
    subprocess.run(command, capture_output=True, check=True)
    report = tmp_path / "report.html"
    assert main([str(tmp_path / "session"), "-o", str(report)]) == 0
    with chromium() as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            tab = Tab(browser, report.as_uri(), width=width, scheme=scheme)
            assert "desk" in tab.text("h1")
            assert tab.page.locator("svg").count() == 4
            assert "best" in tab.text(".words").lower()
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
            assert len(tab.page.screenshot()) > 10_000
            assert not tab.errors
        tab.page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
