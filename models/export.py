"""AGFN, and the arithmetic of the voice, as ONNX graphs: any number of windows, any number of steps of each modality.

The file names the weights it was made from by their sha256, so that a stale one is noticed and never run.
The TorchScript exporter is used: it needs no package but `onnx`, takes half a second, and AGFN branches on no data.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.agfn_graph import FORMAT, OUTPUTS, example, flat, input_names
from models.graphs import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.agfn import AGFN

OPSET = 17


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
    """Return the graph of AGFN with its metadata; the model is in eval mode on the CPU.

    Raises:
        ValueError: more than MAX_BYTES.
    """
    sizes = model.config.inputs
    names = input_names(sizes)
    axes = {name: {0: "batch", 1: f"steps_{name.partition('_')[2]}"} for name in names[:-1]}
    axes |= {"reliability": {0: "batch"}, **{name: {0: "batch"} for name in OUTPUTS}}
    tensors = [torch.from_numpy(array) for array in flat(*example(sizes, 3, 7))]
    return trace(_Flat(model), tensors, names, OUTPUTS, axes, {"format": FORMAT, **metadata})


def trace(
    net: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    metadata: Mapping[str, str],
) -> bytes:
    """Return the graph of a network that is in eval mode on the CPU and branches on no data.

    Args:
        net: takes the inputs in a row.
        inputs: examples.
        names: of the inputs.
        outputs: their names.
        axes: names of the dimensions that may be of any size, by the name of an input or output and their number.
        metadata: is kept in the graph.

    Raises:
        ValueError: more than MAX_BYTES.
    """
    import onnx  # noqa: PLC0415 - for those who export, not for those who run

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "graph.onnx"
        # It says that it is the old exporter, and that numbers of the configuration become constants: they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            tuple(inputs),
            file,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(file)
    onnx.helper.set_model_props(graph, dict(metadata))
    onnx.checker.check_model(graph)
    content = bytes(graph.SerializeToString())
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes of graph, at most {MAX_BYTES} are read")
    return content
