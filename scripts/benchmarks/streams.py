"""Several streams in one process: cost, latency and drops against their number, with and without the recogniser.

Each stream plays the same talking file at real pace, 5 pictures a second. Cost is CPU seconds per stream second. One
stream and eight, which the bars compare, run `--runs` times in turns, and their medians count; the others run once.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.benchmarks.pipeline import SETTLE_S, av_latency_ms, grid, parse
from scripts.benchmarks.program import Program, median, quantiles, talk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BARS = (1, 8)
ONCE = [(2, False), (4, False), (16, False), (1, True), (2, True), (4, True), (6, True)]
"""The other runs: how many streams, with words or without."""
LENGTH_S = 30.0
FPS = 5


def measure(clip: Path, count: int, length_s: float, *, words: bool) -> dict[str, Any]:
    """Run `count` streams once."""
    streams = ", ".join(f"{{name: s{number}, source: {clip}}}" for number in range(count))
    options = [
        "--set",
        f"streams=[{streams}]",
        "--set",
        f"camera.max_fps={FPS}",
        "--set",
        f"asr.enabled={words}".lower(),
    ]
    with Program(options) as program:
        program.wait(length_s + 120)
        sentiments = program.sentiments()
        start_s = sentiments[0].at_s - sentiments[0].body["window"]["end_s"]
        steady = grid(sentiments, SETTLE_S, length_s)
        latency = [value for heard in steady if (value := av_latency_ms(heard)) is not None]
        lags = [lag for heard in steady if (lag := heard.body["latency_ms"]["text_lag"]) is not None]
        last = {heard.stream: heard.body for heard in program.heard if heard.kind == "health"}
        channels = [
            (name, part["channel"])
            for body in last.values()
            for name, part in body["components"].items()
            if part["channel"]
        ]
        dropped = {name: sum(one["dropped"] for other, one in channels if other == name) for name, _ in channels}
        wanted = count * sum(1 for heard in steady if heard.stream == "s0")
        cores = program.cores(start_s + SETTLE_S, start_s + length_s)
        return {
            "streams": count,
            "words": words,
            "latency_ms": quantiles(latency),
            "text_lag_ms": quantiles(lags),
            "cores": round(cores, 3),
            "cores_by_stage": program.cores_by_stage(start_s + SETTLE_S, start_s + length_s),
            "cost": round(cores / count, 4),
            "rss_mb": round(max(sample.rss_mb for sample in program.usage)),
            "dropped": dropped,
            "missing_messages": wanted - len(steady),
        }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys of this benchmark: medians over the rows of the same streams; what was lost is the most of any run."""
    quiet = [row for row in rows if not row["words"]]
    worded = [row for row in rows if row["words"]]
    one, eight = ([row for row in quiet if row["streams"] == count] for count in BARS)
    return {
        "streams8_p95_ms": median([row["latency_ms"]["p95"] for row in eight], 1),
        "streams8_cost_ratio": round(
            float(np.median([row["cost"] for row in eight]) / np.median([row["cost"] for row in one])), 3
        ),
        "streams8_dropped": {name: max(row["dropped"][name] for row in eight) for name in eight[0]["dropped"]},
        "streams8_missing_messages": max(row["missing_messages"] for row in eight),
        "streams8_runs": len(eight),
        "cost_by_streams": _by_streams(quiet, lambda row: row["cost"]),
        "cost_by_streams_with_words": _by_streams(worded, lambda row: row["cost"]),
        "latency_p95_ms_by_streams": _by_streams(quiet, lambda row: row["latency_ms"]["p95"]),
        "latency_p95_ms_by_streams_with_words": _by_streams(worded, lambda row: row["latency_ms"]["p95"]),
        "text_lag_p95_ms_by_streams": _by_streams(worded, lambda row: row["text_lag_ms"]["p95"]),
    }


def _by_streams(
    rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]
) -> dict[str, float | None]:
    counts = sorted({row["streams"] for row in rows})
    return {str(count): median([value(row) for row in rows if row["streams"] == count], 4) for count in counts}


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a row per run and, last, one line of JSON."""
    args = parse(options)
    length_s = 12.0 if args.quick else LENGTH_S
    plan = [(count, False) for count in BARS]
    if not args.quick:
        plan = plan * args.runs + ONCE
    clips = sorted((args.data / "mosi_clips").glob("*.mp4"))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = talk(clips, Path(folder) / "talk.mkv", length_s, 0.0, FPS)
        for count, words in plan:
            rows.append(measure(clip, count, length_s, words=words))
            print(json.dumps(rows[-1]), flush=True)
    result = summary(rows)
    print(json.dumps(result))
    return result
