"""The program under measurement: a file that talks and then is silent, the process, and a subscriber beside it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import psutil

from realtime.capture.media import MediaFile
from realtime.config.schema import CameraConfig
from realtime.publish.access import Access
from realtime.publish.connection import BoundedClient, Connection, LoopThread
from realtime.types import SAMPLE_RATE_HZ, Chunk, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from aiomqtt import Client
    from typing_extensions import Self

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = (640, 480)
FPS = 15
THREADS_EVERY = 8
FAMILY_EVERY = 8
RETRY_S = (0.25, 0.5)
STAGES = {"drishti": "face", "whisper": "transcribe"} | {
    name: name for name in ("face", "voice", "speech", "transcribe", "text", "fusion", "camera", "microphone")
}
"""Which stage a thread works for, by its name; MediaPipe calls its own drishti."""


def talk(clips: Sequence[Path], target: Path, speak_s: float, silent_s: float, fps: int = FPS) -> Path:
    """Write one file of clips joined to `speak_s` of talk, then `silent_s` of the last face with nothing said.

    Motion JPEG and PCM, 640 x 480: about what a webcam costs to decode.
    """
    pictures, sound = _joined(clips, speak_s, fps)
    rng = np.random.default_rng(0)
    hush = rng.normal(0, 1e-3, int(silent_s * SAMPLE_RATE_HZ)).astype(np.float32)
    still = pictures[-1].astype(np.int16)
    with av.open(str(target), "w") as file:
        video = file.add_stream("mjpeg", rate=fps, width=SIZE[0], height=SIZE[1], pix_fmt="yuvj420p")
        audio = file.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        for number in range(int((speak_s + silent_s) * fps)):
            image = (
                pictures[number]
                if number < len(pictures)
                else np.clip(still + rng.integers(-2, 3, still.shape, np.int16), 0, 255).astype(np.uint8)
            )
            frame = av.VideoFrame.from_ndarray(image, "bgr24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            file.mux(video.encode(frame))
        whole = (np.concatenate([sound, hush]).clip(-1, 1) * 32767).astype(np.int16)
        for begin in range(0, len(whole), SAMPLE_RATE_HZ):
            block = av.AudioFrame.from_ndarray(whole[None, begin : begin + SAMPLE_RATE_HZ], "s16", "mono")
            block.rate, block.pts, block.time_base = SAMPLE_RATE_HZ, begin, Fraction(1, SAMPLE_RATE_HZ)
            file.mux(audio.encode(block))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))
    return target


def _joined(clips: Sequence[Path], length_s: float, fps: int) -> tuple[list[np.ndarray], np.ndarray]:
    pictures: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for clip in clips:
        items = list(MediaFile(clip, CameraConfig(max_fps=120)).items(0))
        sound = np.concatenate([item.samples for item in items if isinstance(item, Chunk)])
        frames = [item for item in items if isinstance(item, Frame)]
        times_s = np.array([frame.t_ns / 1e9 for frame in frames])
        count = int(len(sound) / SAMPLE_RATE_HZ * fps)
        chosen = np.maximum(0, np.searchsorted(times_s, np.arange(count) / fps, side="right") - 1)
        pictures += [cv2.resize(frames[index].image, SIZE) for index in chosen]
        parts.append(sound[: count * SAMPLE_RATE_HZ // fps])
        if len(pictures) >= length_s * fps:
            break
    return pictures[: int(length_s * fps)], np.concatenate(parts)[: int(length_s * SAMPLE_RATE_HZ)]


@dataclass
class Heard:
    """A message with the wall-clock time it arrived at."""

    at_s: float
    kind: str
    stream: str
    body: dict[str, Any]

    @property
    def delivery_ms(self) -> float:
        """From the stamp of the message to its arrival."""
        return 1000 * (self.at_s - datetime.fromisoformat(self.body["utc"].replace("Z", "+00:00")).timestamp())


@dataclass
class Usage:
    """CPU seconds of the process and its broker, and memory of the process, at a wall-clock time."""

    at_s: float
    cpu_s: float
    rss_mb: float
    threads_s: dict[int, tuple[str, float]]
    """CPU seconds of each thread by its id, with its name; empty where the system does not tell, or was not asked."""


@dataclass
class Program:
    """`python -m realtime.run` with its embedded broker, listened to until it ends; use as a context.

    Args:
        options: of the command line, without those for MQTT.
    """

    options: Sequence[str]
    heard: list[Heard] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = tempfile.TemporaryFile("w+")
        self.begin_s = time.time()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realtime.run", "--no-view", "--set", f"mqtt.port={self.port}", *self.options],
            cwd=ROOT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        access = Access("127.0.0.1", self.port)
        connection = Connection(lambda: BoundedClient(access), self._listen, lambda _: None, RETRY_S)
        self._listener = LoopThread("listener")
        self._listener.start(connection.run())
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.join(0.0)
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the program.

        Raises:
            RuntimeError: it failed.
        """
        if self.process.wait(timeout_s) != 0:
            self._log.seek(0)
            raise RuntimeError(f"the program ended with {self.process.returncode}: {self._log.read()[-1000:]}")

    def sentiments(self, stream: str | None = None) -> list[Heard]:
        """Sentiment messages so far."""
        return [one for one in self.heard if one.kind == "sentiment" and stream in {None, one.stream}]

    def cores(self, begin_s: float, end_s: float) -> float:
        """CPU seconds per second between two wall-clock times."""
        inside = [sample for sample in self.usage if begin_s <= sample.at_s <= end_s]
        if len(inside) < 2:
            return float("nan")
        return (inside[-1].cpu_s - inside[0].cpu_s) / (inside[-1].at_s - inside[0].at_s)

    def cores_by_stage(self, begin_s: float, end_s: float) -> dict[str, float]:
        """As `cores`, of the threads of each stage of all streams (Linux)."""
        inside = [sample for sample in self.usage if begin_s <= sample.at_s <= end_s and sample.threads_s]
        if len(inside) < 2:
            return {}
        first, last = inside[0], inside[-1]
        stages: dict[str, float] = {}
        for thread, (name, cpu_s) in last.threads_s.items():
            stage = STAGES.get(name, name if name in STAGES.values() else "rest")
            spent_s = cpu_s - first.threads_s.get(thread, (name, 0.0))[1]
            stages[stage] = stages.get(stage, 0.0) + spent_s / (last.at_s - first.at_s)
        return {stage: round(cores, 3) for stage, cores in sorted(stages.items(), key=lambda item: -item[1])}

    async def _listen(self, client: Client) -> None:
        await client.subscribe("agfn/#")
        async for message in client.messages:
            at_s = time.time()
            *_, stream, kind = message.topic.value.split("/")
            if kind in {"sentiment", "health", "event"} and not message.retain:
                self.heard.append(Heard(at_s, kind, stream, json.loads(message.payload)))

    def _sample(self) -> None:
        for sample in _usage(self.process.pid):
            self.usage.append(sample)
            time.sleep(0.25)


