"""The weights of the text line as they lie in their file, as arrays: read without PyTorch.

The file is safetensors with what training says about itself in its header. Reading trusts nothing: sizes are bounded
before anything is read, and the tensors must fit the network that `models.text_net` builds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.context import Context
from models.uncertainty import Uncertainty
from models.weightsfile import CheckpointError, checked, put
from models.wordpieces import ENDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

FORMAT = "agfn.text/1"
MAX_BYTES = 16_000_000
MAX_RANK = 128
ADAPTER, HEAD = "adapter.", "head."


@dataclass(frozen=True)
class TextWeights:
    """What training learned: the encoder's adapter, the head, and what is said about them.

    `base` is the sha256 of the encoder's file that they belong to, `encoder` its name in `models.catalogue`.
    """

    base: str
    adapter: Arrays
    head: Arrays
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    """The sha256 of the file that they were read from."""
    encoder: str = "text-mpnet"
    judgement: tuple[Context, Uncertainty] | None = None
    """What context and uncertainty go by with these words; without it, those of the fusion's weights do."""

    def save(self, path: Path) -> None:
        """Write atomically, in half precision.

        Raises:
            CheckpointError: more than MAX_BYTES.
        """
        named = {ADAPTER + name: tensor for name, tensor in self.adapter.items()}
        named |= {HEAD + name: tensor for name, tensor in self.head.items()}
        header = {"format": FORMAT, "base": self.base, "training": json.dumps(self.metadata, sort_keys=True)}
        header["encoder"] = self.encoder
        if self.judgement is not None:
            context, uncertainty = self.judgement
            header["context"], header["uncertainty"] = map(json.dumps, (context.to_dict(), uncertainty.to_dict()))
        content = save_tensors({name: np.ascontiguousarray(array, np.float16) for name, array in named.items()}, header)
        put(path, content, MAX_BYTES)

    @classmethod
    def load(cls, path: Path) -> TextWeights:
        """Read and check a weights file; trusts nothing in it.

        Raises:
            CheckpointError: it is missing, damaged, too large, of another format, or not what is listed beside it.
        """
        content, header = checked(path, FORMAT, "text weights", MAX_BYTES)
        try:
            base, metadata = str(header["base"]), json.loads(header["training"])
            encoder = header.get("encoder", cls.encoder)
            judgement = _judgement(header)
            tensors = load_tensors(content)
            sound = all(array.dtype.kind == "f" and bool(np.isfinite(array).all()) for array in tensors.values())
        except (KeyError, ValueError, TypeError, RecursionError, SafetensorError) as error:
            raise CheckpointError(f"{path}: damaged: {error}") from None
        if encoder not in ENDS:
            raise CheckpointError(f"{path}: damaged: of an unknown encoder")
        parts = {
            prefix: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            for prefix in (ADAPTER, HEAD)
        }
        if sum(map(len, parts.values())) != len(tensors):
            raise CheckpointError(f"{path}: damaged: unknown tensors")
        if not sound:
            raise CheckpointError(f"{path}: damaged: a weight is not a finite number")
        if any(min(tensor.shape, default=0) > MAX_RANK for tensor in parts[ADAPTER].values()):
            raise CheckpointError(f"{path}: damaged: an adapter of a rank above {MAX_RANK}")
        name = hashlib.sha256(content).hexdigest()
        return cls(base, parts[ADAPTER], parts[HEAD], metadata, name, encoder, judgement)


def _judgement(header: Mapping[str, str]) -> tuple[Context, Uncertainty] | None:
    """Context and uncertainty of a header, if it has any; raises ValueError for what is none."""
    if "uncertainty" not in header:
        return None
    return Context.from_dict(json.loads(header["context"])), Uncertainty.from_dict(json.loads(header["uncertainty"]))
