"""What runs AGFN: PyTorch on any device, or ONNX Runtime on the CPU, a third of the cost for one window.

Both give the same numbers to 1e-4 (a test compares). The graph of a weights file lies beside it (scripts/export.py); it
is used when it was made from exactly these weights.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from models import manifest
from models.export import FORMAT, MAX_BYTES, OUTPUTS, beside, digest, example, flat, input_names
from realtime.errors import ModelError
from realtime.fuse.collate import MAX_STEPS, Batch

if TYPE_CHECKING:
    from pathlib import Path

    from models.agfn import AGFN
    from realtime.types import Floats

log = logging.getLogger(__name__)

HALF_TOLERANCE = 0.02
"""Half precision is used where no score of a probe moves further."""
PROBE_WINDOWS = 64
PROBES = ((1, 1), (3, 40))
"""Windows and steps on which a graph is compared with PyTorch at the start: a few milliseconds."""
PROBE_TOLERANCE = 1e-3


class Scores(NamedTuple):
    """Of B windows: score (B,), spread (B,), weights (B, M)."""

    score: Floats
    spread: Floats
    weights: Floats


class Engine(Protocol):
    """Runs the network on a batch."""

    name: str

    def run(self, batch: Batch) -> Scores:
        """Return the scores of a batch.

        Raises:
            RuntimeError: out of memory, or the device is lost.
        """
        ...


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
        if self._device.type == "cuda":
            batch = batch.pinned()
        on = batch.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.half):
            out = self._model(on.values, on.times, on.mask, on.reliability)
        columns = [out.score.unsqueeze(-1), out.spread.unsqueeze(-1), out.weights]
        found = torch.cat([column.float() for column in columns], -1).cpu().numpy()
        return Scores(found[:, 0], found[:, 1], found[:, 2:])


class OnnxEngine:
    """AGFN in ONNX Runtime on the CPU.

    Args:
        graph: file of scripts/export.py.
        content: what was read of it, where it had to be looked at first.
        threads: of a forward pass; they sleep between two.

    Raises:
        ModelError: the file is no such graph.
    """

    name = "onnx"

    def __init__(self, graph: Path, threads: int, content: bytes | None = None) -> None:
        import onnxruntime  # noqa: PLC0415 - heavy: loaded where it is used

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._errors = _errors()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content or read_graph(graph), options, providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise ModelError(f"{graph}: does not load: {' '.join(str(error).split())}") from None
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        # A graph has no input for what no weight looks at.
        self._inputs = {given.name for given in self._session.get_inputs()}

    def run(self, batch: Batch) -> Scores:
        """See Engine."""
        tensors = zip(
            input_names(batch.values), flat(batch.values, batch.times, batch.mask, batch.reliability), strict=True
        )
        try:
            found = self._session.run(
                OUTPUTS, {name: tensor.numpy() for name, tensor in tensors if name in self._inputs}
            )
        except self._errors as error:
            raise RuntimeError(str(error)) from error
        return Scores(*found)


def engine_of(model: AGFN, weights: Path, device: torch.device, backend: str, threads: int) -> Engine:
    """Return what runs the model of a weights file.

    Args:
        model: as loaded.
        weights: its file.
        device: where to run.
        backend: auto (onnx on the CPU where there is a graph of these weights), torch or onnx.
        threads: CPU threads of a forward pass.

    Raises:
        ModelError: `onnx` is asked for and there is no graph of these weights, or the device is no CPU.
    """
    if device.type == "cpu" and backend != "torch":
        graph = beside(weights)
        problem = f"{graph}: no such file"
        if graph.is_file():
            content = read_graph(graph)
            found: OnnxEngine | str | None = manifest.problem(graph, content, listed=True)
            found = found or _checked(OnnxEngine(graph, threads, content), model, digest(weights))
            if isinstance(found, OnnxEngine):
                return found
            problem = f"{graph}: {found}"
            log.warning("%s: PyTorch runs AGFN; scripts/export.py makes it anew", problem)
        if backend == "onnx":
            raise ModelError(f"fusion.backend onnx: {problem}; make it with scripts/export.py, or use auto or torch")
    elif backend == "onnx":
        raise ModelError("fusion.backend onnx runs on the CPU: add --device cpu, or use auto or torch")
    return TorchEngine(model, device)


def read_graph(graph: Path) -> bytes:
    """Return a graph's file.

    Raises:
        ModelError: it can't be read, or is larger than any of ours.
    """
    try:
        if graph.stat().st_size > MAX_BYTES:
            raise ModelError(f"{graph}: more than {MAX_BYTES} bytes")
        return graph.read_bytes()
    except OSError as error:
        raise ModelError(f"{graph}: {error.strerror or error}") from None


def _checked(engine: OnnxEngine, model: AGFN, weights: str) -> OnnxEngine | str:
    """Return a graph's engine if it computes what the weights do, else why it is not used."""
    if engine.metadata.get("format") != FORMAT or engine.metadata.get("weights") != weights:
        return "made from other weights"
    for seed, (windows, steps) in enumerate(PROBES):
        probe = Batch(*example(model.config.inputs, windows, steps, seed))
        with torch.inference_mode():
            wanted = model.eval()(probe.values, probe.times, probe.mask, probe.reliability)
        try:
            pairs = zip((wanted.score, wanted.spread, wanted.weights), engine.run(probe), strict=True)
            worst = max(float(np.abs(ours.numpy() - theirs).max()) for ours, theirs in pairs)
        except (RuntimeError, ValueError, TypeError) as error:  # other inputs, outputs, shapes or types
            return f"does not run: {' '.join(str(error).split())[:100]}"
        if not worst <= PROBE_TOLERANCE:
            return f"says something else than the weights (off by {worst:.1e})"
    return engine


def _errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - as above

    return (
        OSError,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.RuntimeException,
    )
