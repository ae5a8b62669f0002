"""AGFN as an ONNX graph: any number of windows, any number of steps of each modality.

The file names the weights it was made from by their sha256, so that a stale one is noticed and never run.
The TorchScript exporter is used: it needs no package but `onnx`, takes half a second, and AGFN branches on no data.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from models.agfn import AGFN

FORMAT = "agfn.onnx/1"
OPSET = 17
OUTPUTS = ("score", "spread", "weights")
MAX_BYTES = 8_000_000


class Inputs(NamedTuple):
    """What `AGFN.forward` takes."""

    values: dict[str, Tensor]
    times: dict[str, Tensor]
    mask: dict[str, Tensor]
    reliability: Tensor


def example(sizes: Mapping[str, int], windows: int, steps: int, seed: int = 0) -> Inputs:
    """Made-up windows that look like real ones to the arithmetic: for tracing, warming up and comparing.

    Args:
        sizes: D_m by modality.
        windows: B.
        steps: longest T_m; each modality has its own, and windows end at different steps.
        seed: of the random numbers.
    """
    random = torch.Generator().manual_seed(seed)
    values, times, mask = {}, {}, {}
    for index, (name, size) in enumerate(sizes.items()):
        length = max(1, steps - index)
        values[name] = torch.randn(windows, length, size, generator=random)
        times[name] = torch.linspace(-4.0, 0.0, length).expand(windows, -1).contiguous()
        ends = torch.randint(0, length + 1, (windows, 1), generator=random)
        mask[name] = torch.arange(length) < ends
    reliability = torch.rand(windows, len(sizes), generator=random)
    return Inputs(values, times, mask, reliability * (reliability > 0.1))


def input_names(modalities: Iterable[str]) -> list[str]:
    """Names of the graph's inputs, in order."""
    return [f"{kind}_{name}" for name in modalities for kind in ("values", "times", "mask")] + ["reliability"]


def flat(
    values: Mapping[str, Tensor], times: Mapping[str, Tensor], mask: Mapping[str, Tensor], reliability: Tensor
) -> list[Tensor]:
    """Lay the tensors out in the order of `input_names`."""
    return [*(part[name] for name in values for part in (values, times, mask)), reliability]


class _Flat(nn.Module):
    """AGFN with its inputs in a row, as a graph has them."""

    def __init__(self, model: AGFN) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        names = list(self.model.config.inputs)
        values, times, mask = (dict(zip(names, tensors[kind:-1:3], strict=True)) for kind in range(3))
        out = self.model(values, times, mask, tensors[-1])
        return out.score, out.spread, out.weights


def to_onnx(model: AGFN, metadata: Mapping[str, str]) -> bytes:
    """Return the graph with its metadata; the model is in eval mode on the CPU.

    Raises:
        ValueError: more than MAX_BYTES.
    """
    import onnx  # noqa: PLC0415 - for those who export, not for those who run

    sizes = model.config.inputs
    names = input_names(sizes)
    axes = {name: {0: "batch", 1: f"steps_{name.partition('_')[2]}"} for name in names[:-1]}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "agfn.onnx"
        # It says that it is the old exporter, and that numbers of the configuration become constants: they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Flat(model).eval(),
            tuple(flat(*example(sizes, 3, 7))),
            file,
            input_names=names,
            output_names=list(OUTPUTS),
            dynamic_axes={**axes, "reliability": {0: "batch"}, **{name: {0: "batch"} for name in OUTPUTS}},
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(file)
    onnx.helper.set_model_props(graph, {"format": FORMAT, **metadata})
    onnx.checker.check_model(graph)
    content = bytes(graph.SerializeToString())
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes of graph, at most {MAX_BYTES} are read")
    return content


def beside(weights: Path) -> Path:
    """Where the graph of a weights file is looked for."""
    return weights.with_suffix(".onnx")


def digest(weights: Path) -> str:
    """Return the sha256 of a weights file: what ties a graph to it."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()
