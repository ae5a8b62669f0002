"""The recorder of a stream as the configuration wants it."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.capture.names import device_names
from realtime.clock import utc_now
from realtime.extract.schema import schema_hash
from realtime.fuse.worker import digest_of
from realtime.recording.media_tap import MediaTap
from realtime.recording.writer import SUFFIX, Recorder

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from realtime.config.schema import Config, StreamConfig
    from realtime.session.state import StreamState

LONGEST_NAME = 60
"""A name may have 64 characters, its number among them."""
MOST_FILES = 1000
"""Recordings of streams of one name in a run."""


def recorder_of(
    config: Config,
    stream: StreamConfig,
    failed: Callable[[str], None],
    state: StreamState | None = None,
    *,
    again: bool = False,
) -> Recorder | None:
    """Start recording a stream; None when nothing is to be recorded.

    Args:
        config: of the process.
        stream: of the stream.
        failed: called with the reason when the disk refuses later on.
        state: what the stream goes on from.
        again: a stream of this name may have been here before: what is there already is left, another file is begun.

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
        **({} if state is None else {"state": json.loads(state.to_json())}),
    }
    kept, name = config.record, stream.name
    for number in range(2, MOST_FILES) if again else ():
        if not (Path(folder) / f"{name}{SUFFIX}").exists():
            break
        name = f"{stream.name[:LONGEST_NAME]}-{number}"
    about["stream"] = name
    return Recorder(Path(folder), name, about, words=kept.text, media=kept.media, failed=failed)


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
