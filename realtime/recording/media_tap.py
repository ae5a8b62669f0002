"""The pictures and the sound of a stream on their way into its recording; with consent only (--record-media).

A thread of its own makes JPEGs and blocks of PCM, so that a camera never waits for an encoder or a disk. When it or the
writer falls behind, media goes first, and is counted: the numbers are what a recording is for.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from realtime.recording.contract import load_json
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, Frame

if TYPE_CHECKING:
    from realtime.recording.writer import Recorder

log = logging.getLogger(__name__)
PICTURES_HZ = 5
LONGEST_SIDE = 640
JPEG_QUALITY = 70
BLOCK_S = 0.2
"""Sound is kept in blocks of this length."""
CAPACITY = 200
"""Pictures and chunks of sound that may wait for the encoder: four seconds of chunks of 20 ms."""
PICTURES_WAITING = 5
SLACK_NS = 20_000_000
"""A camera's picture may come a little early and still count as the next fifth of a second's."""
CLOSE_S = 2.0


class MediaTap:
    """Takes what the devices deliver; never waits.

    Args:
        recorder: takes the JPEGs and the blocks of sound.
        stream: name of the stream.
        paused: while it is set, nothing is taken.
    """

    def __init__(self, recorder: Recorder, stream: str, paused: threading.Event) -> None:
        self._recorder, self._paused = recorder, paused
        self._waiting: Channel[Frame | Chunk] = Channel(Policy.DROP_OLDEST, CAPACITY)
        self._pictures = 0
        self._next_ns: int | None = None
        self._refused = 0
        self._block: list[Chunk] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"{stream}-media", daemon=True)
        self._thread.start()

    def video(self, frame: Frame) -> None:
        """Take a picture, at most PICTURES_HZ a second."""
        if self._paused.is_set() or (self._next_ns is not None and frame.t_ns < self._next_ns - SLACK_NS):
            return
        step_ns = NS_PER_S // PICTURES_HZ
        late = self._next_ns is None or frame.t_ns - self._next_ns > step_ns
        self._next_ns = (frame.t_ns if late or self._next_ns is None else self._next_ns) + step_ns
        with self._lock:
            full = self._pictures >= PICTURES_WAITING
            if full:
                self._refused += 1
            else:
                self._pictures += 1
        if not full:
            self._push(frame)

    def audio(self, chunk: Chunk) -> None:
        """Take a chunk of sound."""
        if not self._paused.is_set():
            self._push(chunk)

    def dropped(self) -> int:
        """Count the pictures and pieces of sound that did not get to the disk."""
        with self._lock:
            return self._refused + self._waiting.stats().dropped

    def close(self) -> None:
        """Hand on what waits, and end; before the recorder is closed."""
        self._waiting.close()
        self._thread.join(CLOSE_S)

    def _push(self, item: Frame | Chunk) -> None:
        try:
            gone = self._waiting.push(item)
        except ClosedError:
            return
        if isinstance(gone, Frame):
            self._left()

    def _left(self) -> None:
        with self._lock:
            self._pictures -= 1

    def _run(self) -> None:
        try:
            while True:
                try:
                    self._take(self._waiting.pop(BLOCK_S))
                except TimeoutError:
                    self._flush()
        except ClosedError:
            self._flush()

    def _take(self, item: Frame | Chunk) -> None:
        if isinstance(item, Chunk):
            if self._block and abs(item.t_ns - self._block[-1].end_ns) > SLACK_NS:
                self._flush()
            self._block.append(item)
            if item.end_ns - self._block[0].t_ns >= BLOCK_S * NS_PER_S:
                self._flush()
            return
        self._left()
        try:
            self._keep(item.t_ns, "video", encode_picture(item))
        except (cv2.error, ValueError) as error:
            log.debug("a picture can't be encoded: %s", error)
            self._refuse()

    def _flush(self) -> None:
        if self._block:
            block, self._block = self._block, []
            samples = np.concatenate([chunk.samples for chunk in block])
            self._keep(block[0].t_ns, "audio", encode_sound(block[0].t_ns, samples))

    def _keep(self, t_ns: int, topic: str, data: bytes) -> None:
        if not self._recorder.keep(t_ns, topic, data):
            self._refuse()

    def _refuse(self) -> None:
        with self._lock:
            self._refused += 1


def encode_picture(frame: Frame) -> bytes:
    """Return a picture as JSON of foxglove.CompressedImage: a JPEG, its longest side at most LONGEST_SIDE.

    Raises:
        ValueError: it is no picture.
    """
    image = frame.image
    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"no JPEG of {image.shape}")
    return _json(frame.t_ns, jpeg.tobytes(), frame_id="camera", format="jpeg")


def encode_sound(t_ns: int, samples: Any) -> bytes:  # noqa: ANN401 - Floats; numpy's types are for checkers only
    """Return (N,) float32 in [-1, 1] at 16 kHz as JSON of foxglove.RawAudio: mono PCM, int16; NaN is silence."""
    pcm = np.round(np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype("<i2")
    return _json(t_ns, pcm.tobytes(), format="pcm-s16", sample_rate=SAMPLE_RATE_HZ, number_of_channels=1)


def decode_media(data: bytes) -> tuple[int, bytes]:
    """Return time (ns of the recording's clock) and JPEG or PCM of an entry.

    Raises:
        ValueError: it is neither (binascii.Error and JSON errors are ValueErrors, too).
    """
    try:
        body = load_json(data)
        stamp = body["timestamp"]
        seconds, rest = stamp["sec"], stamp["nsec"]
        if type(seconds) is not int or type(rest) is not int or not (0 <= seconds < 1 << 32 and 0 <= rest < NS_PER_S):
            raise ValueError(f"no time: {str(stamp)[:40]}")
        return seconds * NS_PER_S + rest, base64.b64decode(body["data"], validate=True)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no media: {type(error).__name__} {error}"[:200]) from None


def _json(t_ns: int, data: bytes, **more: str | int) -> bytes:
    seconds, rest = divmod(max(0, t_ns), NS_PER_S)
    body = {"timestamp": {"sec": seconds, "nsec": rest}, "data": base64.b64encode(data).decode(), **more}
    return json.dumps(body, separators=(",", ":")).encode()
