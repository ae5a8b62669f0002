"""MediaPipe's native side, made to keep to itself: no usage reports, no chatter on the terminal.

MediaPipe 1.x reports its use to play.googleapis.com (google-ai-edge/mediapipe issue 6291: version, task, counts and
times, no pictures) and has no switch against it. It sends by curl, which asks the environment for a proxy: one of a
kind that does not exist makes it give up before it looks up a name or opens a connection. Python's own view of the
environment stays as it is. Should a report find another way, it has no certificates to check the other side by.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from realtime.system.mediapipe import BaseOptions

log = logging.getLogger(__name__)
NOWHERE = "agfn-refuses://reports"


def refuse_reports() -> None:
    """Let native curl, and nothing written in Python, find a proxy that leads nowhere."""
    # Not by os.environ: what reads that, and programs started with it, have a use for the user's own proxy.
    os.putenv("https_proxy", NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):  # would let it pass by
        os.unsetenv(name)


class LocalOptions(BaseOptions):  # type: ignore[misc] # mediapipe has no types
    """Options of a model that does not report its use."""

    def to_ctypes(self) -> Any:  # noqa: ANN401 - a structure of mediapipe
        """Return the options as the native side takes them, without certificates."""
        refuse_reports()
        options = super().to_ctypes()
        options.ca_bundle_path = os.devnull.encode()
        return options
