"""What each import and each model costs in memory and time, in a process of its own; and what whole runs take.

A row says what came on top of the rows before it: resident memory, what of it is anonymous (not backed by a file, so it
can't be dropped when memory gets short), and seconds. A run plays the demo as a user does; a stream of it is a camera,
a microphone and words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.benchmarks.program import ROOT, Program

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAMS = (1, 2, 4)
LENGTH_S = 25.0
"""Of a run: each model has worked by then, the second reading included."""


def parts() -> list[list[Any]]:
    """Rows of name, MB resident, MB anonymous, seconds; as memory_steps.py takes them."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.memory_steps"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(count: int, length_s: float) -> dict[str, float]:
    """Run the demo as so many streams: seconds to the first message, and the most memory of the process in MB."""
    from realtime.demo.clip import clip  # noqa: PLC0415 - makes the clip

    streams = ", ".join(f"{{name: s{number}, source: {clip()}}}" for number in range(count))
    with Program(["--device", "cpu", "--duration", str(length_s), "--set", f"streams=[{streams}]"]) as program:
        program.wait(length_s + 120)
        first_s = program.sentiments()[0].at_s - program.begin_s
        return {"first_s": round(first_s, 2), "rss_mb": round(max(one.rss_mb for one in program.usage) * 1e6 / 2**20)}


def measure(runs: int, length_s: float = LENGTH_S) -> dict[str, Any]:
    """The keys of this part of the benchmark; medians of the runs."""
    found = {count: [run(count, length_s) for _ in range(runs)] for count in STREAMS}
    middle = {
        count: {key: float(np.median([one[key] for one in rows])) for key in rows[0]} for count, rows in found.items()
    }
    one, most = STREAMS[0], STREAMS[-1]
    return {
        "memory_parts": parts(),
        "memory_mb_by_streams": {str(count): row["rss_mb"] for count, row in middle.items()},
        "memory_mb_one_stream": middle[one]["rss_mb"],
        "memory_mb_further_stream": round((middle[most]["rss_mb"] - middle[one]["rss_mb"]) / (most - one), 1),
        "first_message_s": middle[one]["first_s"],
    }


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Return the rows in Markdown."""
    head = "| what | MB resident | of it anonymous | seconds |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {name} | {rss:g} | {'not told' if own is None else f'{own:g}'} | {spent:g} |\n"
        for name, rss, own, spent in rows
    )
