"""The recorder of a stream as the configuration wants it."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.clock import utc_now
from realtime.errors import ModelError
from realtime.extract.schema import schema_hash
from realtime.parts import weights_of
from realtime.recording.media import MediaTap
from realtime.recording.writer import Recorder
from realtime.stream import device_names

if TYPE_CHECKING:
    import threading
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
    if (folder := config.record.folder) is None:
        return None
    about = {
        "stream": stream.name,
        "begun": utc_now().isoformat(),
        "program": _version(),
        "schema": schema_hash(),
        "words": config.record.text,
        "media": config.record.media,
        "window": config.window.model_dump(),
        "smoothing_s": config.fusion.smoothing_s,
        "weights": config.fusion.weights,
        "weights_sha256": digest_of(config),
        "devices": device_names(stream, config),
    }
    kept = config.record
    return Recorder(Path(folder), stream.name, about, words=kept.text, media=kept.media, failed=failed)


def tap_of(recorder: Recorder | None, config: Config, stream: str, paused: threading.Event) -> MediaTap | None:
    """Return what takes pictures and sound from a stream's devices; None when they are not to be recorded."""
    if recorder is None or not config.record.media:
        return None
    tap = MediaTap(recorder, stream, paused)
    recorder.media_dropped = tap.dropped
    return tap


def digest_of(config: Config) -> str:
    """Return the sha256 of the weights file, in hex: it tells a replay whether its scores must be the same.

    Raises:
        ModelError: the file can't be read.
    """
    path = weights_of(config)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from None


def _version() -> str:
    try:
        return version("agfn-live")
    except PackageNotFoundError:
        return "unknown"
