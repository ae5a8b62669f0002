"""The ASR pool of a fleet: what a batch gains on this machine, and what a pool that fails costs live streams.

python -m scripts.bench asr_pool [--streams N] [--seconds S] [--deadline S] [--rest]

The first part decodes what streams asked for while the demo's sentences were read to them, in batches of 1, 2, 4 and 8,
and compares the words. The second runs a host of a fleet in this process, with the pool's recognisers in others and a
real mosquitto: one recogniser is killed, all are stopped, then all are killed, while somebody talks on every stream.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig, Config
from realtime.extract.asr.transcriber import AsrModel, Transcriber
from realtime.extract.asr.whisper import Request
from realtime.extract.vad import SpeechDetector
from realtime.fleet.asr_processes import AsrProcesses
from realtime.fleet.config import FleetConfig
from realtime.fleet.live import LiveSession
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk
from scripts.benchmarks.program import talk
from scripts.fleeting.arrivals import Subscriber, quantile_ms
from scripts.harness import talking
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.extract.asr.whisper import Hypothesis
    from realtime.types import Floats
    from scripts.fleeting.arrivals import Heard

BATCHES = (1, 2, 4, 8)
RECOGNISERS = 2
FPS = 5
SETTLE_S = 8.0
AFTER_S = 10.0
"""So long after a fault its windows are judged, and so long words may take to be back (F7)."""


class _Noted:
    """A decoder that notes what is asked of it."""

    def __init__(self, model: AsrModel) -> None:
        self._model, self.asked = model, list[Request]()

    def decode(
        self, sound: Floats, prefix: Sequence[int], max_tokens: int, language: str | None
    ) -> tuple[Hypothesis, str]:
        """Decode, see AsrModel.decode."""
        self.asked.append(Request(sound, tuple(prefix), max_tokens, language))
        return self._model.decode(sound, prefix, max_tokens, language)


def asked_for(model: AsrModel) -> list[Request]:
    """What streams ask for while sentences are read to them, mixed."""
    noted = _Noted(model)
    for take in talking.SENTENCES:
        detector, transcriber = SpeechDetector(), Transcriber(AsrConfig(), noted, VirtualClock())
        samples = talking.sound(take)
        for at in range(0, len(samples), 320):
            chunk = Chunk(at * NS_PER_S // SAMPLE_RATE_HZ, samples[at : at + 320])
            for frame in detector.feed(chunk):
                list(transcriber.feed(frame))
        for frame in detector.flush():
            list(transcriber.feed(frame))
        list(transcriber.flush())
    order = np.random.default_rng(0).permutation(len(noted.asked))
    return [noted.asked[number] for number in order]


def batches(model: AsrModel) -> dict[str, Any]:
    """Decodes a second by the size of the batch, by the clock and by the CPU; and how many differ from one by one."""
    asked = asked_for(model)
    alone: list[Hypothesis] = []
    rates: dict[str, float] = {}
    cpu_rates: dict[str, float] = {}
    other_words = other_times = 0
    for size in BATCHES:
        begun_s, begun_cpu_s = time.monotonic(), time.process_time()
        found: list[Hypothesis] = []
        for at in range(0, len(asked), size):
            found += [hypothesis for hypothesis, _ in model.decode_batch(asked[at : at + size])]
        rates[str(size)] = round(len(asked) / (time.monotonic() - begun_s), 2)
        cpu_rates[str(size)] = round(len(asked) / (time.process_time() - begun_cpu_s), 2)
        alone = alone or found
        for one, other in zip(found, alone, strict=True):
            other_words += [word.text for word in one.words] != [word.text for word in other.words]
            other_times += [word.start_s for word in one.words] != [word.start_s for word in other.words]
        print(
            f"batches of {size}: {rates[str(size)]} decodes a second, {cpu_rates[str(size)]} a CPU second", flush=True
        )
    return {
        "asr_pool_decodes": len(asked),
        "asr_pool_decodes_per_s": rates,
        "asr_pool_decodes_per_cpu_s": cpu_rates,
        "asr_pool_other_words": other_words,
        "asr_pool_other_times": other_times,
    }


def failures(folder: Path, streams: int, seconds: float, deadline_s: float) -> dict[str, Any]:
    """Harm a pool under live streams; what becomes of their windows and of their words."""
    length_s = SETTLE_S + 5 * max(seconds, AFTER_S) + 30.0
    takes = (talking.BEST, talking.WISDOM)
    times = math.ceil(length_s / sum(take.end_s - take.begin_s for take in takes)) + 1
    clip = talk([talking.film(take) for take in takes] * times, folder / "talk.mkv", length_s, 0.0, FPS)
    found: dict[str, Any] = {"asr_pool_streams": streams}
    with ExitStack() as stack:
        broker = Mosquitto(folder)
        stack.callback(broker.close)
        settings = {
            "mqtt": {"url": broker.url},
            "camera": {"max_fps": FPS},
            "asr": {"reading_model": "none"},
        }
        pool = {"processes": RECOGNISERS, "deadline_s": deadline_s}
        fleet = FleetConfig.model_validate({"settings": settings, "asr_pool": pool})
        processes = AsrProcesses(fleet, "error")
        stack.callback(processes.close)
        session = LiveSession("bench", Config.model_validate(settings), processes.links())
        stack.callback(session.close)
        told = session.told_of_pool
        wait_until(lambda: told()[1] == RECOGNISERS, 60, "the recognisers")
        subscriber = Subscriber(broker.port, folder / "heard")
        stack.callback(subscriber.close)
        for number in range(streams):
            session.add({"name": f"s{number}", "source": str(clip)}, 1, None)
        time.sleep(SETTLE_S)
        moments: dict[str, tuple[float, dict[str, int]]] = {}

        def harm(what: str, number: signal.Signals | None, count: int) -> None:
            moments[what] = (time.time(), told()[0])
            for pid in processes.pids()[:count]:
                if number is not None:
                    os.kill(pid, number)
            time.sleep(max(seconds, AFTER_S))

        harm("unharmed", None, 0)
        harm("halved", signal.SIGKILL, 1)
        harm("stopped", signal.SIGSTOP, RECOGNISERS)
        harm("continued", signal.SIGCONT, RECOGNISERS)
        harm("killed", signal.SIGKILL, RECOGNISERS)
        moments["end"] = (time.time(), told()[0])
        heard = subscriber.heard(Config.model_validate(settings).window.lateness_s).sentiments
    for (what, (at_s, before)), (_, (_, after)) in itertools.pairwise(moments.items()):
        found |= judged(what, at_s, heard)
        done = {by: after[by] - before.get(by, 0) for by in after if after[by] > before.get(by, 0)}
        found[f"asr_pool_{what}_decodes"] = done
        print(f"{what}: {json.dumps({key: found[key] for key in found if what in key})}", flush=True)
    return found


def judged(what: str, at_s: float, heard: dict[str, list[Heard]]) -> dict[str, Any]:
    """Figures of a fault at a moment: windows within ten seconds, and when each stream had a word spoken after it."""
    late = [each.late_ms for own in heard.values() for each in own if at_s <= each.at_s < at_s + AFTER_S]
    back = [
        next((each.at_s - at_s for each in own if each.word_s is not None and each.word_s > at_s), float("inf"))
        for own in heard.values()
    ]
    return {
        f"asr_pool_{what}_windows": len(late),
        f"asr_pool_{what}_p99_ms": quantile_ms(late, 0.99),
        f"asr_pool_{what}_words_after_s": round(max(back), 2),
    }


def main(options: Sequence[str]) -> dict[str, Any]:
    """Print what is found, and last one line of JSON."""
    cli = argparse.ArgumentParser(prog="bench.py asr_pool", description=__doc__)
    cli.add_argument("--streams", type=int, default=2)
    cli.add_argument("--seconds", type=float, default=15.0, help="after each fault")
    cli.add_argument("--deadline", type=float, default=1.0, help="asr_pool.deadline_s: longer on a busy machine")
    cli.add_argument("--rest", action="store_true", help="only the batches")
    cli.add_argument("--quick", action="store_true", help="a short run: to see that it works")
    args, _ = cli.parse_known_args(options)
    found = batches(AsrModel(AsrConfig()))
    if not args.rest:
        with tempfile.TemporaryDirectory() as folder:
            found |= failures(Path(folder), args.streams, AFTER_S if args.quick else args.seconds, args.deadline)
    print(json.dumps(found))
    return found
