"""MediaPipe without what it imports along: matplotlib, for pictures of landmarks, and PortAudio, for its own recorder.

The two are most of the time that the import takes, and 30 MB. Everything of ours imports MediaPipe from here.
"""

from __future__ import annotations

from realtime.system.deferred import deferred

with deferred("matplotlib", "matplotlib.pyplot", "sounddevice"):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

__all__ = ["BaseOptions", "mediapipe", "vision"]
