"""The fusion alone: windows a second and time a batch for 1 to 512 windows, beside MulT and others on the same windows.

AGFN runs as it does live, with padding and copying of the windows (`Fuser.fuse`): by the backend that the program
chooses (`AGFN`), and by each. MulT gets the same sequences, of the same width, one cross-modal layer a pair instead
of the paper's four, which is in its favour. TFN, LMF and MISA (scripts/evaluation/baselines.py) take one vector a
modality, the mean over its steps. All on one thread, in turns: a busy machine meets all alike.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from realtime.clock import MonotonicClock
from realtime.config.load import load
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_INPUT_DIM
from realtime.fuse.collate import collate
from realtime.fuse.torch_engine import tensors
from realtime.fuse.worker import fuser_of
from realtime.types import MODALITIES, Segment, WindowView
from scripts.evaluation.baselines import Lmf, Misa, Tfn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from realtime.config.schema import Config
    from realtime.types import Modality

SHAPES: dict[Modality, tuple[int, int]] = {
    "text": (11, TEXT_DIM),
    "voice": (40, VOICE_INPUT_DIM),
    "face": (60, FACE_DIM),
}
"""Steps and width of a full window: 4 s of speech at 2.6 words/s, 10 blocks/s of voice and 15 frames/s of face."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LENGTHS_S = (1.0, 2.0, 4.0, 8.0)
WIDTH = 64


