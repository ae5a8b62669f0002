"""Write the arithmetic of the voice as an ONNX graph, compare it with PyTorch, and say how fast both are.

python -m scripts.export_voice

Run it after a change of realtime/extract/voice/prosody_net.py: the live program runs the graph.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.export import trace
from realtime.extract.voice import prosody
from realtime.extract.voice.prosody import BLOCK, GRAPH, PAST, Block, OwnVoice, Prosody
from realtime.extract.voice.prosody_net import ProsodyNet
from scripts.export import ROUNDS, TOLERANCE, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realtime.types import Floats

VOICES = (1, 8)


def write(target: Path = GRAPH) -> Path:
    """Write the graph and return its file."""
    axes = {name: {0: "blocks"} for name in (*prosody.INPUTS, *prosody.OUTPUTS)}
    given = (torch.zeros(2, PAST + BLOCK), torch.from_numpy(_usual(2)))
    return put(target, trace(ProsodyNet(), given, prosody.INPUTS, prosody.OUTPUTS, axes, {"format": prosody.FORMAT}))


def sounds(count: int, seed: int = 0) -> Floats:
    """Made-up blocks (count, PAST + BLOCK): noise of any level, and buzzes of 80 to 400 Hz in it."""
    random = np.random.default_rng(seed)
    t = np.arange(PAST + BLOCK) / 16000
    buzz = np.stack([np.sign(np.sin(2 * np.pi * random.uniform(80, 400) * t)) for _ in range(count)])
    level = 10.0 ** random.uniform(-3, -1, (2, count, 1))
    made: Floats = (level[0] * random.standard_normal(buzz.shape) + level[1] * buzz).astype(np.float32)
    return made


def by_torch(net: ProsodyNet, blocks: Floats, usual: Floats) -> tuple[Floats, Floats]:
    """Vectors and what is usual afterwards, as PyTorch and torchaudio have them."""
    with torch.inference_mode():
        values, heard = net(torch.from_numpy(blocks), torch.from_numpy(usual))
    return values.numpy(), heard.numpy()


def difference(net: ProsodyNet, graph: Prosody, count: int) -> float:
    """Largest difference of any number of the two."""
    blocks = sounds(count)
    voices = [OwnVoice() for _ in blocks]
    values, heard = by_torch(net, blocks, _usual(count))
    found = graph([Block(block, own) for block, own in zip(blocks, voices, strict=True)])
    apart = [np.stack(found) - values, np.stack([own.usual for own in voices]) - heard]
    return max(float(np.abs(one).max()) for one in apart)


def main() -> int:
    """Export, check, report; 1 when the two disagree."""
    torch.set_num_threads(1)
    net, target = ProsodyNet().eval(), write()
    graph = Prosody(target)
    worst = max(difference(net, graph, count) for count in (*VOICES, 64))
    ms = {}
    for count in VOICES:
        blocks, usual = sounds(count), _usual(count)
        ms[f"torch, {count} voices"] = _median_ms(lambda b=blocks, u=usual: by_torch(net, b, u))  # type: ignore[misc]
        ms[f"onnx, {count} voices"] = _median_ms(lambda b=blocks: graph([Block(one, OwnVoice()) for one in b]))  # type: ignore[misc]
    print(json.dumps({"bytes": target.stat().st_size, "largest_difference": worst, "ms": ms}))
    if worst > TOLERANCE:
        target.unlink()
        print(f"error: the graph is off by {worst:.1e}, more than {TOLERANCE:.0e}; it is not kept", file=sys.stderr)
        return 1
    return 0


def _usual(count: int) -> Floats:
    return np.stack([OwnVoice().usual] * count)


def _median_ms(run: Callable[[], object]) -> float:
    times = []
    for _ in range(4 * ROUNDS):
        begin_s = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begin_s))
    return round(float(np.median(times)), 3)


if __name__ == "__main__":
    sys.exit(main())
