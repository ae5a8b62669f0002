"""Several streams in one process: cost, latency and drops against their number, with and without the recogniser.

Each stream plays the same talking file at real pace, 5 pictures a second. Cost is CPU seconds per stream second.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pipeline import SETTLE_S, av_latency_ms, parse
from benchmarks.program import Program, quantiles, talk

from realtime.config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTS = {"voice and face": (1, 2, 4, 8, 16), "with words": (1, 2, 4)}
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


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a row per number of streams and, last, one line of JSON."""
    args = parse(options)
    length_s = 12.0 if args.quick else LENGTH_S
    counts = {"voice and face": (1, 8)} if args.quick else COUNTS
    clips = sorted((args.data / "mosi_clips").glob("*.mp4"))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = talk(clips, Path(folder) / "talk.mkv", length_s, 0.0, FPS)
        for kind, numbers in counts.items():
            for count in numbers:
                rows.append(measure(clip, count, length_s, words=kind == "with words"))
                print(json.dumps(rows[-1]), flush=True)
    quiet = {row["streams"]: row for row in rows if not row["words"]}
    result = {
        "streams8_p95_ms": quiet[8]["latency_ms"]["p95"],
        "streams8_cost_ratio": round(quiet[8]["cost"] / quiet[1]["cost"], 3),
        "streams8_dropped": quiet[8]["dropped"],
        "streams8_missing_messages": quiet[8]["missing_messages"],
        "cost_by_streams": {str(row["streams"]): row["cost"] for row in rows if not row["words"]},
        "cost_by_streams_with_words": {str(row["streams"]): row["cost"] for row in rows if row["words"]},
        "text_lag_p95_ms_by_streams": {str(row["streams"]): row["text_lag_ms"]["p95"] for row in rows if row["words"]},
    }
    print(json.dumps(result))
    return result
