"""A picture of where one stream's CPU time goes while somebody speaks.

By stage from the system's clocks of the threads; below that by function, from py-spy's samples of the threads that run
Python. Needs Linux and py-spy. What MediaPipe and CTranslate2 do in threads of their own has no functions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.program import ROOT, STAGES, Program, talk, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

RATE_HZ = 100
SETTLE_S = 6.0
LEAST_SHARE = 0.02
"""Narrower boxes, of the stage's time, are left out."""
DEEPEST = 4
FRAME_RULES = (
    re.compile(r"^(Thread\.|Worker\._guarded|StageWorker\._(run|give)|thread \()"),
    re.compile(
        r"wait|_worker|context_decorator|fan_out|Module\._|shutdown_aware|dispatch|_run_code|<module>|run_module"
    ),
)
COLOURS = {"face": "#4477aa", "transcribe": "#aa3377", "text": "#cc6677", "voice": "#228833", "speech": "#66aa55"}


def samples(pid: int, seconds: float) -> dict[int, Counter[tuple[str, ...]]]:
    """Stacks of each thread, the outermost function first, with how often each was seen.

    Raises:
        RuntimeError: py-spy is not there or may not look.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stacks.txt"
        command = [
            str(Path(sys.executable).with_name("py-spy")),
            "record",
            "-p",
            str(pid),
            "-d",
            str(round(seconds)),
            "-r",
            str(RATE_HZ),
            "-t",
        ]
        done = subprocess.run(
            [*command, "--nonblocking", "-f", "raw", "-o", str(file)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"py-spy: {done.stderr.strip()[-300:]}")
        found: dict[int, Counter[tuple[str, ...]]] = {}
        for line in file.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            thread = re.match(r"thread \((\d+)\)", frames[0])
            if thread and not FRAME_RULES[1].search(frames[-1]):
                names = tuple(_short(frame) for frame in frames if not any(rule.search(frame) for rule in FRAME_RULES))
                found.setdefault(int(thread[1]), Counter())[names] += int(count)
        return found


def _short(frame: str) -> str:
    return re.sub(r" \(.*\)$", "", frame).replace(".<locals>", "")


def tree(
    cores: dict[int, tuple[str, float]], stacks: dict[int, Counter[tuple[str, ...]]]
) -> dict[tuple[str, ...], float]:
    """Cores of each path stage / function / ...; a thread without samples counts for its stage alone."""
    paths: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for thread, (name, used) in cores.items():
        stage = STAGES.get(name, "MQTT, ticks, file")
        native = {"drishti": ("MediaPipe",), "whisper": ("CTranslate2",)}.get(name)
        seen = stacks.get(thread)
        if native or not seen:
            path: tuple[str, ...] = (stage, *(native or (name,)))
            paths[path] += used
            continue
        for stack, count in seen.items():
            path = (stage, *(stack[:DEEPEST] or (name,)))
            paths[path] += used * count / seen.total()
    return paths


def by_stage(paths: dict[tuple[str, ...], float]) -> list[tuple[str, float]]:
    """Cores of each stage, the busiest first."""
    stages: defaultdict[str, float] = defaultdict(float)
    for path, used in paths.items():
        stages[path[0]] += used
    return sorted(stages.items(), key=lambda item: -item[1])


def draw(paths: dict[tuple[str, ...], float], target: Path, title: str) -> None:
    """Draw a row per stage: its cores as a bar, and beside it its functions, each above those that it calls."""
    import matplotlib as mpl  # noqa: PLC0415 - only for the picture

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    stages = by_stage(paths)
    depths = [min(DEEPEST, max(len(path) for path in paths if path[0] == stage) - 1) for stage, _ in stages]
    figure, rows = plt.subplots(
        len(stages),
        2,
        figsize=(15, 0.28 * sum(depths) + 0.25 * len(stages) + 0.6),
        dpi=110,
        squeeze=False,
        gridspec_kw={"width_ratios": (1, 4), "height_ratios": depths, "hspace": 0.25, "wspace": 0.02},
    )
    for (bar, boxes), (stage, used), depth in zip(rows, stages, depths, strict=True):
        colour = COLOURS.get(stage, "#888888")
        bar.barh(0.5, used, 0.8, color=colour)
        bar.text(used, 0.5, f" {stage}  {used:.3f}", va="center", fontsize=9)
        bar.set(xlim=(0, 2.2 * stages[0][1]), ylim=(0, 1))
        boxes.set(xlim=(0, 1), ylim=(depth, 0))
        inside = {path[1:]: share / used for path, share in paths.items() if path[0] == stage}
        _boxes(boxes, inside, 0, 0.0, colour)
        for axes in (bar, boxes):
            axes.axis("off")
    figure.suptitle(title, x=0.125, y=0.99, ha="left", va="top", fontsize=11)
    figure.subplots_adjust(top=0.94, bottom=0.02)
    figure.savefig(target, bbox_inches="tight")
    plt.close(figure)


def _boxes(axes: Axes, paths: dict[tuple[str, ...], float], level: int, left: float, colour: str) -> None:
    groups: dict[str, dict[tuple[str, ...], float]] = {}
    for path, used in paths.items():
        if level < min(len(path), DEEPEST):
            groups.setdefault(path[level], {})[path] = used
    for name, inside in sorted(groups.items(), key=lambda item: -sum(item[1].values())):
        width = sum(inside.values())
        if width >= LEAST_SHARE:
            shade = max(0.25, 0.85 - 0.12 * level)
            axes.barh(level + 0.5, width, 0.92, left, color=colour, alpha=shade, ec="white", align="center")
            room = int(130 * width)
            if room >= 4:
                text = name if len(name) <= room else name[: room - 1] + "…"
                axes.text(left + 0.004, level + 0.5, text, va="center", fontsize=7.5, clip_on=True)
            _boxes(axes, inside, level + 1, left, colour)
        left += width


def main(options: Sequence[str]) -> dict[str, Any]:
    """Write the picture and print one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py profile", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--out", type=Path, default=ROOT / "docs" / "profile.png")
    cli.add_argument("--quick", action="store_true", help="a few seconds, nothing is written")
    args, _ = cli.parse_known_args(options)
    seconds = 5.0 if args.quick else 30.0
    with tempfile.TemporaryDirectory() as folder:
        clips = sorted((args.data / "mosi_clips").glob("*.mp4"))
        clip = talk(clips, Path(folder) / "talk.mkv", seconds + SETTLE_S + 10, 0.0)
        with Program(["--source", str(clip)]) as program:
            while not program.sentiments() and program.process.poll() is None:
                time.sleep(0.1)
            time.sleep(SETTLE_S)
            begin_s, before = time.monotonic(), threads(program.process.pid)
            stacks = samples(program.process.pid, seconds)
            elapsed_s, after = time.monotonic() - begin_s, threads(program.process.pid)
    cores = {
        thread: (name, (cpu_s - before.get(thread, (name, 0.0))[1]) / elapsed_s)
        for thread, (name, cpu_s) in after.items()
    }
    paths = tree(cores, stacks)
    total = sum(paths.values())
    if not args.quick:
        draw(paths, args.out, f"One stream, camera at 15 frames/s, voice and words, somebody speaks: {total:.2f} cores")
    result = {"profile_cores": {stage: round(used, 3) for stage, used in by_stage(paths)}}
    print(json.dumps(result))
    return result
