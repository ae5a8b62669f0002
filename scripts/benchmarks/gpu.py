"""Every stage that can run on a CUDA device, by batch size, and how many streams one device would serve.

Times are whole calls as the host sees them: copying to the device and back included, medians of several. AGFN and
Whisper run on the GPU in the program (`--config configs/gpu.yaml`): AGFN in batches, Whisper one decode after another,
in batches in the ASR pool of a fleet. Text line and voice do not yet, and are measured to know what that would bring.
Face and speech detector have no CUDA path. Send us the last line: docs/performance.md says how.
"""

from __future__ import annotations

import argparse
import importlib
import json
from typing import TYPE_CHECKING, Any

from realtime.clock import MonotonicClock
from realtime.config.load import load
from realtime.errors import UsageError
from realtime.extract.voice.prosody import BLOCK
from realtime.fuse.worker import fuser_of
from realtime.system import cuda
from realtime.types import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.config.schema import Config

BATCHES: dict[str, tuple[int, ...]] = {
    "agfn": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "whisper": (1, 2, 4, 8, 16, 32, 64),
    "text_mpnet": (1, 4, 16, 64, 256),
    "text_minilm": (1, 4, 16, 64, 256),
    "voice": (1, 8, 64, 512),
}
SMALL: dict[str, tuple[int, ...]] = {
    "agfn": (1, 4),
    "whisper": (1, 2),
    "text_minilm": (2,),
    "voice": (4,),
}
"""Sizes for a CPU, which is there to see that everything works."""
ROUNDS, FEW_ROUNDS = 21, 1
PARTS = ("stages", "machine")
Table = dict[str, dict[str, float | None]]


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a row per stage and, last, one line of JSON; without the device, say so and end with 2."""
    cli = argparse.ArgumentParser(prog="bench.py gpu", description=__doc__)
    cli.add_argument("--device", default="cuda", metavar="cuda[:N]|cpu", help="cpu: small sizes, to see that it works")
    cli.add_argument("--quick", action="store_true", help="small sizes on the device, too")
    args, _ = cli.parse_known_args(options)
    device = "cuda" if args.device == "auto" else args.device
    try:
        config, _ = load(sets=[f"fusion.device={device}", "fusion.backend=torch", f"asr.device={device}"])
    except UsageError as error:
        cli.error(str(error))
    if device != "cpu" and int(device.partition(":")[2] or 0) >= cuda.devices():
        cli.exit(2, f"bench gpu: there is no {device} here; --device cpu shows that the command works\n")
    # PyTorch takes seconds to say no.
    gpu_stages, gpu_machine = (importlib.import_module(f"scripts.benchmarks.gpu_{name}") for name in PARTS)
    small = args.quick or device == "cpu"
    fuser = fuser_of(config, MonotonicClock())
    stages = gpu_stages.stages(config, device, fuser)
    table: Table = {}
    for name, sizes in (SMALL if small else BATCHES).items():
        table[name] = gpu_stages.by_batch(stages[name](), sizes, FEW_ROUNDS if small else ROUNDS)
        shown = "  ".join(f"{size}: {'too large' if ms is None else f'{ms:.2f}'}" for size, ms in table[name].items())
        print(f"{name}, ms by batch: {shown}", flush=True)
    result = {
        "gpu": gpu_machine.facts(device),
        "gpu_ms": table,
        "gpu_agfn_half": getattr(fuser.engine, "half", False),
        **summary(table, config),
    }
    print(json.dumps(result))
    return result


def per_second(config: Config) -> dict[str, float]:
    """How often a stream in which somebody talks all the time needs each stage, at the configured steps."""
    decodes = 1 / config.asr.step_s
    return {
        "agfn": 1 / config.window.hop_s,
        "whisper": decodes,
        "text_mpnet": decodes,
        "text_minilm": decodes,
        "voice": SAMPLE_RATE_HZ / BLOCK,
    }


def summary(table: Mapping[str, Mapping[str, float | None]], config: Config) -> dict[str, Any]:
    """Streams that a device would serve, computed from the times: by stage, and for what runs there together.

    A stage's is at its best batch; together they take turns. The CPU, which has the faces, is not counted.
    """
    needs = per_second(config)
    streams = {name: best(times, needs[name]) for name, times in table.items()}
    alone = best({"1": table["whisper"]["1"]}, needs["whisper"])
    text = "text_mpnet" if "text_mpnet" in streams else "text_minilm"
    return {
        "gpu_streams_by_stage": streams,
        "gpu_streams": together([streams["agfn"], alone]),
        "gpu_streams_of_a_pool": together([streams["agfn"], streams["whisper"]]),
        "gpu_streams_with_text_and_voice": together([streams[name] for name in ("agfn", "whisper", text, "voice")]),
    }


def best(times: Mapping[str, float | None], per_stream: float) -> float:
    """Streams that a stage serves at its best batch; 0 where none fits."""
    rates = [1000 * int(size) / ms for size, ms in times.items() if ms]
    return round(max(rates, default=0.0) / per_stream, 1)


def together(streams: Sequence[float]) -> float:
    """Streams that one device serves when stages that would serve so many each share its time."""
    return round(1 / sum(1 / count for count in streams), 1) if all(streams) else 0.0
