"""What ours is compared with: a plain loop that decodes the last 5 s every second, and each clip decoded whole.

Both call faster-whisper's own `transcribe` with the same model: greedy, with word times, without earlier text.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from faster_whisper import WhisperModel

from realtime.extract.asr.whisper import find
from realtime.types import SAMPLE_RATE_HZ
from scripts.benchmarks.words import ErrorRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import AsrConfig
    from realtime.types import Floats
    from scripts.benchmarks.sound import Clip

WINDOW_S = 5
STEP_S = 1


def load(config: AsrConfig) -> WhisperModel:
    """Load the configured model without our decode step."""
    compute_type = "int8" if config.compute_type == "auto" else config.compute_type
    return WhisperModel(
        str(find(config.hears_with)), device="cpu", compute_type=compute_type, cpu_threads=config.threads, num_workers=1
    )


def transcribe(whisper: WhisperModel, sound: Floats) -> str:
    """Decode a recording as a whole."""
    segments, _ = whisper.transcribe(
        sound, language="en", beam_size=1, word_timestamps=True, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text for segment in segments)


def loop_s(whisper: WhisperModel, sound: Floats) -> float:
    """CPU time that the plain loop spends decoding a recording."""
    began = time.process_time()
    for end in range(STEP_S * SAMPLE_RATE_HZ, len(sound) + 1, STEP_S * SAMPLE_RATE_HZ):
        transcribe(whisper, sound[max(0, end - WINDOW_S * SAMPLE_RATE_HZ) : end])
    return time.process_time() - began


def offline_wer(whisper: WhisperModel, clips: Sequence[Clip]) -> float:
    """Word error rate of decoding each clip whole."""
    rate = ErrorRate()
    for clip in clips:
        rate.add(clip.text, transcribe(whisper, clip.sound))
    return rate.value
