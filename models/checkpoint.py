"""AGFN with what belongs to its weights, and the file of both (`models.weightsfile`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as save_tensors

from models import manifest
from models.context import Context
from models.live import build
from models.weightsfile import FORMAT, MAX_BYTES, MODEL, CheckpointError, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from models.agfn import AGFN
    from models.calibrate import Calibration
    from models.uncertainty import Uncertainty
    from models.weightsfile import WeightsFile

EXTRA = "extra."
ON_DISK = {"prior_spread": "blank"}
"""Tensors of the network that have another name in the file."""


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
    """Read a weights file and build its network, in eval mode on the CPU.

    Raises:
        CheckpointError: see the class.
    """
    return assemble(read(path, expected_schema_hash))


def assemble(file: WeightsFile) -> Checkpoint:
    """Build the network of a weights file that was read, in eval mode on the CPU.

    Raises:
        CheckpointError: the weights do not fit the network that the header describes.
    """
    try:
        model = build(file.config).eval()
        # torch.tensor copies: what safetensors gave is not writable.
        tensors = {name: torch.tensor(value) for name, value in file.tensors.items()}
    except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{file.path}: damaged: {error}") from None
    state = state_of(tensors)
    extra = {name.removeprefix(EXTRA): value for name, value in tensors.items() if name.startswith(EXTRA)}
    if len(state) + len(extra) != len(tensors):
        raise CheckpointError(f"{file.path}: damaged: the parts do not fit each other")
    _fill(file.path, model, state)
    return Checkpoint(model, file.schema_hash, file.calibration, file.metadata, extra, file.context, file.uncertainty)


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the network that the tensors of a weights file hold, under the names of this program."""
    names = {old: new for new, old in ON_DISK.items()}
    kept = {name.removeprefix(MODEL): value for name, value in tensors.items() if name.startswith(MODEL)}
    return {names.get(name, name): value for name, value in kept.items()}


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
