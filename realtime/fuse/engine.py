"""What runs AGFN: ONNX Runtime on the CPU, a third of the cost for one window, or PyTorch on any device.

Both give the same numbers to 1e-4 (a test compares). The graph of a weights file lies beside it (scripts/export.py); it
is used when it was made from exactly these weights. PyTorch is imported only where it runs, or where a graph that we
did not ship has to be compared with its weights: it takes seconds and half a gigabyte.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from models import graphs, manifest
from models.agfn_graph import FORMAT, OUTPUTS, beside, flat, input_names
from realtime.errors import ModelError
from realtime.fuse.scores import Scores
from realtime.system import cuda

if TYPE_CHECKING:
    from pathlib import Path

    from models.weightsfile import WeightsFile
    from realtime.fuse.collate import Batch
    from realtime.fuse.scores import Engine

log = logging.getLogger(__name__)


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
        try:
            self._session: Any = graphs.session(content or graphs.read(graph), threads)
        except graphs.GraphError as error:
            raise ModelError(f"{graph}: {error}") from None
        self._errors = graphs.errors()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        # A graph has no input for what no weight looks at.
        self._inputs = {given.name for given in self._session.get_inputs()}

    def run(self, batch: Batch) -> Scores:
        """See Engine."""
        arrays = zip(
            input_names(batch.values), flat(batch.values, batch.times, batch.mask, batch.reliability), strict=True
        )
        try:
            found = self._session.run(OUTPUTS, {name: array for name, array in arrays if name in self._inputs})
        except self._errors as error:
            raise RuntimeError(str(error)) from error
        return Scores(*found)


def pick_device(name: str) -> str:
    """Return the device of a name: auto takes CUDA where there is one.

    Raises:
        ModelError: CUDA is asked for and not there.
    """
    if name == "cpu" or (name == "auto" and not cuda.devices()):
        return "cpu"
    import torch  # noqa: PLC0415 - see the head of the file

    there = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if there else "cpu"
    if name.startswith("cuda") and not there:
        raise ModelError(f"fusion.device {name}: no CUDA device here; use auto or cpu")
    return name


def engine_of(weights: WeightsFile, device: str, backend: str, threads: int) -> Engine:
    """Return what runs the model of a weights file.

    Args:
        weights: as read.
        device: where to run: cpu, or a device of PyTorch.
        backend: auto (onnx on the CPU where there is a graph of these weights), torch or onnx.
        threads: CPU threads of a forward pass.

    Raises:
        ModelError: `onnx` is asked for and there is no graph of these weights, or the device is no CPU.
        CheckpointError: the weights do not fit their network.
    """
    if device == "cpu" and backend != "torch":
        graph = beside(weights.path)
        problem = f"{graph}: no such file"
        if graph.is_file():
            found = _of_graph(graph, weights, threads)
            if isinstance(found, OnnxEngine):
                return found
            problem = f"{graph}: {found}"
            log.warning("%s: PyTorch runs AGFN; scripts/export.py makes it anew", problem)
        if backend == "onnx":
            raise ModelError(f"fusion.backend onnx: {problem}; make it with scripts/export.py, or use auto or torch")
    elif backend == "onnx":
        raise ModelError("fusion.backend onnx runs on the CPU: add --device cpu, or use auto or torch")
    import torch  # noqa: PLC0415 - see the head of the file

    from models.checkpoint import assemble  # noqa: PLC0415 - as above
    from realtime.fuse.torch_engine import TorchEngine  # noqa: PLC0415 - as above

    if device == "cpu":
        torch.set_num_threads(threads)
    return TorchEngine(assemble(weights).model, torch.device(device))


def _of_graph(graph: Path, weights: WeightsFile, threads: int) -> OnnxEngine | str:
    """Return a graph's engine if it is listed and computes what the weights do, else why it is not used.

    Of the pair that we ship a test has seen that it does; of any other it is tried.
    """
    try:
        content = graphs.read(graph)
    except graphs.GraphError as error:
        raise ModelError(f"{graph}: {error}") from None
    if problem := manifest.problem(graph, content, listed=True):
        return problem
    engine = OnnxEngine(graph, threads, content)
    if engine.metadata.get("format") != FORMAT or engine.metadata.get("weights") != weights.digest:
        return "made from other weights"
    if manifest.shipped(weights.digest, manifest.digest(content)):
        return engine
    from models.checkpoint import assemble  # noqa: PLC0415 - see the head of the file
    from realtime.fuse.torch_engine import refuted  # noqa: PLC0415 - as above

    return refuted(engine, assemble(weights).model) or engine
