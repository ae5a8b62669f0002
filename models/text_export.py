"""Make the text line's 8-bit ONNX graph, once on the user's machine, from the fetched encoder and the weights.

A few channels of MPNet, and a few tokens, are far larger than the rest, and 8 bits for a whole tensor can't hold them
beside the others. So the input of each linear map is scaled by channel, and its weights by the inverse (SmoothQuant,
Xiao et al., 2022, arXiv 2211.10438), by what a few sentences show; and by token, by the largest that is in it. Weights
are unsigned: those with a sign overflow on processors without VNNI.

`models.text_graph.make` runs `main` in a process of its own.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from models.graphs import GraphError
from models.mpnet import HEADS
from models.text_graph import FORMAT, NO_GRAPH, PROBES, TOLERANCE, TextGraph, put_away
from models.text_net import network, so_far
from models.text_weights import TextWeights
from models.weightsfile import CheckpointError
from models.wordpieces import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.minilm import Layer as SmallLayer
    from models.mpnet import Layer
    from models.text_net import TextNet

OPSET = 17
SMOOTHING = 0.5
"""Share of an outlier that moves from the input into the weights."""
_log = logging.getLogger(__name__)


class _Smoothed(nn.Module):
    """A linear map whose input is scaled to a like size, by channel and by token."""

    def __init__(self, weight: Tensor, bias: Tensor, largest: Tensor) -> None:
        super().__init__()
        share = largest.clamp(min=1e-5) ** SMOOTHING / weight.abs().amax(0).clamp(min=1e-5) ** (1 - SMOOTHING)
        self.register_buffer("inverse", 1.0 / share)
        self.register_buffer("weight", weight * share)
        self.register_buffer("bias", bias)

    inverse: Tensor
    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.inverse
        largest = x.abs().amax(-1, keepdim=True)
        return F.linear(x / largest, self.weight) * largest + self.bias


class _GraphLayer(nn.Module):
    """A layer of an encoder for use only: query, key and value in one product."""

    def __init__(self, layer: Layer | SmallLayer, largest: dict[str, Tensor]) -> None:
        super().__init__()
        three = (layer.query, layer.key, layer.value)
        weight, bias = torch.cat([one.weight for one in three]), torch.cat([one.bias for one in three])
        self.entry = _Smoothed(weight, bias, largest["query"])
        self.out, self.wide, self.narrow = (
            _Smoothed(one.weight, one.bias, largest[name])
            for name, one in (("out", layer.out), ("wide", layer.wide), ("narrow", layer.narrow))
        )
        self.norm_attention, self.norm_out = layer.norm_attention, layer.norm_out

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, steps, width = x.shape
        size = self.norm_out.normalized_shape[0] // HEADS
        q, k, v = self.entry(x).view(batch, steps, 3, HEADS, size).permute(2, 0, 3, 1, 4).unbind(0)
        logits = q @ k.transpose(2, 3) * size**-0.5 + bias
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, steps, width)
        x = self.norm_attention(x + self.out(mixed))
        return self.norm_out(x + self.narrow(F.gelu(self.wide(x))))  # type: ignore[no-any-return]


class _Flat(nn.Module):
    """The network for one text, without a mask."""

    def __init__(self, net: TextNet) -> None:
        super().__init__()
        self.net = net
        self.layers = nn.ModuleList(
            _GraphLayer(layer, largest)  # type: ignore[arg-type] # a list of modules forgets which
            for layer, largest in zip(net.encoder.layers, _largest_inputs(net), strict=True)
        )

    def forward(self, ids: Tensor, pool: Tensor, count: Tensor) -> Tensor:
        encoder = self.net.encoder
        bias = encoder.bias(torch.ones_like(ids, dtype=torch.bool))
        x = encoder.embed(ids)
        read = []
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, bias)
            if number in encoder.depths:
                read.append(pool @ x)
        return self.net.head(torch.cat(read, -1), count)  # type: ignore[no-any-return]


@torch.no_grad()
def _largest_inputs(net: TextNet) -> list[dict[str, Tensor]]:
    """Largest absolute input by channel of each linear map of each layer, over the probes."""
    found: list[dict[str, Tensor]] = [{} for _ in net.encoder.layers]
    hooks = []
    for seen, layer in zip(found, net.encoder.layers, strict=True):
        for name in ("query", "out", "wide", "narrow"):

            def note(
                _: nn.Module, inputs: tuple[Tensor, ...], seen: dict[str, Tensor] = seen, name: str = name
            ) -> None:
                most = inputs[0].abs().amax((0, 1))
                seen[name] = torch.maximum(seen[name], most) if name in seen else most

            hooks.append(getattr(layer, name).register_forward_pre_hook(note))
    for words in PROBES:
        tokens = net.encoder.tokenize([words])
        net(tokens.ids, tokens.mask, *so_far(tokens))
    for hook in hooks:
        hook.remove()
    return found


def build(net: TextNet, folder: Path, name: str) -> Path:
    """Write the graph of a network, in eval mode, to a new file of a folder and compare it with the network.

    Raises:
        OSError: it cannot be written.
        GraphError: the graph strays from the network.
    """
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        whole, small = Path(beside) / "whole.onnx", Path(beside) / "small.onnx"
        _export(net, whole)
        _quantise(whole, small, name)
        worst = stray(net, TextGraph(small, name))
        if worst > TOLERANCE:
            raise GraphError(f"the graph strays from PyTorch by {worst:.2f}, more than {TOLERANCE}")
        _log.info("made a graph of %.0f MB; largest difference from PyTorch %.3f", small.stat().st_size / 1e6, worst)
        return small.replace(folder / f".{Path(beside).name}.onnx")


def _export(net: TextNet, to: Path) -> None:
    tokens = net.encoder.tokenize([PROBES[2]])
    axes = {"ids": {1: "tokens"}, "pool": {1: "words", 2: "tokens"}, "count": {1: "words"}, "readings": {1: "words"}}
    with warnings.catch_warnings():
        # It says that it is the old exporter, and that numbers of the configuration become constants: they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Flat(net).eval(),
            (tokens.ids, *so_far(tokens)),
            to,
            input_names=list(axes)[:-1],
            output_names=list(axes)[-1:],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _quantise(whole: Path, small: Path, name: str) -> None:
    """Bring the linear maps and the table of words to 8 bits; the head and the bias by distance stay as they are."""
    import onnx  # noqa: PLC0415 - only where a graph is made
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    kept = [node.name for node in onnx.load(whole, load_external_data=False).graph.node if _stays(node.name)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser advises on the root logger
    try:
        quantize_dynamic(
            whole,
            small,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=kept,
        )
    finally:
        root.setLevel(level)
    graph = onnx.load(small)
    onnx.helper.set_model_props(graph, {"format": FORMAT, "made_from": name})
    onnx.save(graph, small)


def _stays(node: str) -> bool:
    return "/head/" in node or "/relative/" in node


@torch.inference_mode()
def stray(net: TextNet, graph: TextGraph, texts: Sequence[Sequence[str]] = PROBES) -> float:
    """Largest difference of any reading of the graph from the network's."""
    worst = 0.0
    for words in texts:
        tokens = net.encoder.tokenize([words])
        wanted = net(tokens.ids, tokens.mask, *so_far(tokens))[0].numpy()
        worst = max(
            worst, float(np.abs(graph.run(cut(net.encoder.tokenizer, [words], net.encoder.ends)) - wanted).max())
        )
    return worst


def main(arguments: Sequence[str]) -> int:
    """Make a graph and put it away; say on standard output what came of it."""
    encoder, weights, folder = map(Path, arguments)
    torch.set_num_threads(1)  # live streams may run beside it
    try:
        learned = TextWeights.load(weights)
        folder.mkdir(parents=True, exist_ok=True)
        made = put_away(build(network(learned, encoder), folder, learned.name), learned.name)
    except (GraphError, CheckpointError, OSError, ValueError) as error:
        print(f"no graph can be made: {error}")  # noqa: T201 - for whoever started this
        return NO_GRAPH
    print(f"made a graph of {made.stat().st_size / 1e6:.0f} MB")  # noqa: T201 - as above
    return 0