def _usage(pid: int) -> Iterator[Usage]:
    try:
        process = psutil.Process(pid)
        family = [process]
        for number in itertools.count():
            if number % FAMILY_EVERY == 0:
                family = [process, *process.children(recursive=True)]
            times = [one.cpu_times() for one in family if one.is_running()]
            # There are dozens of threads: looking at them must not become work of its own.
            by_thread = threads(pid) if number % THREADS_EVERY == 0 else {}
            cpu_s = sum(each.user + each.system for each in times)
            yield Usage(time.time(), cpu_s, process.memory_info().rss / 1e6, by_thread)
    except psutil.Error:
        return


def threads(pid: int) -> dict[int, tuple[str, float]]:
    """CPU seconds of each thread of a process by its id, with its name (Linux)."""
    found = {}
    tick_s = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):  # it has ended meanwhile
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            user, system = rest.split()[11:13]
            found[int(task.name)] = (name, (int(user) + int(system)) * tick_s)
    return found


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95 and p99; None of nothing."""
    if not values:
        return {"p50": None, "p95": None, "p99": None}
    return {f"p{level}": round(float(np.percentile(values, level)), 1) for level in (50, 95, 99)}


def median(values: Sequence[float | None], digits: int = 3) -> float | None:
    """Median of the values that are known; None of nothing."""
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), digits) if known else None
