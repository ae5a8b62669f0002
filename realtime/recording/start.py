"""The recorder of a stream as the configuration wants it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.clock import utc_now
from realtime.extract.schema import schema_hash
from realtime.recording.writer import Recorder
from realtime.stream import device_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.config import Config, StreamConfig


def recorder_of(config: Config, stream: StreamConfig, failed: Callable[[str], None]) -> Recorder | None:
    """Start recording a stream; None when nothing is to be recorded.

    Args:
        config: of the process.
        stream: of the stream.
        failed: called with the reason when the disk refuses later on.

    Raises:
        UsageError: the folder can't be written, or holds a recording of this stream already.
    """
    if config.record.folder is None:
        return None
    about = {
        "stream": stream.name,
        "begun": utc_now().isoformat(),
        "program": _version(),
        "schema": schema_hash(),
        "words": config.record.text,
        "window": config.window.model_dump(),
        "smoothing_s": config.fusion.smoothing_s,
        "weights": config.fusion.weights,
        "devices": device_names(stream, config),
    }
    return Recorder(Path(config.record.folder), stream.name, about, words=config.record.text, failed=failed)


def _version() -> str:
    try:
        return version("agfn-live")
    except PackageNotFoundError:
        return "unknown"
