"""Where somebody speaks: Silero VAD run as a stream, with a running estimate of the signal-to-noise ratio.

- Frames of 512 samples (32 ms at 16 kHz), each preceded by the 64 samples before it, as the network was trained.
- The state of the network is carried from frame to frame, so any chunking of the sound gives the same probabilities.
- In a pause the network gets used to the noise of the room and then takes the next sentence for more of it: after every
  half second without speech it begins anew (`FORGET_FRAMES`).
- A gap resets the state and the alignment: the samples of the broken frame are counted as lost, never glued to others.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, Floats, SpeechFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnxruntime import InferenceSession

FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
STATE_DIM = 128
LEVEL_FLOOR_DB = -120.0
FULL_SCALE = 0.999
"""At or above this absolute value a sample counts as clipped."""
PAUSE_BELOW = 0.15
"""A frame of a lower probability belongs to a pause."""
FORGET_FRAMES = 16
"""After so many frames of a pause on end (0.5 s) the state is forgotten. Fewer would cut into gaps between words."""
JUMP_NS = 50_000_000
"""A chunk that begins so far from the end of the one before it begins after a gap."""


class SpeechDetector:
    """Turns sound in chunks of any length into frames with a probability of speech.

    Feed `Chunk`s in the order of time. One detector per stream; the network (2 MB) is shared by the process.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._snr = SnrEstimate()
        self._reset_network()
        self._rest = np.zeros(0, np.float32)
        self._rest_ns = 0
        self._expected_ns: int | None = None
        self._lost = 0

    def feed(self, chunk: Chunk, /) -> Iterable[SpeechFrame]:
        """Take a chunk and return the frames that it completes."""
        self._align(chunk)
        samples = np.nan_to_num(chunk.samples.astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=-1.0)
        if not len(self._rest):
            self._rest_ns = chunk.t_ns
        self._expected_ns = chunk.end_ns
        sound = np.concatenate((self._rest, samples))
        whole = len(sound) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = sound[whole:]
        frames = list(self._frames(sound[:whole], self._rest_ns))
        if whole:
            # Taken from the newest chunk, so that the drift between sample count and clock never adds up.
            self._rest_ns = chunk.end_ns - len(self._rest) * NS_PER_S // SAMPLE_RATE_HZ
        return frames

    def flush(self) -> Iterable[SpeechFrame]:
        """Return the last, shorter frame, if there is one."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        self._expected_ns = None
        return [self._frame(rest, self._rest_ns)] if len(rest) else []

    def close(self) -> None:
        """Forget the sound; the shared network stays loaded."""
        self._rest = np.zeros(0, np.float32)

    def _align(self, chunk: Chunk) -> None:
        jump_ns = 0 if self._expected_ns is None else chunk.t_ns - self._expected_ns
        if not chunk.lost_samples and abs(jump_ns) <= JUMP_NS:
            return
        unseen = max(0, jump_ns) * SAMPLE_RATE_HZ // NS_PER_S
        self._lost += (chunk.lost_samples or unseen) + len(self._rest)
        self._rest = np.zeros(0, np.float32)
        self._reset_network()

    def _reset_network(self) -> None:
        self._forget()
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)

    def _forget(self) -> None:
        self._h = np.zeros((1, 1, STATE_DIM), np.float32)
        self._c = np.zeros((1, 1, STATE_DIM), np.float32)
        self._pause_frames = 0

    def _frames(self, sound: Floats, t_ns: int) -> Iterator[SpeechFrame]:
        for start in range(0, len(sound), FRAME_SAMPLES):
            yield self._frame(sound[start : start + FRAME_SAMPLES], t_ns + start * NS_PER_S // SAMPLE_RATE_HZ)

    def _frame(self, samples: Floats, t_ns: int) -> SpeechFrame:
        missing = FRAME_SAMPLES - len(samples)
        padded = np.pad(samples, (0, missing)) if missing else samples
        seen = np.concatenate((self._context, padded))[None]  # (1, 576)
        probabilities, self._h, self._c = self._session.run(None, {"input": seen, "h": self._h, "c": self._c})
        self._context = padded[-CONTEXT_SAMPLES:]
        probability = float(probabilities[0])
        self._pause_frames = self._pause_frames + 1 if probability < PAUSE_BELOW else 0
        if self._pause_frames >= FORGET_FRAMES:
            self._forget()
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        lost, self._lost = self._lost, 0
        return SpeechFrame(
            t_ns=t_ns,
            samples=samples,
            probability=probability,
            level_db=max(LEVEL_FLOOR_DB, 10 * np.log10(power)) if power > 0 else LEVEL_FLOOR_DB,
            snr_db=self._snr.feed(probability, power),
            clipped=float(np.mean(np.abs(samples) >= FULL_SCALE)),
            lost_samples=lost,
        )


class SnrEstimate:
    """Signal-to-noise ratio from the power of frames that are surely speech and of frames that are surely not.

    Pauses tell what the noise is, but nobody pauses when a drill starts: so the noise is taken to be at least the
    quietest frame of the last FLOOR_FRAMES, as minimum statistics do (Martin 2001), and at most LOUDEST times that. Nor
    does anybody have to pause when the drill ends: the longer the last pause is ago, the less above the quietest frame.
    """

    SPEECH_FRAMES = 60
    """Frames of speech (2 s) that the mean of the speech power remembers."""
    NOISE_FRAMES = 60
    """Frames of background (2 s) that the mean of the noise power remembers."""
    FLOOR_FRAMES = 78
    """Frames (2.5 s) whose quietest one bounds the noise: nobody speaks longer without a gap between sounds."""
    LOUDEST = 100.0
    """Noise that comes and goes (babble) is up to 20 dB above its quietest frame; what has ended is forgotten."""
    OUTDATED_FRAMES = 312
    """Frames (10 s) without a pause after which what the pauses told no longer counts."""
    SURE_SPEECH = 0.8
    SURE_NOISE = 0.15
    HEARD_FRAMES = 4
    """Frames of each kind before there is an estimate."""
    POWER_FLOOR = 1e-10
    RANGE_DB = (-20.0, 60.0)

    def __init__(self) -> None:
        self._speech, self._noise = 0.0, 0.0
        self._speech_frames, self._noise_frames, self._since_noise = 0, 0, 0
        self._recent: deque[float] = deque(maxlen=self.FLOOR_FRAMES)

    def feed(self, probability: float, power: float) -> float | None:
        """Take a frame's probability of speech and its mean square; return the estimate in dB, or None so far."""
        if power > self.POWER_FLOOR:  # digital silence is a fault of the device, not a quiet room
            self._recent.append(power)
        if probability >= self.SURE_SPEECH:
            self._speech_frames += 1
            self._speech += (power - self._speech) / min(self._speech_frames, self.SPEECH_FRAMES)
        self._since_noise += 1
        if probability <= self.SURE_NOISE:
            self._noise_frames += 1
            self._since_noise = 0
            self._noise += (power - self._noise) / min(self._noise_frames, self.NOISE_FRAMES)
        noise = self._noise_power()
        if noise is None or self._speech_frames < self.HEARD_FRAMES:
            return None
        ratio = max(self._speech - noise, 0.01 * noise) / noise
        return float(np.clip(10 * np.log10(ratio), *self.RANGE_DB))

    def _noise_power(self) -> float | None:
        learned = self._noise if self._noise_frames >= self.HEARD_FRAMES else None
        if len(self._recent) == self.FLOOR_FRAMES:
            quietest = min(self._recent)
            louder = self.LOUDEST ** max(0.0, 1 - self._since_noise / self.OUTDATED_FRAMES)
            learned = quietest if learned is None else min(max(learned, quietest), louder * quietest)
        return None if learned is None else max(learned, self.POWER_FLOOR)


@cache
def _session() -> InferenceSession:
    """Load the network that faster-whisper ships; sessions are safe to share between threads."""
    from pathlib import Path  # noqa: PLC0415 - as below

    import onnxruntime  # noqa: PLC0415 - heavy: loaded with the first detector, not with --help
    from faster_whisper.utils import get_assets_path  # noqa: PLC0415 - as above

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(Path(get_assets_path()) / "silero_vad_v6.onnx"), options, providers=["CPUExecutionProvider"]
    )
