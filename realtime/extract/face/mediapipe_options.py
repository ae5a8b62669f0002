"""MediaPipe's native side, made to keep to itself: no usage reports, no chatter on the terminal.

MediaPipe 1.x reports its use to play.googleapis.com (google-ai-edge/mediapipe issue 6291: version, task, counts and
times, no pictures) and has no switch against it. The report goes over TLS and is refused without certificates to check
the other side by, so none are given: the connection ends before anything is sent.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from mediapipe.tasks.python import BaseOptions

log = logging.getLogger(__name__)


class LocalOptions(BaseOptions):  # type: ignore[misc] # mediapipe has no types
    """Options of a model that does not report its use."""

    def to_ctypes(self) -> Any:  # noqa: ANN401 - a structure of mediapipe
        """Return the options as the native side takes them, without certificates."""
        options = super().to_ctypes()
        options.ca_bundle_path = os.devnull.encode()
        return options
