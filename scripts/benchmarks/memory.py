"""What a run takes, import by import and model by model; then memory over hours, simulated as fast as the machine can.

The first is memory_parts.py. The hours are a minute that talks and is silent, again and again:
The program's own replay with all extractors, words, fusion and messages, at 3 pictures a second, on a virtual clock.
The slope is that of a line through the second half: caches and baselines have filled up by then.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from realtime.capture.media import MediaFile, due_ns
from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun
from realtime.types import NS_PER_S
from scripts.benchmarks import memory_parts
from scripts.benchmarks.program import talk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime.config.schema import CameraConfig
    from realtime.publish.messages import Message
    from realtime.types import Chunk, Frame

FPS = 3
SPEAK_S, SILENT_S = 20.0, 40.0
SAMPLE_S = 10.0


class Loop:
    """A file played again and again, for `hours`."""

    def __init__(self, path: Path, camera: CameraConfig, hours: float) -> None:
        self._media, self._hours = MediaFile(path, camera), hours
        self.path = path
        self.has_picture, self.has_sound = self._media.has_picture, self._media.has_sound

    def items(self, start_ns: int) -> Iterator[Frame | Chunk]:
        """Frames and sound in the order of their times."""
        over_ns = start_ns + int(self._hours * 3600 * NS_PER_S)
        while start_ns < over_ns:
            end_ns = start_ns
            for item in self._media.items(start_ns):
                end_ns = max(end_ns, due_ns(item))
                yield item
            start_ns = end_ns


class Watch:
    """Takes the messages, as a sink would, and notes the memory every few simulated seconds."""

    def __init__(self) -> None:
        self.hours: list[float] = []
        self.rss_mb: list[float] = []
        self.messages = self.bytes = 0
        self._process = psutil.Process()

    def take(self, message: Message) -> None:
        """Serialise a message; look at the memory when it is time."""
        self.messages += 1
        self.bytes += len(message.model_dump_json())
        if isinstance(message, Sentiment):
            at_h = message.window.end_s / 3600
            if not self.hours or at_h - self.hours[-1] >= SAMPLE_S / 3600:
                self.hours.append(at_h)
                self.rss_mb.append(self._process.memory_info().rss / 1e6)

    def slope_mb_per_h(self) -> float:
        """Of a line through the second half."""
        half = len(self.hours) // 2
        return float(np.polyfit(self.hours[half:], self.rss_mb[half:], 1)[0])


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py memory", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--hours", type=float, default=4.0, help="simulated (default 4)")
    cli.add_argument("--quick", action="store_true", help="two simulated minutes: to see that it works")
    cli.add_argument("--parts", action="store_true", help="the first part alone: some minutes")
    cli.add_argument("--runs", type=int, default=5, help="of the first part (default 5)")
    args, _ = cli.parse_known_args(options)
    costs = memory_parts.measure(1, 12.0) if args.quick else memory_parts.measure(args.runs)
    if args.parts:
        print(json.dumps(costs))
        return costs
    hours = 2 / 60 if args.quick else args.hours
    config = load(None, [f"camera.max_fps={FPS}", f"camera.idle_fps={FPS}"])[0]
    clock, watch = VirtualClock(), Watch()
    with tempfile.TemporaryDirectory() as folder:
        clips = sorted((args.data / "mosi_clips").glob("*.mp4"))
        clip = talk(clips, Path(folder) / "talk.mkv", SPEAK_S, SILENT_S, FPS)
        gc.collect()
        begin_s = time.monotonic()
        OfflineRun(
            config, SharedModels(config, clock), clock, Outlet.into(watch.take), Loop(clip, config.camera, hours)
        ).run(threading.Event())
    result = costs | {
        "memory_hours": round(watch.hours[-1], 3),
        "memory_rss_mb": [round(float(np.percentile(watch.rss_mb, share))) for share in (0, 50, 100)],
        "memory_slope_mb_per_h": round(watch.slope_mb_per_h(), 3),
        "memory_messages": watch.messages,
        "memory_times_real_pace": round(3600 * watch.hours[-1] / (time.monotonic() - begin_s), 1),
    }
    print(json.dumps(result))
    return result
