"""ONNX graphs: read within bounds, and opened in ONNX Runtime on the CPU. Nothing here needs PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 8_000_000
"""No graph that is shipped, or beside weights, is larger."""


class GraphError(Exception):
    """A graph cannot be read, made here, or is not what it should be; one line that says why."""


def read(graph: Path) -> bytes:
    """Return the file of a graph.

    Raises:
        GraphError: it can't be read, or is larger than any of ours.
    """
    try:
        if graph.stat().st_size > MAX_BYTES:
            raise GraphError(f"more than {MAX_BYTES} bytes")
        return graph.read_bytes()
    except OSError as error:
        raise GraphError(error.strerror or str(error)) from None


def session(graph: Path | bytes, threads: int = 1) -> Any:  # noqa: ANN401 - an onnxruntime.InferenceSession
    """Open a graph; its session may be shared by threads.

    Args:
        graph: its file, or what was read of it where it had to be looked at first.
        threads: of a run; they sleep between two.

    Raises:
        GraphError: it is none.
    """
    import onnxruntime  # noqa: PLC0415 - heavy: loaded where it is used

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
        )
    except errors() as error:
        raise GraphError(f"does not load: {' '.join(str(error).split())[:200]}") from None


def errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises when it opens or runs a graph; its own have no common base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - as above

    return (
        OSError,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
