"""AGFN in PyTorch, on any device: the reference, and what runs on CUDA, or where there is no graph of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from models.agfn_graph import example
from realtime.fuse.collate import MAX_STEPS, Batch
from realtime.fuse.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models.agfn import AGFN
    from realtime.fuse.scores import Engine

HALF_TOLERANCE = 0.02
"""Half precision is used where no score of a probe moves further."""
PROBE_WINDOWS = 64
PROBES = ((1, 1), (3, 40))
"""Windows and steps on which a graph is compared with PyTorch at the start: a few milliseconds."""
PROBE_TOLERANCE = 1e-3

Parts = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]


def tensors(batch: Batch) -> Parts:
    """Return what `models.agfn.AGFN.forward` takes: values, times, mask, reliability; they share the arrays' memory."""
    return _each(batch, torch.from_numpy)


def _each(batch: Batch, change: Callable[[np.ndarray], torch.Tensor]) -> Parts:
    def changed(part: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: change(array) for name, array in part.items()}

    return changed(batch.values), changed(batch.times), changed(batch.mask), change(batch.reliability)


class TorchEngine:
    """AGFN in PyTorch.

    On CUDA the batch goes over from pinned memory, everything is queued without waiting, and one small copy brings all
    results back: the only moment at which the host waits.

    Args:
        model: moved to the device.
        device: where to run.
        half: try bfloat16, and keep it where the scores of a probe stay within HALF_TOLERANCE; default on CUDA only.
    """

    name = "torch"

    def __init__(self, model: AGFN, device: torch.device, *, half: bool | None = None) -> None:
        self._device = device
        self._model = model.to(device).eval()
        self.half = False
        probe = Batch(*example(model.config.inputs, PROBE_WINDOWS, max(MAX_STEPS.values())))
        exact = self.run(probe)  # what is set up on the first call is set up now
        if half if half is not None else device.type == "cuda" and torch.cuda.is_bf16_supported():
            self.half = True
            self.half = float(np.abs(self.run(probe).score - exact.score).max()) <= HALF_TOLERANCE

    @torch.inference_mode()
    def run(self, batch: Batch) -> Scores:
        """See Engine."""
        on = tensors(batch) if self._device.type == "cpu" else _each(batch, self._sent)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.half):
            out = self._model(*on)
        columns = [out.score.unsqueeze(-1), out.spread.unsqueeze(-1), out.weights]
        found = torch.cat([column.float() for column in columns], -1).cpu().numpy()
        return Scores(found[:, 0], found[:, 1], found[:, 2:])

    def _sent(self, array: np.ndarray) -> torch.Tensor:
        """Copy to the device by page-locked memory, which torch keeps for reuse: from elsewhere a copy would wait."""
        tensor = torch.from_numpy(array)
        pinned = tensor.pin_memory() if self._device.type == "cuda" else tensor
        return pinned.to(self._device, non_blocking=True)


def refuted(engine: Engine, model: AGFN) -> str | None:
    """Say why an engine is not one of these weights, by what it computes; None for one that is."""
    for seed, (windows, steps) in enumerate(PROBES):
        probe = Batch(*example(model.config.inputs, windows, steps, seed))
        with torch.inference_mode():
            wanted = model.eval()(*tensors(probe))
        try:
            pairs = zip((wanted.score, wanted.spread, wanted.weights), engine.run(probe), strict=True)
            worst = max(float(np.abs(ours.numpy() - theirs).max()) for ours, theirs in pairs)
        except (RuntimeError, ValueError, TypeError) as error:  # other inputs, outputs, shapes or types
            return f"does not run: {' '.join(str(error).split())[:100]}"
        if not worst <= PROBE_TOLERANCE:
            return f"says something else than the weights (off by {worst:.1e})"
    return None
