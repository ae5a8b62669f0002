"""What one window costs, from its items to the broker: how many streams two cores can carry follows from it.

A recording (of the demo, unless one is given) is played on a virtual clock as streams with phase offsets. Each part is
timed by the CPU time of the process: feeding the window, closing it, fusing (alone, and 64 at a time), composing, and
writing and publishing the message through the links of the program to a real mosquitto, whose CPU time is told apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from models import zoo
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import Config, MqttConfig
from realtime.fuse.worker import fuser_of
from realtime.publish.mqtt import MqttPublisher
from realtime.publish.outlet import Outlet
from realtime.session.stream import Stream
from realtime.types import NS_PER_S
from scripts.fleeting.loop import Loop, PlayedClock, Player, made
from scripts.harness.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime.fuse.worker import Estimate
    from realtime.publish.messages import Sentiment
    from realtime.types import WindowView

BATCH = 64
HOP_S = 1.0
QUIET_S = 0.5


def parse(options: Sequence[str]) -> argparse.Namespace:
    """Options of `bench.py window_cost`."""
    cli = argparse.ArgumentParser(prog="bench.py window_cost", description=__doc__)
    cli.add_argument("--recording", type=Path, help="a recording instead of the demo's")
    cli.add_argument("--streams", type=int, default=64)
    cli.add_argument("--seconds", type=int, default=60, help="of each stream")
    cli.add_argument("--quick", action="store_true", help="a short run: to see that it works")
    args, _ = cli.parse_known_args(options)
    return args


class Spent:
    """CPU seconds of this process by part."""

    def __init__(self) -> None:
        self.by_part: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count what is spent meanwhile."""
        begin_s = time.process_time()
        yield
        self.by_part[part] = self.by_part.get(part, 0.0) + time.process_time() - begin_s


def measure(loop: Loop, streams: int, seconds: int) -> dict[str, Any]:
    """Play the streams and return the figures."""
    config = Config.model_validate({"window": {"hop_s": HOP_S}, "streams": [{"source": "played"}]})
    real = VirtualClock()
    sent: list[Any] = []
    fuser = fuser_of(config, real)
    outlet = Outlet.into(sent.append)
    played = []
    for number in range(streams):
        named = config.streams[0].model_copy(update={"name": f"s{number:04}"})
        clock = PlayedClock(real, ahead_ns=number * loop.length_ns // streams)
        stream = Stream(config, named, clock, outlet, fuser.checkpoint.context, devices=loop.devices)
        stream.begin(clock.ahead_ns)
        played.append((stream, Player(loop, stream.window, clock.ahead_ns), clock))
    spent = Spent()
    alone: list[float] = []
    for second in range(1, seconds + 1):
        real.advance_to(second * NS_PER_S + int(config.window.lateness_s * NS_PER_S))
        views: list[WindowView] = []
        for stream, player, clock in played:
            with spent.on("feed"):
                for at_ns in player.feed(clock.now_ns()):
                    clock.at_ns = at_ns
                clock.at_ns = None
            with spent.on("close"):
                views.append(stream.close_window(second * NS_PER_S + clock.ahead_ns))
        begin_s = time.process_time()
        fuser.fuse(views[:1])
        alone.append(time.process_time() - begin_s)
        estimates: list[Estimate] = []
        with spent.on("fuse"):
            for begin in range(0, len(views), BATCH):
                estimates += fuser.fuse(views[begin : begin + BATCH])
        with spent.on("compose"):
            for (stream, *_), view, estimate in zip(played, views, estimates, strict=True):
                stream.publish(view, estimate)
    windows = streams * seconds
    messages = [message for message in sent if hasattr(message, "score")]
    with spent.on("write"):
        payloads = [message.payload() for message in messages]
    part_ms = {f"{part}_ms": round(1000 * cpu_s / windows, 4) for part, cpu_s in spent.by_part.items()}
    return {
        **part_ms,
        "fuse_alone_ms": round(1000 * sorted(alone)[len(alone) // 2], 4),
        "message_bytes": round(sum(map(len, payloads)) / max(1, len(payloads))),
        **publishing(messages[-streams * min(seconds, 20) :], streams),
    }


def publishing(messages: Sequence[Sentiment], streams: int) -> dict[str, float]:
    """Publish messages, a round of all streams each 0.1 s, and return what a message costs here and at the broker."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        publisher = MqttPublisher(
            MqttConfig(url=broker.url),
            [f"s{number:04}" for number in range(streams)],
            lambda *_: None,
            MonotonicClock(),
        )
        publisher.start()
        try:
            publisher.wait_ready(30)
            time.sleep(QUIET_S)
            ours_s, theirs_s = time.process_time(), _process_s(broker.pid)
            for begin in range(0, len(messages), streams):
                for message in messages[begin : begin + streams]:
                    publisher.send_sentiment(message)
                time.sleep(0.1)
            time.sleep(QUIET_S)
            ours_s, theirs_s = time.process_time() - ours_s, _process_s(broker.pid) - theirs_s
            sent = sum(publisher.stats(f"s{number:04}").sent for number in range(streams))
        finally:
            publisher.close()
            broker.close()
    return {
        "publish_ms": round(1000 * ours_s / max(1, sent), 4),
        "broker_ms": round(1000 * theirs_s / max(1, sent), 4),
        "published": sent,
    }


def _process_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print one line of JSON."""
    args = parse(options)
    loop = Loop(args.recording or made(zoo.cache().parent / "fleet-demo"))
    streams, seconds = (8, 10) if args.quick else (args.streams, args.seconds)
    found = measure(loop, streams, seconds)
    parts = ("feed_ms", "close_ms", "fuse_ms", "compose_ms", "publish_ms")  # writing is a part of publishing
    total_ms = sum(found[part] for part in parts)
    result = {f"window_{key}": value for key, value in found.items()} | {
        "window_cost_ms": round(total_ms, 4),
        "window_cost_with_broker_ms": round(total_ms + found["broker_ms"], 4),
        "window_streams_on_two_cores": int(2000 * HOP_S / (total_ms + found["broker_ms"])),
        "window_streams": streams,
    }
    print(json.dumps(result))
    return result
