"""Measure a fleet on this machine: recordings played as many streams, hosts that die, stand still and join.

    python -m scripts.fleet --streams 100 --hosts 4 --minutes 2 --seed 7 --bars

Windows, fusion, messages, links, placer and engine are the program's own; only what the extractors would find is
recorded (the demo, unless a recording is given). The broker is a real mosquitto, and its own subscriber stamps each
arrival. Prints the bars F1 to F11 as a table, with what was not measured, and one line of JSON. Nothing is harmed
without --bars. The ASR pool (F7) is harmed last, under live streams of its own: what is recorded is not decoded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from models import zoo
from realtime.clock import VirtualClock, utc_now
from realtime.fleet.config import AsrPoolConfig
from realtime.fleet.local_engine import LocalHost
from realtime.fuse.worker import fuser_of
from realtime.session.state import StreamState
from realtime.types import NS_PER_S
from scripts.benchmarks.asr_pool import AFTER_S, failures
from scripts.fleeting import rays
from scripts.fleeting.arrivals import gaps, newest_epoch, quantile_ms, silence_s
from scripts.fleeting.bars import table
from scripts.fleeting.chaos import Chaos
from scripts.fleeting.loop import made
from scripts.fleeting.rig import CORES, Rig, local
from scripts.fleeting.session import phase_ns
from scripts.fleeting.twin import Difference, difference, quiet_in_s
from scripts.fleeting.verdict import judge
from scripts.harness.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime.fleet.engine import Engine
    from realtime.fleet.local_engine import LocalEngine
    from scripts.fleeting.arrivals import Heard

SETTLE_S = 6.0
"""Windows are full, and caches warm."""
STEP_S = 10.0
"""So long the cost is measured for each number of streams on the way up."""
STOPPED_S = 15.0
RETURN_S = 60.0
"""What was harmed is back by then, and a host that joined has its part."""
QUIET_S = 20.0
"""After chaos nothing is harmed for so long, before it is judged."""
TWINS = 60
PAUSE_S = 25
"""Longer than what is lost with a host and the window before and after: in the demo somebody speaks all the time."""
GRID_S = 0.05
FIRST_FULL_S = 4.5
HARMS = ("halved", "stopped", "killed")
"""What is done to the ASR pool."""


class Measurement:
    """One run.

    Args:
        rig: the fleet.
        seed: of which host is harmed.
    """

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.found: dict[str, Any] = {}
        self._rng = random.Random(seed)
        self._base_mb = sum(rig.rss_mb().values())

    def grow(self, streams: int) -> None:
        """Add the streams in four steps, and measure what one costs at each (F2)."""
        cores: dict[str, float] = {}
        beside: dict[str, float] = {}
        for part in (0.1, 0.25, 0.5, 1.0):
            count = max(1, round(part * streams))
            self.rig.grow(count)
            self.rig.wait_speaking()
            self._pause(SETTLE_S)
            spent, beside = self._cores(STEP_S)
            cores[str(count)] = round(spent / count, 6)
            print(f"{count} streams: {cores[str(count)]} cores a stream, load {os.getloadavg()[0]:.1f}", flush=True)
        grown_mb = sum(self.rig.rss_mb().values()) - self._base_mb
        self.found |= {
            "cores_by_streams": cores,
            "cores_per_stream": cores[str(streams)],
            "rss_mb_per_stream": round(grown_mb / streams, 3),
            **{f"{name}_cores": round(spent, 3) for name, spent in beside.items()},
        }

    def steady(self, minutes: float) -> None:
        """Listen while nothing is harmed (F1)."""
        begin_s = time.time()
        self._pause(60 * minutes)
        end_s = time.time()
        late: list[float] = []
        by_minute: dict[int, list[float]] = defaultdict(list)
        lost = 0
        for heard in self._between(begin_s, end_s).values():
            late += [each.late_ms for each in heard]
            for each in heard:
                by_minute[int((each.at_s - begin_s) // 60)].append(each.late_ms)
            lost += gaps(heard)
        hop_ms = 1000 * self.rig.config.window.hop_s
        self.found |= {
            "minutes": minutes,
            "windows": len(late),
            "seq_gaps": lost,
            "p50_ms": quantile_ms(late, 0.5),
            "p99_ms": quantile_ms(late, 0.99),
            "p99_ms_by_minute": [quantile_ms(by_minute[minute], 0.99) for minute in sorted(by_minute)],
            "late_share": round(sum(value > hop_ms for value in late) / max(1, len(late)), 5),
            "load": round(os.getloadavg()[0], 1),
        }

    def kill(self) -> None:
        """Kill a host; its streams speak again elsewhere (F3, and F4 but for the node)."""
        victim = self._victim()
        self._wait_quiet(victim)
        owners = self.rig.owners()
        lost = [name for name, (host, _) in owners.items() if host == victim]
        others = [name for name in owners if name not in lost]
        states = {name: self.rig.fleet.state_of(name) for name in lost}
        print(f"kill -9 of {victim} with {len(lost)} streams", flush=True)
        harmed_s = self.rig.harm(victim, signal.SIGKILL)
        silences = self._silences(lost, harmed_s)
        self._pause(FIRST_FULL_S + 2)
        others_ms = [each.late_ms for name in others for each in self._between(harmed_s, harmed_s + 10).get(name, ())]
        self.found |= {
            "failover_streams": len(lost),
            "failover_p95_s": round(float(np.quantile(silences, 0.95)), 2),
            "failover_max_s": round(max(silences), 2),
            "others_p99_ms": quantile_ms(others_ms, 0.99),
            **self._judged(lost, harmed_s, states),
        }

    def kill_node(self, node: rays.Node) -> None:
        """Kill a whole node of a Ray cluster (F4)."""
        self._wait_quiet(node.host)
        owners = self.rig.owners()
        lost = [name for name, (host, _) in owners.items() if host == node.host]
        states = {name: self.rig.fleet.state_of(name) for name in lost}
        print(f"node of {node.host} killed with {len(lost)} streams", flush=True)
        harmed_s = time.time()
        node.kill()
        silences = self._silences(lost, harmed_s)
        self._pause(FIRST_FULL_S + 2)
        self.found |= {"node_max_s": round(max(silences), 2), **self._judged(lost, harmed_s, states)}

    def stop(self) -> None:
        """Stop a host, and let it go on after its streams have gone elsewhere (F5)."""
        victim = self._victim()
        owners = self.rig.owners()
        lost = [name for name, (host, _) in owners.items() if host == victim]
        print(f"{victim} stopped for {STOPPED_S:.0f} s with {len(lost)} streams", flush=True)
        harmed_s = self.rig.harm(victim, signal.SIGSTOP)
        self._silences(lost, harmed_s)
        self._pause(max(0.0, harmed_s + STOPPED_S - time.time()))
        woken_s = self.rig.harm(victim, signal.SIGCONT)
        self._pause(15.0)
        heard = self.rig.heard()
        stale = {
            name: len(newest_epoch([each for each in heard.sentiments[name] if each.at_s > harmed_s])[1])
            for name in lost
        }
        last = {each.stream: each.status for each in heard.statuses}
        self.found |= {
            "stale_published": sum(stale.values()),
            "stale_most": max(stale.values()),
            "retained_offline": sum(last.get(name) == "offline" for name in lost),
            "silent_after_waking": sum(
                not any(each.at_s > woken_s + 5 for each in newest_epoch(heard.sentiments[name])[0]) for name in lost
            ),
        }

    def join(self, add: Any) -> None:  # noqa: ANN401 - what adds a host
        """Add a host, and see for a minute what moves there (F8)."""
        before = self.rig.owners()
        hosts = sum(host["state"] == "ready" for host in self.rig.hosts().values())
        add()
        self.rig.wait_ready(hosts + 1)
        joined_s = time.time()
        print(f"a host joins {hosts} others", flush=True)
        self._pause(RETURN_S)
        moves = [move for move in self.rig.fleet.placer.status()["moves"] if move["why"] == "balance"]
        ago_s = time.time() - joined_s
        moves = [move for move in moves if move["ago_s"] <= ago_s]
        moved = {move["stream"] for move in moves}
        hop_s = self.rig.config.window.hop_s
        heard = self._between(joined_s - 2, time.time())
        gap_hops = max((_longest_s(heard.get(name, [])) / hop_s - 1 for name in moved), default=0.0)
        self.found |= {
            "joined_s": round(ago_s - min((move["ago_s"] for move in moves), default=ago_s), 1),
            "joined_moves": len(moves),
            "joined_most": -(-len(before) // (hosts + 1)),
            "joined_gap_hops": round(gap_hops, 2),
            "joined_streams": Counter(host for host, _ in self.rig.owners().values()),
        }

    def head(self, cluster: rays.Cluster, seconds: float) -> None:
        """Kill the head of a Ray cluster, start it again, and see whether a host is replaced then (F6)."""
        before, killed_s = self.rig.owners(), time.time()
        print(f"head killed for {seconds:.0f} s", flush=True)
        cluster.kill_head()
        self._pause(seconds)
        alone = dict(self.rig.owners())
        cluster.start_head()
        back_s = time.time()
        self._pause(SETTLE_S)
        heard = self._between(killed_s, time.time())
        self.found |= {
            "head_s": round(back_s - killed_s, 1),
            "head_gaps": sum(gaps(heard.get(name, ())) for name in before),
            "head_moved": sum(alone.get(name) != owner for name, owner in before.items()),
            "head_silent": sum(_longest_s(heard.get(name, ())) > 3 * self.rig.config.window.hop_s for name in before),
        }
        hosts = sum(host["state"] == "ready" for host in self.rig.hosts().values())
        victim = self._victim()
        lost = [name for name, (host, _) in self.rig.owners().items() if host == victim]
        harmed_s = self.rig.harm(victim, signal.SIGKILL)
        self.found["head_failover_s"] = round(max(self._silences(lost, harmed_s)), 2)
        self.rig.wait_ready(hosts)
        self.found["head_host_back_s"] = round(time.time() - harmed_s, 1)

    def chaos(self, minutes: float, seed: int) -> None:
        """Do harm by chance, and count what must not be (F10)."""
        begin_s = time.time()
        chaos = Chaos(self.rig, seed)
        chaos.run(60 * minutes)
        self._pause(QUIET_S)
        self.rig.wait_speaking()
        end_s = time.time()
        heard = self.rig.heard()
        verdict = judge(
            {name: [each for each in said if each.at_s >= begin_s] for name, said in heard.sentiments.items()},
            chaos.wanted,
            chaos.faults,
            self.rig.config.window.hop_s,
            end_s,
        )
        kept, named = self.rig.kept_entries(), {name for name, known in chaos.wanted.items() if known.now}
        last = {each.stream: each.status for each in heard.statuses}
        offline = sum(last.get(name) != "online" for name in named)
        self.found |= {
            "chaos_minutes": minutes,
            "chaos_faults": chaos.counts.total(),
            "chaos_by_kind": dict(sorted(chaos.counts.items())),
            **{f"chaos_{key}": round(value, 2) for key, value in asdict(verdict).items()},
            "chaos_entries_wrong": len(kept ^ named),
            "chaos_offline": offline,
            "chaos_violations": verdict.violations + len(kept ^ named) + offline,
        }

    def _victim(self) -> str:
        owners = Counter(host for host, _ in self.rig.owners().values() if host is not None)
        return self._rng.choice(sorted(owners))

    def _silences(self, lost: Sequence[str], harmed_s: float) -> list[float]:
        def spoke() -> dict[str, float]:
            heard = self.rig.heard().sentiments
            return {
                name: silent_s
                for name in lost
                if (silent_s := silence_s(newest_epoch(heard[name])[0], harmed_s)) is not None
            }

        wait_until(lambda: len(spoke()) == len(lost), RETURN_S, "every stream speaks again", step_s=0.25)
        return list(spoke().values())

    def _judged(
        self, lost: Sequence[str], harmed_s: float, states: Mapping[str, Mapping[str, Any] | None]
    ) -> dict[str, Any]:
        """Compare the streams that went elsewhere with their uninterrupted twins."""
        config, loop = self.rig.config, self.rig.loop
        fuser = fuser_of(config, VirtualClock())
        hop_s = config.window.hop_s
        steps, off_grid, silent, spoken = Counter[int](), 0, list[Difference](), list[Difference]()
        for name in lost:
            taken = newest_epoch(self.rig.heard().sentiments[name])[0]
            old = [each for each in taken if each.at_s <= harmed_s]
            new = [each for each in taken if each.at_s > harmed_s and each.epoch > old[-1].epoch]
            steps[new[0].epoch - old[-1].epoch] += 1
            if (state := states[name]) is None:
                continue
            started = StreamState.of(state).started
            off_grid += sum(abs(each.end_s - started.timestamp() - (each.seq + 1) * hop_s) > GRID_S for each in new)
            first = [*old, *(each for each in new if each.epoch == new[0].epoch)]
            compared = len(silent) + len(spoken)
            if compared < TWINS and (found := difference(first, started, config, loop, fuser)) and not found.turned:
                (spoken if found.spoken else silent).append(found)
        return {
            "epoch_steps": ",".join(map(str, sorted(steps))),
            "off_grid": off_grid,
            "twins": len(silent),
            "twin_score_diff_max": round(max(each.score for each in silent), 4) if silent else None,
            "twin_raw_diff_max": round(max(each.raw for each in silent), 4) if silent else None,
            "twin_context_diff_max": round(max(each.context for each in silent), 4) if silent else None,
            "twins_spoken": len(spoken),
            "twin_score_diff_max_spoken": round(max((each.score for each in spoken), default=0.0), 4),
        }

    def _wait_quiet(self, host: str) -> None:
        """Wait for the moment at which the most streams of a host can be lost with nothing said in what is lost."""
        loop, now = self.rig.loop, utc_now()
        states = [
            StreamState.of(state)
            for name, (owner, _) in self.rig.owners().items()
            if owner == host and (state := self.rig.fleet.state_of(name)) is not None
        ]
        places_ns = [
            (phase_ns(state.stream, loop) + int((now - state.started).total_seconds() * NS_PER_S)) % loop.length_ns
            for state in states
        ]
        wait_s, quiet = quiet_in_s(places_ns, loop, self.rig.config.window.length_s)
        print(f"{quiet} of {len(states)} streams of {host} are quiet in {wait_s:.1f} s", flush=True)
        self._pause(max(0.0, wait_s - (utc_now() - now).total_seconds()))

    def _between(self, begin_s: float, end_s: float) -> dict[str, list[Heard]]:
        return {
            name: newest_epoch([each for each in heard if begin_s <= each.at_s <= end_s])[0]
            for name, heard in self.rig.heard().sentiments.items()
        }

    def _cores(self, seconds: float) -> tuple[float, dict[str, float]]:
        """Return the cores that the hosts took, and those of what runs beside them."""
        before, placer_s, beside, begin_s = self.rig.cpu_s(), time.process_time(), self.rig.beside_s(), time.monotonic()
        self._pause(seconds)
        hosts_s = sum(cpu_s - before.get(name, 0.0) for name, cpu_s in self.rig.cpu_s().items())
        spent_s = {name: cpu_s - beside[name] for name, cpu_s in self.rig.beside_s().items()}
        spent_s["placer"] = time.process_time() - placer_s
        wall_s = time.monotonic() - begin_s
        return hosts_s / wall_s, {name: cpu_s / wall_s for name, cpu_s in spent_s.items()}

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)


def _longest_s(heard: Sequence[Heard]) -> float:
    return max((late.at_s - early.at_s for early, late in itertools.pairwise(heard)), default=0.0)


def _add_local(engine: Engine, name: str) -> None:
    cast("LocalEngine", engine).add(LocalHost(name, CORES))


def imports_ray() -> bool:
    """Whether the program imports Ray when nobody asks for a fleet, or for a local one (F11)."""
    code = "import sys, realtime.app, realtime.fleet.fleet, realtime.fleet.live; sys.exit('ray' in sys.modules)"
    return bool(subprocess.run([sys.executable, "-c", code], check=False).returncode)


def pool_harmed(streams: int) -> dict[str, Any]:
    """Harm the recognisers of a host with live streams (F7)."""
    with tempfile.TemporaryDirectory() as folder:
        found = failures(Path(folder), streams, AFTER_S, AsrPoolConfig().deadline_s)
    p99_ms = max(found[f"asr_pool_{what}_p99_ms"] for what in HARMS)
    words_s = {what: found[f"asr_pool_{what}_words_after_s"] for what in HARMS}
    return {
        "pool_streams": streams,
        "pool_p99_ms": p99_ms,
        "pool_words_s": {what: each if math.isfinite(each) else None for what, each in words_s.items()},
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    cli = argparse.ArgumentParser(prog="python -m scripts.fleet", description="Measure a fleet on this machine.")
    cli.add_argument("--streams", type=int, default=100)
    cli.add_argument("--hosts", type=int, default=4)
    cli.add_argument("--minutes", type=float, default=1.0, help="in which nothing is harmed")
    cli.add_argument("--seed", type=int, default=0, help="of which host is harmed")
    cli.add_argument("--engine", choices=["local", "ray"], default="local", help="ray: a cluster with a node a host")
    cli.add_argument("--bars", action="store_true", help="harm hosts, too, and add one")
    cli.add_argument(
        "--chaos-minutes", type=float, default=0.0, help="do harm by chance for so long, and count violations"
    )
    cli.add_argument("--head-s", type=float, default=60.0, help="with Ray and --bars its head is gone for so long")
    cli.add_argument(
        "--pool-streams", type=int, default=1, help="with --bars: live streams of which the ASR pool is harmed; 0: none"
    )
    cli.add_argument(
        "--pause-s", type=int, help="nobody speaks for so long after each turn of the recording: 25 with --bars, else 0"
    )
    cli.add_argument("--recording", type=Path, help="a recording instead of the demo's")
    return cli.parse_args()


def main() -> int:
    """Run, and print the table and one line of JSON."""
    args = parse()
    recording = args.recording or made(zoo.cache().parent / "fleet-demo")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = [f"h{number}" for number in range(args.hosts)]
        ray = args.engine == "ray"
        cluster = stack.enter_context(rays.Cluster(args.hosts, folder / "head")) if ray else None
        pause_s = args.pause_s if args.pause_s is not None else PAUSE_S if args.bars else 0
        rig = Rig(folder, recording, local(names) if cluster is None else cluster.engine, pause_s=pause_s)
        stack.callback(rig.close)
        rig.wait_ready(args.hosts)
        run = Measurement(rig, args.seed)
        run.grow(args.streams)
        run.steady(args.minutes)
        if args.bars:
            run.kill()
            rig.wait_ready(args.hosts)
            rig.wait_speaking()
            run.stop()
            run.join(partial(_add_local, rig.engine, f"h{args.hosts}") if cluster is None else cluster.add)
            if cluster is not None:
                run.kill_node(cluster.a_node(rig))
                run.head(cluster, args.head_s)
        if args.chaos_minutes:
            run.chaos(args.chaos_minutes, args.seed)
        run.found["dropped"] = sum(host["dropped"] for host in rig.hosts().values())
        found = {"streams": args.streams, "hosts": args.hosts, "engine": args.engine, "seed": args.seed} | run.found
    if args.bars and args.pool_streams:
        found |= pool_harmed(args.pool_streams)
    found["imports_ray"] = imports_ray()
    print(table(found))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