class SequenceMulT(nn.Module):
    """MulT (Tsai et al. 2019, arXiv 1906.00295) on sequences: every pair by cross-modal attention, then self-attention.

    Its first convolution, attention, feed-forward and residuals are the paper's; one layer of each transformer.
    """

    def __init__(self, inputs: Mapping[str, int], heads: int = 4) -> None:
        super().__init__()
        self.entry = nn.ModuleDict({name: nn.Conv1d(size, WIDTH, 1, bias=False) for name, size in inputs.items()})
        pairs = [(a, b) for a in inputs for b in inputs if a != b]
        self.attend = nn.ModuleDict(
            {f"{a}-{b}": nn.MultiheadAttention(WIDTH, heads, batch_first=True) for a, b in pairs}
        )
        self.feed = nn.ModuleDict(
            {
                f"{a}-{b}": nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
                for a, b in pairs
            }
        )
        own = (len(inputs) - 1) * WIDTH
        self.memory = nn.ModuleDict(
            {name: nn.TransformerEncoderLayer(own, heads, 4 * own, batch_first=True) for name in inputs}
        )
        self.head = nn.Linear(own * len(inputs), 1)

    def forward(self, values: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> Tensor:
        """Scores (B,) of sequences (B, T, D) with their masks (B, T)."""
        h = {name: entry(values[name].transpose(1, 2)).transpose(1, 2) for name, entry in self.entry.items()}
        last = []
        for target, query in h.items():
            heard = []
            for source, steps in h.items():
                if source != target:
                    key = f"{target}-{source}"
                    found, _ = self.attend[key](query, steps, steps, ~mask[source], need_weights=False)
                    mixed = query + found
                    heard.append(mixed + self.feed[key](mixed))
            memory = self.memory[target](torch.cat(heard, -1), src_key_padding_mask=~mask[target])
            last.append(memory[:, -1])
        score: Tensor = self.head(torch.cat(last, -1)).squeeze(-1)
        return score


def windows(count: int, length_s: float = 4.0) -> list[WindowView]:
    """Full windows of random features: what is in them costs the same."""
    rng = np.random.default_rng(0)

    def segment(steps: int, width: int) -> Segment:
        values = rng.standard_normal((steps, width)).astype(np.float32)
        times_s = np.linspace(-4, 0, steps, dtype=np.float32)
        return Segment(values, times_s, 0.9, "ok", None, 0)

    return [
        WindowView(
            "bench",
            number,
            0,
            0,
            {name: segment(max(1, round(SHAPES[name][0] * length_s / 4)), SHAPES[name][1]) for name in MODALITIES},
        )
        for number in range(count)
    ]


def rivals() -> dict[str, Callable[[Sequence[WindowView]], Any]]:
    """Each method as a function of windows."""
    config, clock = load()[0], MonotonicClock()
    chosen = fuser_of(config, clock)
    plain = fuser_of(_with(config, backend="torch"), clock)
    methods: dict[str, Callable[[Sequence[WindowView]], Any]] = {"AGFN": chosen.fuse, "AGFN torch": plain.fuse}
    if chosen.engine.name == "onnx":
        methods["AGFN onnx"] = fuser_of(_with(config, backend="onnx"), clock).fuse
    widths: dict[str, int] = {name: width for name, (_, width) in SHAPES.items()}
    mult = SequenceMulT(widths).eval()
    vectors = {"TFN": Tfn(widths, 32, 0.0), "LMF": Lmf(widths, 32, 0.0), "MISA": Misa(widths, 32, 0.0)}

    def by_sequence(views: Sequence[WindowView]) -> Tensor:
        values, _, mask, _ = tensors(collate(views))
        found: Tensor = mult(values, mask)
        return found

    def by_vector(model: nn.Module) -> Callable[[Sequence[WindowView]], Any]:
        def score(views: Sequence[WindowView]) -> Any:  # noqa: ANN401 - the tuple of a peer
            values, _, _, reliability = tensors(collate(views))
            return model({name: value.mean(1) for name, value in values.items()}, reliability)

        return score

    return {**methods, "MulT": by_sequence, **{name: by_vector(model.eval()) for name, model in vectors.items()}}


def _with(config: Config, **fusion: object) -> Config:
    return config.model_copy(update={"fusion": config.fusion.model_copy(update={"device": "cpu", **fusion})})


@torch.inference_mode()
def measure(rounds: int, batches: Sequence[int] = BATCHES) -> dict[int, dict[str, float]]:
    """Median milliseconds per batch size and method, all methods in turns."""
    methods = rivals()
    table = {}
    for size in batches:
        views = windows(size)
        spent: dict[str, list[float]] = {name: [] for name in methods}
        for turn in range(rounds + 2):
            for name, score in methods.items():
                begin_s = time.perf_counter()
                score(views)
                if turn >= 2:  # the first ones warm up
                    spent[name].append(1000 * (time.perf_counter() - begin_s))
        table[size] = {name: float(np.median(times)) for name, times in spent.items()}
    return table


def by_length(rounds: int) -> dict[str, float]:
    """Median milliseconds of one window of so many seconds; a long one keeps its newest steps (collate.MAX_STEPS)."""
    fuser = fuser_of(_with(load()[0]), MonotonicClock())
    found = {}
    for length_s in LENGTHS_S:
        views, spent = windows(1, length_s), []
        for _ in range(rounds + 2):
            begin_s = time.perf_counter()
            fuser.fuse(views)
            spent.append(1000 * (time.perf_counter() - begin_s))
        found[f"{length_s:g}"] = round(float(np.median(spent[2:])), 3)
    return found


def summary(table: dict[int, dict[str, float]]) -> dict[str, Any]:
    """The keys of this benchmark from its table.

    `fusion_speedup_batch32` is of the network in PyTorch; `fusion_speedup_batch32_onnx` that of ONNX Runtime, which
    makes a single window so cheap that there is less for a batch to save: compare `fusion_windows_per_s`.
    """
    one, many = table[1], table[32]
    backend = "onnx" if "AGFN onnx" in one else "torch"
    return {
        "fusion_backend": backend,
        "fusion_ms_batch1": round(one["AGFN"], 3),
        "fusion_speedup_batch32": round(32 * one["AGFN torch"] / many["AGFN torch"], 2),
        **(
            {"fusion_speedup_batch32_onnx": round(32 * one["AGFN onnx"] / many["AGFN onnx"], 2)}
            if backend == "onnx"
            else {}
        ),
        "fusion_onnx_vs_torch": {
            str(size): round(row["AGFN onnx"] / row["AGFN torch"], 3)
            for size, row in table.items()
            if "AGFN onnx" in row
        },
        "fusion_windows_per_s": {str(size): round(1000 * size / row["AGFN"]) for size, row in table.items()},
        "fusion_vs_mult": {str(size): round(row["AGFN"] / row["MulT"], 3) for size, row in table.items()},
        "fusion_torch_vs_mult": {str(size): round(row["AGFN torch"] / row["MulT"], 3) for size, row in table.items()},
        "fusion_vs_peers_batch1": {
            name: round(one["AGFN"] / one[name], 3) for name in one if not name.startswith("AGFN")
        },
    }


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print a table and, last, one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py fusion", description=__doc__)
    cli.add_argument("--quick", action="store_true", help="few rounds: to see that it works")
    args, _ = cli.parse_known_args(options)
    table = measure(3, (1, 8, 32)) if args.quick else measure(21)
    print("ms a batch  " + "  ".join(f"{name:>10s}" for name in table[1]))
    for size, row in table.items():
        print(f"{size:10d}  " + "  ".join(f"{value:10.2f}" for value in row.values()))
    result = summary(table) | {"fusion_ms_by_window_s": by_length(3 if args.quick else 51)}
    print(json.dumps(result))
    return result
