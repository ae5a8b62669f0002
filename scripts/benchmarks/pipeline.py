"""One stream in real time, from a file that talks and then is silent to a subscriber of its broker.

`av` is the time from the newest sample of face and voice in a window to the message at the subscriber; the stages are
those of the message. `word` is the time from the commitment of a word to the message that has it: of any, of an opinion
word, and of an opinion word had it waited for its hop. CPU is of the whole process and its embedded broker. Medians of
the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime.recording.reader import open_recordings
from scripts.benchmarks.program import Heard, Program, median, quantiles, talk
from scripts.benchmarks.recorded import late_windows, word_waits

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEAK_S, SILENT_S = 40.0, 30.0
SETTLE_S = 5.0
"""After the start, and after the last word, before anything is counted."""


def parse(options: Sequence[str]) -> argparse.Namespace:
    """Options of `bench.py pipeline`."""
    cli = argparse.ArgumentParser(prog="bench.py pipeline", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--runs", type=int, default=5)
    cli.add_argument("--quick", action="store_true", help="one short run: to see that it works")
    args, _ = cli.parse_known_args(options)
    return args


def av_latency_ms(heard: Heard) -> float | None:
    """From the newest sample of face and voice to the subscriber."""
    ages = [heard.body["modalities"][name]["age_ms"] for name in ("voice", "face")]
    known = [age for age in ages if age is not None]
    since_end_ms = heard.body["latency_ms"]["window"]
    return min(known) + since_end_ms + heard.delivery_ms if known else None


def grid(heard: Sequence[Heard], begin_s: float, end_s: float) -> list[Heard]:
    """Messages of windows that end between two times, without those that words have between two hops."""
    inside = [one for one in heard if begin_s < one.body["window"]["end_s"] < end_s]
    return [one for one in inside if one.body.get("reason", "hop") == "hop"]


def measure(clip: Path, speak_s: float, silent_s: float) -> dict[str, Any]:
    """One run."""
    kept = clip.parent / f"session-{time.monotonic_ns()}"
    with Program(["--source", str(clip), "--record", str(kept)]) as program:
        program.wait(speak_s + silent_s + 120)
        sentiments = program.sentiments()
        if len(sentiments) < 8:
            raise RuntimeError(f"only {len(sentiments)} messages: too few to measure")
        start_s = sentiments[0].at_s - sentiments[0].body["window"]["end_s"]
        steady = grid(sentiments, SETTLE_S, speak_s)
        latency = [value for heard in steady if (value := av_latency_ms(heard)) is not None]
        recording = open_recordings(kept)[0]
        waits, (windows, late) = word_waits(recording), late_windows(recording)
        newest = [sample.rss_mb for sample in program.usage]
        by_stage = {
            name: quantiles([heard.body["latency_ms"][name] for heard in steady])
            for name in ("capture", "extract", "fuse", "window")
        }
        lags = [heard.body["latency_ms"]["text_lag"] for heard in steady]
        return {
            "av": quantiles(latency),
            "stages_ms": by_stage | {"deliver": quantiles([heard.delivery_ms for heard in steady])},
            "text_lag_ms": quantiles([lag for lag in lags if lag is not None]),
            "word_ms": {name: quantiles(values) | {"count": len(values)} for name, values in waits.items()},
            "cores_speaking": program.cores(start_s + SETTLE_S, start_s + speak_s),
            "cores_silent": program.cores(start_s + speak_s + SETTLE_S, start_s + speak_s + silent_s),
            "cores_by_stage": program.cores_by_stage(start_s + SETTLE_S, start_s + speak_s),
            "cores_by_stage_silent": program.cores_by_stage(start_s + speak_s + SETTLE_S, start_s + speak_s + silent_s),
            "rss_mb": max(newest),
            "startup_s": start_s - program.begin_s,
            "first_message_s": sentiments[0].at_s - program.begin_s,
            "messages": len(sentiments),
            "windows": windows,
            "windows_closed_too_early": late,
        }


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print each run and, last, one line of JSON."""
    args = parse(options)
    speak_s, silent_s, runs = (12.0, 10.0, 1) if args.quick else (SPEAK_S, SILENT_S, args.runs)
    clips = sorted((args.data / "mosi_clips").glob("*.mp4"))
    with tempfile.TemporaryDirectory() as folder:
        clip = talk(clips, Path(folder) / "talk.mkv", speak_s, silent_s)
        made = []
        for _ in range(runs):
            made.append(measure(clip, speak_s, silent_s))
            print(json.dumps(made[-1]), flush=True)
    result = {
        "av_latency_p50_ms": median([run["av"]["p50"] for run in made]),
        "av_latency_p95_ms": median([run["av"]["p95"] for run in made]),
        "av_latency_p99_ms": median([run["av"]["p99"] for run in made]),
        **{
            key: median([run[key] for run in made])
            for key in ("cores_speaking", "cores_silent", "rss_mb", "startup_s", "first_message_s")
        },
        **{
            f"{name}_{level}_ms": median([run["word_ms"][name][level] for run in made])
            for name in made[0]["word_ms"]
            for level in ("p50", "p95")
        },
        "text_lag_p50_ms": median([run["text_lag_ms"]["p50"] for run in made]),
        "stages_p50_ms": {
            name: median([run["stages_ms"][name]["p50"] for run in made]) for name in made[0]["stages_ms"]
        },
        **{key: made[len(made) // 2][key] for key in ("cores_by_stage", "cores_by_stage_silent")},
        "windows": sum(run["windows"] for run in made),
        "windows_closed_too_early": sum(run["windows_closed_too_early"] for run in made),
        "runs": runs,
    }
    print(json.dumps(result))
    return result
