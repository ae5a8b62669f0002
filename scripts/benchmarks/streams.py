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
from benchmarks.pipeline import SETTLE_S, av_latency_ms, parse
from benchmarks.program import Program, quantiles, talk

from realtime.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BARS = (1, 8)
COUNTS = {"voice and face": (2, 4, 16), "with words": (1, 2, 4)}
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
        steady = [heard for heard in sentiments if SETTLE_S < heard.body["window"]["end_s"] < length_s]
        lateness_ms = Config().window.lateness_s * 1000
        latency = [value for heard in steady if (value := av_latency_ms(heard, lateness_ms)) is not None]
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
    eight = [row for row in quiet if row["streams"] == max(BARS)]
    cost = _medians(quiet, lambda row: row["cost"])
    return {
        "streams8_p95_ms": round(float(np.median([row["latency_ms"]["p95"] for row in eight])), 1),
        "streams8_cost_ratio": round(cost[str(max(BARS))] / cost[str(min(BARS))], 3),
        "streams8_dropped": {name: max(row["dropped"][name] for row in eight) for name in eight[0]["dropped"]},
        "streams8_missing_messages": max(row["missing_messages"] for row in eight),
        "streams8_runs": len(eight),
        "cost_by_streams": cost,
        "cost_by_streams_with_words": _medians(worded, lambda row: row["cost"]),
        "text_lag_p95_ms_by_streams": _medians(worded, lambda row: row["text_lag_ms"]["p95"]),
    }


def _medians(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float | None]) -> dict[str, float]:
    by_count: dict[int, list[float]] = {}
    for row in rows:
        if (found := value(row)) is not None:
            by_count.setdefault(row["streams"], []).append(found)
    return {str(count): round(float(np.median(found)), 4) for count, found in sorted(by_count.items())}


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a row per run and, last, one line of JSON."""
    args = parse(options)
    length_s = 12.0 if args.quick else LENGTH_S
    plan = [(count, False) for _ in range(1 if args.quick else args.runs) for count in BARS]
    if not args.quick:
        plan += [(count, kind == "with words") for kind, counts in COUNTS.items() for count in counts]
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
