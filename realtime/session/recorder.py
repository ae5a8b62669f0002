"""The recorder of a stream as the configuration wants it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.capture.names import device_names
from realtime.clock import utc_now
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import digest_of
from realtime.recording.media_tap import MediaTap
from realtime.recording.writer import Recorder

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from realtime.config.schema import Config, StreamConfig


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


def _version() -> str:
    try:
        return version("agfn-live")
    except PackageNotFoundError:
        return "unknown"
