"""The benchmarks: what they measure is measured right, and each ends in a line of JSON with its keys."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig
from realtime.types import Chunk, Frame
from scripts.benchmarks import pipeline, profile, program, report, streams
from scripts.benchmarks.fusion import summary
from scripts.benchmarks.memory import Loop, Watch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def talk(clip, other_clip, tmp_path_factory):
    """5 s of talk and 2 s of silence at 5 frames/s."""
    return program.talk([clip, other_clip], tmp_path_factory.mktemp("talk") / "talk.mkv", 5.0, 2.0, 5)


def bench(*options, timeout_s=240):
    command = [sys.executable, "-m", "scripts.bench", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_film_talks_and_then_is_silent_with_the_face_still_there(talk):
    items = list(MediaFile(talk, CameraConfig(max_fps=30)).items(0))
    frames = [item for item in items if isinstance(item, Frame)]
    level = {True: [], False: []}
    for chunk in (item for item in items if isinstance(item, Chunk)):
        level[chunk.t_ns < 5e9].append(float(abs(chunk.samples).max()))
    assert len(frames) == 35
    assert frames[0].image.shape == (480, 640, 3)
    assert max(level[False]) < 0.01
    assert max(level[True]) > 0.02
    assert (frames[-1].image != frames[-2].image).any(), "the same picture again would count as frozen"


def test_latency_runs_from_the_newest_sample_to_the_subscriber():
    body = {
        "utc": "2026-01-01T00:00:00.000Z",
        "modalities": {"voice": {"age_ms": 50}, "face": {"age_ms": 20}},
        "latency_ms": {"window": 60},
    }
    heard = program.Heard(1767225600.004, "sentiment", "desk", body)
    assert heard.delivery_ms == pytest.approx(4, abs=0.01)
    assert pipeline.av_latency_ms(heard) == pytest.approx(20 + 60 + 4, abs=0.01)
    body["modalities"] = {"voice": {"age_ms": None}, "face": {"age_ms": None}}
    assert pipeline.av_latency_ms(heard) is None


def test_cores_are_those_between_two_times_and_of_each_stage():
    program_ = program.Program([])
    for at_s in range(6):
        threads = {1: ("face", 0.1 * at_s), 2: ("drishti", 0.3 * at_s), 3: ("python", 0.05 * at_s), 4: ("voice", 1.0)}
        program_.usage.append(program.Usage(float(at_s), 0.5 * at_s, 100.0, threads))
    assert program_.cores(1, 4) == pytest.approx(0.5)
    assert program_.cores_by_stage(1, 4) == {"face": 0.4, "rest": 0.05, "voice": 0.0}
    assert program_.cores_by_stage(8, 9) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the clocks of threads")
def test_the_clock_of_a_thread_counts_its_work():
    def spent_s():
        return sum(cpu_s for _, cpu_s in program.threads(process.pid).values())

    code = "import time\nfor _ in range(10**9): time.process_time()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        before_s = spent_s()
        time.sleep(1.0)
        worked_s = spent_s() - before_s
        process.kill()
    assert 0.02 < worked_s <= 1.5


def test_the_keys_of_the_fusion_are_ratios_of_one_table():
    row = {"AGFN": 1.0, "AGFN torch": 2.0, "AGFN onnx": 1.0, "MulT": 4.0, "TFN": 0.5, "LMF": 0.5, "MISA": 0.5}
    found = summary({1: row, 32: {name: 4 * value for name, value in row.items()}})
    assert found["fusion_ms_batch1"] == 1.0
    assert found["fusion_speedup_batch32"] == 8.0
    assert found["fusion_speedup_batch32_onnx"] == 8.0
    assert found["fusion_vs_mult"] == {"1": 0.25, "32": 0.25}
    assert found["fusion_windows_per_s"] == {"1": 1000, "32": 8000}
    without = summary({size: {name: 1.0 for name in row if name != "AGFN onnx"} for size in (1, 32)})
    assert without["fusion_backend"] == "torch"
    assert "fusion_speedup_batch32_onnx" not in without


def test_a_loop_goes_on_in_time_where_the_film_begins_again(talk):
    items = list(Loop(talk, CameraConfig(max_fps=5), 20 / 3600).items(0))
    chunks = [item for item in items if isinstance(item, Chunk)]
    assert 20 <= chunks[-1].end_ns / 1e9 < 28
    jumps_s = [abs(after.t_ns - before.end_ns) / 1e9 for before, after in itertools.pairwise(chunks)]
    assert max(jumps_s) < 0.25


def test_the_slope_of_memory_is_that_of_its_second_half():
    watch = Watch()
    watch.hours = [hour / 10 for hour in range(41)]
    watch.rss_mb = [500 + min(1000 * hour, 1000) + 2 * hour for hour in watch.hours]
    assert watch.slope_mb_per_h() == pytest.approx(2, abs=1e-6)


def test_the_profile_shares_the_clock_of_a_thread_among_its_functions():
    cores = {1: ("face", 0.4), 2: ("drishti", 1.0), 3: ("python", 0.1)}
    paths = profile.tree(cores, {1: profile.Counter({("a", "b"): 3, ("a",): 1})})
    assert paths["face", "a", "b"] == pytest.approx(0.3)
    assert paths["face", "a"] == pytest.approx(0.1)
    assert paths["face", "MediaPipe"] == 1.0
    assert sum(paths.values()) == pytest.approx(1.5)


@pytest.mark.models
def test_fusion_ends_in_one_line_of_json():
    found = bench("fusion", "--quick")
    assert found["fusion_ms_batch1"] > 0
    assert found["fusion_speedup_batch32"] > 1
    assert found["fusion_vs_mult"].keys() == {"1", "8", "32"}


@pytest.mark.models
def test_pipeline_ends_in_one_line_of_json(clip, other_clip, tmp_path):
    (tmp_path / "mosi_clips").mkdir()
    for number, path in enumerate((clip, other_clip)):
        shutil.copy(path, tmp_path / "mosi_clips" / f"talk_{number}.mp4")
    found = bench("pipeline", "--quick", "--data", tmp_path)
    for key in ("av_latency_p50_ms", "av_latency_p95_ms", "cores_speaking", "cores_silent", "rss_mb", "startup_s"):
        assert found[key] > 0, key
    assert found["first_message_s"] >= found["startup_s"]
    assert found["stages_p50_ms"].keys() == {"capture", "extract", "window", "fuse", "deliver"}


@pytest.mark.models
def test_streams_are_counted_each_with_its_messages_and_drops(talk):
    row = streams.measure(talk, 2, 6.5, words=False)
    assert row["missing_messages"] == 0
    assert row["cost"] == pytest.approx(row["cores"] / 2, abs=1e-3)
    assert set(row["dropped"]) >= {"face", "voice", "speech", "fusion"}
    assert row["latency_ms"]["p95"] > 0


def test_streams_are_summed_up_by_medians_and_their_losses_by_the_worst():
    def row(count, cost, p95, lost, *, words=False):
        lag = {"p95": 700.0 if words else None}
        drops = {"face": lost}
        return {
            "streams": count,
            "words": words,
            "cost": cost,
            "latency_ms": {"p95": p95},
            "text_lag_ms": lag,
            "dropped": drops,
            "missing_messages": lost,
        }

    rows = [row(1, 0.2, 70.0, 0), row(8, 0.1, 90.0, 0), row(1, 0.4, 70.0, 0), row(8, 0.9, 300.0, 3)]
    rows += [row(1, 0.3, 70.0, 0), row(8, 0.2, 100.0, 0), row(2, 0.5, 80.0, 0, words=True)]
    found = streams.summary(rows)
    assert found["streams8_cost_ratio"] == pytest.approx(0.2 / 0.3, abs=1e-3)
    assert found["streams8_p95_ms"] == 100.0
    assert found["streams8_missing_messages"] == found["streams8_dropped"]["face"] == 3
    assert found["streams8_runs"] == 3
    assert found["cost_by_streams"] == {"1": 0.3, "8": 0.2}
    assert found["text_lag_p95_ms_by_streams"] == {"2": 700.0}
    assert found["latency_p95_ms_by_streams"] == {"1": 70.0, "8": 100.0}
    assert found["latency_p95_ms_by_streams_with_words"] == {"2": 80.0}


def test_the_figures_of_a_page_come_from_the_benchmarks(tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.keep(file, {"av_latency_p50_ms": 21.5, "fusion_speedup_batch32": 4.0})
    report.fill(page, report.keep(file, {"cores_silent": 0.5, "cost_by_streams": {"1": 0.2, "8": 0.1}}))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "| 21.5 ms | kept |" in next(line for name, line in lines.items() if name.startswith("newest"))
    assert "| 0.5 cores | missed |" in lines["the same in silence"]
    assert "| 4 | missed |" in lines["windows a second at 32, over those at 1 (PyTorch)"]
    assert "not measured" in lines["one window through AGFN"]
    assert "0.2 | 0.1" in lines["cores a stream"]
    page.write_text("no marks")
    with pytest.raises(ValueError, match="figures"):
        report.fill(page, json.loads(file.read_text()))


def test_the_page_of_this_repository_shows_the_figures_it_was_given():
    found = json.loads((ROOT / "docs" / "performance.json").read_text())
    assert report.tables(found) in (ROOT / "docs" / "performance.md").read_text()
