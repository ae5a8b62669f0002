"""The weights file: safetensors with the configuration, the schema of the features and the calibration in its header.

Loading trusts nothing: sizes are bounded before anything is read, and the header must fit the network it describes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models import manifest
from models.agfn import AgfnConfig
from models.calibrate import Calibration
from models.context import Context
from models.live import build
from models.uncertainty import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from models.agfn import AGFN

FORMAT = "agfn/1"
MAX_BYTES = 8_000_000
MAX_HEADER_BYTES = 200_000
MAX_WIDTH = 4096
"""No dimension of a configuration may exceed this: a header must not be able to ask for any amount of memory."""
EXTRA = "extra."
MODEL = "model."
ON_DISK = {"prior_spread": "blank"}
"""Tensors of the network that have another name in the file."""


class CheckpointError(Exception):
    """A weights file that is missing, damaged, too large, or made for other features; one line says which."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded weights file. `metadata` is what training wrote: data, command, commit, metrics."""

    model: AGFN
    schema_hash: str
    calibration: Calibration
    metadata: dict[str, Any]
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Further tensors that belong to the weights, such as the adapter of the text encoder."""
    context: Context = field(default_factory=Context)
    """How far what was said before counts; without one nothing is remembered."""
    uncertainty: Uncertainty | None = None
    """What intervals and probabilities go by; without one the calibration does for all states."""


def save(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises:
        CheckpointError: more than MAX_BYTES.
    """
    tensors = {MODEL + ON_DISK.get(name, name): tensor for name, tensor in checkpoint.model.state_dict().items()}
    tensors |= {EXTRA + name: tensor for name, tensor in checkpoint.extra.items()}
    header = {
        "format": FORMAT,
        "schema_hash": checkpoint.schema_hash,
        "config": checkpoint.model.config.to_json(),
        "calibration": json.dumps(checkpoint.calibration.to_dict()),
        "context": json.dumps(checkpoint.context.to_dict()),
        "training": json.dumps(checkpoint.metadata, sort_keys=True),
    }
    if checkpoint.uncertainty is not None:
        header["uncertainty"] = json.dumps(checkpoint.uncertainty.to_dict())
    content = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, header)
    if len(content) > MAX_BYTES:
        raise CheckpointError(f"{path}: {len(content)} bytes of weights, at most {MAX_BYTES} are shipped")
    target = Path(path)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    part.replace(target)
    if manifest.expected(target) is not None:  # or what was just written would be refused
        manifest.note(target, content)


def load(path: Path | str, expected_schema_hash: str) -> Checkpoint:
    """Read a weights file; the model is in eval mode on the CPU.

    Raises:
        CheckpointError: see the class.
    """
    content = _read(Path(path))
    if problem := manifest.problem(
        Path(path), content, listed=Path(path).parent.resolve() == manifest.SHIPPED.resolve()
    ):
        raise CheckpointError(f"{path}: {problem}; install the program again, or use weights of your own from a folder")
    header = header_of(path, content)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {header.get('format')!r}, this program reads {FORMAT!r}")
    if header.get("schema_hash") != expected_schema_hash:
        raise CheckpointError(
            f"{path}: made for features {header.get('schema_hash')!r}, this program computes {expected_schema_hash!r}; "
            "train again with scripts/train.py"
        )
    try:
        config = _bounded(AgfnConfig.from_json(header["config"]))
        tensors = load_tensors(content)
        _check_size(config, tensors)
        model = build(config).eval()
        calibration = Calibration.from_dict(json.loads(header["calibration"]))
        context = Context.from_dict(json.loads(header.get("context", "{}")))
        sure = Uncertainty.from_dict(json.loads(header["uncertainty"])) if "uncertainty" in header else None
        metadata = json.loads(header["training"])
    except (KeyError, ValueError, TypeError, RuntimeError, RecursionError, OverflowError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    state = state_of(tensors)
    extra = {name.removeprefix(EXTRA): value for name, value in tensors.items() if name.startswith(EXTRA)}
    if len(calibration.doubt) != len(model.config.inputs) or len(state) + len(extra) != len(tensors):
        raise CheckpointError(f"{path}: damaged: the parts do not fit each other")
    _fill(path, model, state)
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise CheckpointError(f"{path}: damaged: a weight is not a finite number")
    return Checkpoint(model, expected_schema_hash, calibration, metadata, extra, context, sure)


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the network that the tensors of a weights file hold, under the names of this program."""
    names = {old: new for new, old in ON_DISK.items()}
    kept = {name.removeprefix(MODEL): value for name, value in tensors.items() if name.startswith(MODEL)}
    return {names.get(name, name): value for name, value in kept.items()}


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}; train with python -m scripts.train") from None


def header_of(path: Path | str, content: bytes, of: str = "AGFN weights") -> Mapping[str, str]:
    """Return the metadata in the header of a safetensors file.

    Raises:
        CheckpointError: there is none, or it is too large; `of` says of what.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(MAX_HEADER_BYTES, len(content) - 8):
        raise CheckpointError(f"{path}: no safetensors file, or a header of more than {MAX_HEADER_BYTES} bytes")
    try:
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{path}: no metadata of {of}") from None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: no metadata of {of}")
    return metadata


def _bounded(config: AgfnConfig) -> AgfnConfig:
    sizes = [config.width, config.heads, config.layers, *config.inputs.values()]
    if not all(isinstance(size, int) and 0 < size <= MAX_WIDTH for size in sizes) or config.layers > 8:
        raise ValueError("a size out of bounds")
    if len(config.inputs) > 16 or config.width > 512 or config.width % config.heads:
        raise ValueError("a size out of bounds")
    return config


def _check_size(config: AgfnConfig, tensors: Mapping[str, Tensor]) -> None:
    """Compare what the configuration asks for with what the file holds, before any memory is taken for it."""
    there = sum(value.numel() for name, value in tensors.items() if name.startswith(MODEL))
    if config.width * (sum(config.inputs.values()) + config.layers * config.width) > 4 * there:
        raise ValueError("the network would be larger than its weights")


def _fill(path: Path | str, model: AGFN, state: Mapping[str, Tensor]) -> None:
    wanted = model.state_dict()
    if odd := sorted(set(wanted) ^ set(state)):
        raise CheckpointError(f"{path}: damaged: missing or unknown weights {', '.join(map(repr, odd[:4]))}")
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: damaged: {name} has shape {tuple(value.shape)}, wanted {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(dict(state))
