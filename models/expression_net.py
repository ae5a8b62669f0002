"""The expression network: a picture of a face and its blendshapes to seven probabilities.

Two readers that were trained apart, a small residual network on the aligned picture (48 x 48, grey) and a layer on
blendshapes and head pose; their logits are added with weights that were fitted to pictures which neither had seen.

The weights file is safetensors in half precision. Loading trusts nothing: sizes are bounded before anything is read.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models import graphs, manifest
from models.affect import EXPRESSIONS
from models.expression import FORMAT as GRAPH_FORMAT
from models.expression import SHAPES, SIDE
from models.weightsfile import CheckpointError, checked, put

FORMAT: Final = "agfn.expression/1"
OPSET: Final = 17
TOLERANCE: Final = 1e-3
"""So far may a probability of the graph be from the network's."""
MAX_BYTES: Final = 2_000_000
WEIGHTS: Final = manifest.SHIPPED / "expression.safetensors"
WIDTHS: Final = (24, 48, 96)
HIDDEN: Final = 48


class _Residual(nn.Module):
    """Two convolutions (B, C, H, W) that add to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(width, width), nn.BatchNorm2d(width)
        self.second, self.second_norm = _conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(inner)))


class _Down(nn.Module):
    """A convolution that halves height and width."""

    def __init__(self, width_in: int, width_out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv, self.norm = _conv(width_in, width_out, kernel, 2), nn.BatchNorm2d(width_out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


def _conv(width_in: int, width_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, kernel, stride, kernel // 2, bias=False)


class PictureReader(nn.Module):
    """Aligned grey pictures (B, 48, 48), any brightness and contrast, to logits (B, 7); 265,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        small, middle, wide = WIDTHS
        self.stem = _Down(1, small, 5)
        self.same = nn.Sequential(_conv(small, small), nn.BatchNorm2d(small), nn.ReLU())
        self.middle = nn.Sequential(_Down(small, middle), _Residual(middle))
        self.deep = nn.Sequential(_Down(middle, wide), _Residual(wide))
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(wide, len(EXPRESSIONS))

    def forward(self, pictures: Tensor) -> Tensor:
        """Read pictures."""
        mean = pictures.mean((1, 2), keepdim=True)
        spread = pictures.std((1, 2), keepdim=True)
        x = ((pictures - mean) / (spread + 4.0)).unsqueeze(1)  # 4 grey levels: a black picture is no amplified noise
        hidden = self.deep(self.middle(self.same(self.stem(x)))).mean((2, 3))
        logits: Tensor = self.out(self.dropout(hidden))
        return logits


class ShapesReader(nn.Module):
    """Blendshapes against rest, and head pose (B, 54), to logits (B, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(SHAPES, HIDDEN)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(HIDDEN, len(EXPRESSIONS))

    def forward(self, shapes: Tensor) -> Tensor:
        """Read shapes."""
        logits: Tensor = self.out(self.dropout(functional.gelu(self.wide(shapes))))
        return logits


class Mixture(nn.Module):
    """Logits of both readers to calibrated ones: a gain each and a bias; others where no shapes are known."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.ones(2))
        self.bias = nn.Parameter(torch.zeros(len(EXPRESSIONS)))
        self.gain_alone = nn.Parameter(torch.ones(1))
        self.bias_alone = nn.Parameter(torch.zeros(len(EXPRESSIONS)))

    def forward(self, picture: Tensor, shapes: Tensor | None) -> Tensor:
        """Add logits (B, 7)."""
        if shapes is None:
            return self.gain_alone * picture + self.bias_alone
        return self.gains[0] * picture + self.gains[1] * shapes + self.bias


