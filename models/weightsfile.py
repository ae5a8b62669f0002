"""The file of AGFN's weights as it lies there: what its header says, and its tensors as arrays; without PyTorch.

It is safetensors with the configuration, the schema of the features and the calibration in its header. Reading trusts
nothing: sizes are bounded before anything is read, and the tensors must be as many as the configuration asks for.
`models.checkpoint` makes the network of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from models import manifest
from models.agfn_config import AgfnConfig
from models.calibrate import Calibration
from models.context import Context
from models.uncertainty import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

FORMAT = "agfn/1"
MAX_BYTES = 8_000_000
MAX_HEADER_BYTES = 200_000
MAX_WIDTH = 4096
"""No dimension of a configuration may exceed this: a header must not be able to ask for any amount of memory."""
MODEL = "model."


class CheckpointError(Exception):
    """A weights file that is missing, damaged, too large, or made for other features; one line says which."""


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file says. `metadata` is what training wrote: data, command, commit, metrics."""

    path: Path
    config: AgfnConfig
    tensors: Mapping[str, NDArray[Any]]
    """As the file names them."""
    schema_hash: str
    calibration: Calibration
    metadata: dict[str, Any]
    context: Context
    """How far what was said before counts; without one nothing is remembered."""
    uncertainty: Uncertainty | None
    """What intervals and probabilities go by; without one the calibration does for all states."""
    digest: str
    """The sha256 of the file."""


def read(path: Path | str, expected_schema_hash: str, older: Collection[str] = ()) -> WeightsFile:
    """Read a weights file for features of a schema, or of one of the older ones that are a part of it.

    Raises:
        CheckpointError: see the class; whether the tensors fit the network is seen when it is built.
    """
    path = Path(path)
    content, header = checked(
        path,
        FORMAT,
        "AGFN weights",
        MAX_BYTES,
        missing="; make them with python -m scripts.fit",
        instead=", or use weights of your own from a folder",
    )
    if header.get("schema_hash") not in {expected_schema_hash, *older}:
        raise CheckpointError(
            f"{path}: made for features {header.get('schema_hash')!r}, this program computes {expected_schema_hash!r}; "
            "train again, ending with scripts/fit.py"
        )
    try:
        config = _bounded(AgfnConfig.from_json(header["config"]))
        tensors = load_tensors(content)
        _check_size(config, tensors)
        calibration = Calibration.from_dict(json.loads(header["calibration"]))
        context = Context.from_dict(json.loads(header.get("context", "{}")))
        sure = Uncertainty.from_dict(json.loads(header["uncertainty"])) if "uncertainty" in header else None
        metadata = json.loads(header["training"])
        sound = all(bool(np.isfinite(value).all()) for value in tensors.values())
    except (KeyError, ValueError, TypeError, RecursionError, OverflowError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    if len(calibration.doubt) != len(config.inputs):
        raise CheckpointError(f"{path}: damaged: the parts do not fit each other")
    if not sound:
        raise CheckpointError(f"{path}: damaged: a weight is not a finite number")
    digest = hashlib.sha256(content).hexdigest()
    return WeightsFile(path, config, tensors, header["schema_hash"], calibration, metadata, context, sure, digest)


def checked(
    path: Path, file_format: str, of: str, most: int, *, missing: str = "", instead: str = ""
) -> tuple[bytes, Mapping[str, str]]:
    """Return the content and the header of a weights file of a kind; what is in it is not looked at yet.

    Args:
        path: of the file.
        file_format: that its header must name.
        of: what it holds, for the error.
        most: bytes that are read.
        missing: said where there is none.
        instead: said beside the advice to install again.

    Raises:
        CheckpointError: it is missing, too large, of another format, or not what is listed beside it.
    """
    try:
        if path.stat().st_size > most:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, at most {most} are read")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}{missing}") from None
    if problem := manifest.problem(path, content, listed=path.parent.resolve() == manifest.SHIPPED.resolve()):
        raise CheckpointError(f"{path}: {problem}; install the program again{instead}")
    header = header_of(path, content, of)
    if header.get("format") != file_format:
        raise CheckpointError(f"{path}: format {header.get('format')!r}, this program reads {file_format!r}")
    return content, header


def put(path: Path, content: bytes, most: int) -> None:
    """Write a weights file atomically, and list it where it must be listed to be read again.

    Raises:
        CheckpointError: it has more than `most` bytes.
    """
    if len(content) > most:
        raise CheckpointError(f"{path}: {len(content)} bytes of weights, at most {most} are shipped")
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
    if manifest.expected(path) is not None or path.parent.resolve() == manifest.SHIPPED.resolve():
        manifest.note(path, content)  # or what was just written would be refused


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


def _check_size(config: AgfnConfig, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Compare what the configuration asks for with what the file holds, before any memory is taken for it."""
    there = sum(value.size for name, value in tensors.items() if name.startswith(MODEL))
    if config.width * (sum(config.inputs.values()) + config.layers * config.width) > 4 * there:
        raise ValueError("the network would be larger than its weights")
