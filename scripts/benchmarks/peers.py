"""Our recogniser beside others: the same sound at its own pace, the same scoring, one after the other in one run.

Each hears it in a process of its own. A word is right, appeared first, and was committed by alignment of the texts with
what was said (appeared.py); cores are CPU seconds a second of sound, of the process and its children. What else
the machine did meanwhile is told with each run (`others`, in cores). The second reading of ours is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from realtime.config.schema import AsrConfig
from realtime.extract.asr.whisper import find
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks import peer_child, plain, sound
from scripts.benchmarks.appeared import Shown, lags
from scripts.benchmarks.lag import percentiles
from scripts.benchmarks.peer_environment import PEERS, PeerError, environ, python_of, reason
from scripts.benchmarks.program import ROOT, median
from scripts.benchmarks.words import ErrorRate
from scripts.harness.sound import write_wav

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.benchmarks.sound import Clip

OURS = "ours"
LENGTH_S, QUICK_S = 120.0, 12.0
CLIPS = 40
PAUSES_S = (0.6, 2.5, 1.0, 8.0, 0.3)
LOAD_S, TAIL_S = 180.0, 120.0
"""How long a peer may load its models, and work on after the last sound, until it is given up."""


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a row per run and, last, one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py peers", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--length", type=float, default=LENGTH_S, help="seconds of sound")
    cli.add_argument("--runs", type=int, default=1, help="medians of so many runs of each, in turns")
    cli.add_argument("--only", choices=PEERS, nargs="*", default=list(PEERS), help="these peers, beside ours")
    cli.add_argument("--quick", action="store_true", help=f"{QUICK_S:g} s of sound: to see that it works")
    args, _ = cli.parse_known_args(options)
    clip = stream(args.data, QUICK_S if args.quick else args.length)
    commands: dict[str, list[str]] = {OURS: [sys.executable, "-m", "scripts.benchmarks.peer_child"]}
    found: dict[str, dict[str, Any]] = {OURS: {"label": "AGFN Live"}}
    for name in args.only:
        found[name] = {"label": PEERS[name].label}
        try:
            commands[name] = [str(python_of(name)), "-I", peer_child.__file__]
        except PeerError as error:
            found[name]["missing"] = str(error)
            print(f"{name}: {error}", flush=True)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        path = write_wav(Path(folder) / "sound.wav", clip.sound)
        for name in [name for _ in range(args.runs) for name in commands if "missing" not in found[name]]:
            try:
                runs[name].append(measure(name, commands[name], clip, path))
                print(json.dumps({"name": name, **runs[name][-1]}), flush=True)
            except PeerError as error:
                if name == OURS:
                    raise
                found[name]["missing"] = str(error)
                print(f"{name}: {error}", flush=True)
    for name, rows in runs.items():
        if rows and "missing" not in found[name]:
            found[name] |= {key: median([row[key] for row in rows]) for key in rows[0]}
    result = {
        "peers": found,
        "peers_sound_s": round(len(clip.sound) / SAMPLE_RATE_HZ, 1),
        "peers_words": len(clip.words),
        "peers_runs": args.runs,
    }
    print(json.dumps(result))
    return result


def stream(data: Path, length_s: float) -> Clip:
    """Clips of all speakers in turn, with pauses between them, and the times of their words."""
    whisper = plain.load(AsrConfig())
    clips = [sound.align(clip, whisper) for clip in sound.mosi(data, CLIPS)]
    # In the order of the corpus a short stream would be one speaker alone: every seventh, then the ones after those.
    return sound.join([clip for first in range(7) for clip in clips[first::7]], length_s, PAUSES_S)


def measure(name: str, command: Sequence[str], clip: Clip, path: Path) -> dict[str, float]:
    """Let one recogniser hear the sound, and score what it showed.

    Raises:
        PeerError: it does not run here.
    """
    length_s = len(clip.sound) / SAMPLE_RATE_HZ
    shown, usage = hear([*command, name, str(path), str(find(AsrConfig().hears_with))], environ(name), length_s)
    rate = ErrorRate()
    rate.add(clip.text, shown[-1].committed if shown else "")
    words = lags(clip, shown)
    if not words:
        raise PeerError("heard no word as it was said")
    first, committed = (percentiles([getattr(lag, key) for lag in words]) for key in ("tentative_s", "committed_s"))
    return {
        "first_p50_s": round(first[0], 3),
        "first_p95_s": round(first[1], 3),
        "committed_p50_s": round(committed[0], 3),
        "committed_p95_s": round(committed[1], 3),
        "wer": round(rate.value, 4),
        "words_right": len(words),
        **usage,
    }


def hear(command: Sequence[str], env: Mapping[str, str], length_s: float) -> tuple[list[Shown], dict[str, float]]:
    """Run a recogniser as peer_child.py does; return what it showed, cores, memory, and cores of all else meanwhile.

    Raises:
        PeerError: it failed, or is given up.
    """
    shown: list[Shown] = []
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
    ):
        limit = threading.Timer(LOAD_S + length_s + TAIL_S, child.kill)
        limit.start()
        try:
            said = _lines(child.stdout)
            if "ready" in next(said, {}) and child.stdin is not None:
                begin = _usage(child.pid)
                child.stdin.write("\n")
                child.stdin.flush()
                for line in said:
                    if "end" in line:
                        usage = {name: after - begin[name] for name, after in _usage(child.pid).items()}
                        return shown, _cores(usage, psutil.Process(child.pid).memory_info().rss, length_s)
                    shown.append(Shown(**line))
        finally:
            limit.cancel()
            child.kill()  # it has nothing more to say
        child.wait()
        log.seek(0)
        raise PeerError(f"does not run: {reason(log.read())}")


def _lines(out: IO[str] | None) -> Any:  # noqa: ANN401 - an iterator of objects
    return (json.loads(line) for line in out or ())


def _usage(pid: int) -> dict[str, float]:
    """CPU seconds of a process and its children, and of the whole machine, at a time."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    machine = psutil.cpu_times()
    idle_s = machine.idle + getattr(machine, "iowait", 0.0)
    return {"own": sum(one.user + one.system for one in times), "idle": idle_s, "wall": time.monotonic()}


def _cores(usage: Mapping[str, float], rss: int, length_s: float) -> dict[str, float]:
    busy = (os.cpu_count() or 1) * usage["wall"] - usage["idle"]
    others = max(0.0, busy - usage["own"]) / usage["wall"]
    return {"cores": round(usage["own"] / length_s, 3), "rss_mb": round(rss / 2**20), "others": round(others, 2)}
