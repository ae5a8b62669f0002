"""What each import and each model costs in memory and time, in a process of its own; and what whole runs take.

A row says what came on top of the rows before it: resident memory, what of it is anonymous (not backed by a file, so
it can't be dropped when memory gets short), and CPU seconds. A run plays the demo as a user does; a stream of it is a
camera, a microphone and words.
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


def run(count: int, length_s: float) -> int:
    """Run the demo as so many streams; return the most memory of the process in MB."""
    from realtime.demo.clip import clip  # noqa: PLC0415 - makes the clip

    streams = ", ".join(f"{{name: s{number}, source: {clip()}}}" for number in range(count))
    with Program(["--device", "cpu", "--duration", str(length_s), "--set", f"streams=[{streams}]"]) as program:
        program.wait(length_s + 120)
        return round(max(one.rss_mb for one in program.usage) * 1e6 / 2**20)


def measure(runs: int, length_s: float = LENGTH_S) -> dict[str, Any]:
    """The keys of this part of the benchmark; medians of the runs."""
    found = {count: float(np.median([run(count, length_s) for _ in range(runs)])) for count in STREAMS}
    one, most = STREAMS[0], STREAMS[-1]
    return {
        "memory_parts": parts(),
        "memory_mb_by_streams": {str(count): rss_mb for count, rss_mb in found.items()},
        "memory_mb_one_stream": found[one],
        "memory_mb_further_stream": round((found[most] - found[one]) / (most - one), 1),
    }


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Return the rows in Markdown."""
    head = "| import or model, on top of those above | MB resident | of it anonymous | CPU seconds |\n"
    head += "| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {name} | {rss:g} | {'not told' if own is None else f'{own:g}'} | {spent:g} |\n"
        for name, rss, own, spent in rows
    )