class ExpressionNet(nn.Module):
    """Both readers and how they are added."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.shapes, self.mixture = PictureReader(), ShapesReader(), Mixture()

    def forward(self, pictures: Tensor, shapes: Tensor | None) -> Tensor:
        """Logits (B, 7) of pictures (B, 48, 48) and shapes (B, 54), or none."""
        logits: Tensor = self.mixture(self.picture(pictures), None if shapes is None else self.shapes(shapes))
        return logits


def fused(net: ExpressionNet) -> ExpressionNet:
    """Take the normalisation into the convolutions before it: the same numbers in half the operations."""
    net.eval()
    parts = [module for module in net.modules() if isinstance(module, _Residual | _Down)]
    for part in parts:
        pairs = (
            [("first", "first_norm"), ("second", "second_norm")] if isinstance(part, _Residual) else [("conv", "norm")]
        )
        for first, second in pairs:
            setattr(part, first, fuse_conv_bn_eval(getattr(part, first), getattr(part, second)))
            setattr(part, second, nn.Identity())
    same = net.picture.same
    conv, norm = cast("nn.Conv2d", same[0]), cast("nn.BatchNorm2d", same[1])
    net.picture.same = nn.Sequential(fuse_conv_bn_eval(conv, norm), nn.ReLU())
    net.requires_grad_(requires_grad=False)
    return net


class _Likely(nn.Module):
    """The network to probabilities."""

    def __init__(self, net: ExpressionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pictures: Tensor, shapes: Tensor) -> Tensor:
        likely: Tensor = self.net(pictures, shapes).softmax(-1)
        return likely


def load(path: Path = WEIGHTS) -> tuple[ExpressionNet, dict[str, Any]]:
    """Read and check a weights file; returns the network, fused, frozen and in eval mode, and what training wrote.

    Raises:
        CheckpointError: it is missing, damaged, too large, of another format, or not what is listed beside it.
    """
    content, header = checked(path, FORMAT, "expression weights", MAX_BYTES)
    net = ExpressionNet()
    try:
        metadata = json.loads(header["training"])
        _put(net, {name: tensor.float() for name, tensor in load_tensors(content).items()})
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from None
    return fused(net), metadata


def export(weights: Path = WEIGHTS) -> Path:
    """Write the graph of a weights file beside it, compare it with the network, and list it.

    Raises:
        CheckpointError: the weights cannot be read.
        GraphError: the graph strays from the network.
    """
    import onnx  # noqa: PLC0415 - for those who export, not for those who run

    net, metadata = load(weights)
    likely = _Likely(net).eval()  # or the exporter would leave the network in training
    random = torch.Generator().manual_seed(0)
    pictures, shapes = 255 * torch.rand(1, SIDE, SIDE, generator=random), torch.rand(1, SHAPES, generator=random)
    target = weights.with_suffix(".onnx")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is the old exporter
        file = Path(folder) / target.name
        torch.onnx.export(
            likely,
            (pictures, shapes),
            file,
            input_names=["pictures", "shapes"],
            output_names=["likely"],
            opset_version=OPSET,
            dynamo=False,
        )
        graph = onnx.load(file)
    onnx.helper.set_model_props(graph, {"format": GRAPH_FORMAT, "training": json.dumps(metadata, sort_keys=True)})
    content = bytes(graph.SerializeToString())
    made = graphs.session(content).run(None, {"pictures": pictures.numpy(), "shapes": shapes.numpy()})[0]
    with torch.inference_mode():
        stray = float((torch.from_numpy(made) - likely(pictures, shapes)).abs().max())
    if stray > TOLERANCE:
        raise graphs.GraphError(f"the graph strays from the network by {stray:.3f}")
    target.write_bytes(content)
    manifest.note(target, content)
    return target


def save(path: Path, net: ExpressionNet, metadata: dict[str, Any]) -> None:
    """Write the weights of a network that is not fused, atomically and in half precision.

    Raises:
        CheckpointError: more than MAX_BYTES.
    """
    kept = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    header = {"format": FORMAT, "training": json.dumps(metadata, sort_keys=True)}
    content = save_tensors({name: value.detach().cpu().half().contiguous() for name, value in kept.items()}, header)
    put(path, content, MAX_BYTES)


def _put(net: ExpressionNet, tensors: dict[str, Tensor]) -> None:
    wanted = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    if odd := sorted(set(wanted) ^ set(tensors)):
        raise ValueError(f"missing or unknown weights {', '.join(odd[:4])}")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ValueError("a weight is not a finite number")
    net.load_state_dict(tensors, strict=False)
