"""A window that notes all it takes, in the very order it takes it: fed with the same again, it says the same again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from realtime.fuse.window import Window
from realtime.recording.journal import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from realtime.clock import Clock
    from realtime.config.schema import WindowConfig
    from realtime.fuse.channels import Channels
    from realtime.recording.journal import Topic
    from realtime.types import FaceFeatures, Modality, Reason, SpeechFrame, TextFeatures, VoiceFeatures, WindowView


class RecordedWindow(Window):
    """A window whose every input goes to `note` too, under one lock: no entry can overtake another.

    Args:
        stream, config, devices, clock: as in Window.
        note: takes each entry; must not block.
        people, channels: as in Window.
    """

    def __init__(
        self,
        stream: str,
        config: WindowConfig,
        devices: Mapping[Modality, str],
        clock: Clock,
        note: Callable[[Entry], None],
        *,
        people: bool = False,
        channels: Channels | None = None,
    ) -> None:
        self._order = threading.RLock()
        self._note_entry = note
        self._open = False
        super().__init__(stream, config, devices, clock, people=people, channels=channels)
        self._open = True

    def _note(self, topic: Topic, item: Any) -> None:  # noqa: ANN401 - of any topic
        if self._open and (not self._paused or topic in {"tick", "word", "reset", "lost"}):
            self._note_entry(Entry(self._clock.now_ns(), topic, item))

    def reset(self) -> None:
        """See Window."""
        with self._order:
            self._note("reset", None)
            super().reset()

    def pause(self) -> None:
        """See Window."""
        with self._order:
            super().pause()

    def resume(self) -> None:
        """See Window."""
        with self._order:
            super().resume()

    def saw(self, device: str, t_ns: int) -> None:
        """See Window."""
        with self._order:
            self._note("seen", (device, t_ns))
            super().saw(device, t_ns)

    def lost(self, device: str, cause: str) -> None:
        """See Window."""
        with self._order:
            self._note("lost", (device, cause))
            super().lost(device, cause)

    def add_face(self, features: FaceFeatures) -> None:
        """See Window."""
        with self._order:
            self._note("face", features)
            super().add_face(features)

    def add_voice(self, features: VoiceFeatures) -> None:
        """See Window."""
        with self._order:
            self._note("voice", features)
            super().add_voice(features)

    def add_speech(self, frame: SpeechFrame) -> None:
        """See Window."""
        with self._order:
            self._note("speech", frame)
            super().add_speech(frame)

    def add_text(self, features: TextFeatures) -> None:
        """See Window."""
        with self._order:
            self._note("text", features)
            super().add_text(features)

    def close(self, end_ns: int, reason: Reason = "hop") -> WindowView:
        """See Window."""
        with self._order:
            self._note("tick" if reason == "hop" else "word", end_ns)
            return super().close(end_ns, reason)
