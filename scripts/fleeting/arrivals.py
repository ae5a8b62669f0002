"""What an independent subscriber heard: mosquitto's own, which stamps each arrival in a file, read afterwards."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from scripts.harness.processes import need

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heard:
    """A sentiment as it arrived: by the wall clock, in seconds."""

    at_s: float
    stream: str
    seq: int
    epoch: int
    host: str | None
    end_s: float
    """When its window ended."""
    score: float | None
    raw: float | None
    context: float | None
    late_ms: float
    """From the end of the window to the arrival, beyond the lateness."""
    word_s: float | None = None
    """When the newest word in it was spoken."""


@dataclass(frozen=True, slots=True)
class StatusHeard:
    """A status as it arrived."""

    at_s: float
    stream: str
    retained: bool
    status: str


@dataclass
class Heards:
    """All that was heard."""

    sentiments: dict[str, list[Heard]] = field(default_factory=lambda: defaultdict(list))
    statuses: list[StatusHeard] = field(default_factory=list)


class Subscriber:
    """mosquitto_sub in a process of its own.

    Args:
        port: of the broker on loopback.
        file: takes what is heard.
        base: first part of the topics.
    """

    def __init__(self, port: int, file: Path, base: str = "agfn") -> None:
        need("mosquitto_sub")
        self._file, self._read, self._heard = file, 0, Heards()
        self._out = file.open("wb")
        command = [shutil.which("mosquitto_sub") or "", "-h", "127.0.0.1", "-p", str(port), "-V", "5"]
        command += ["-t", f"{base}/+/sentiment", "-t", f"{base}/+/status", "-F", "%U %r %t %p"]
        self._process = subprocess.Popen(command, stdout=self._out)

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        time.sleep(0.2)
        self._process.terminate()
        self._process.wait(5)
        self._out.close()

    def heard(self, lateness_s: float) -> Heards:
        """Return all that was heard so far."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]  # a line may still be written
        self._read += len(whole)
        note(self._heard, whole.splitlines(), lateness_s)
        return self._heard


def note(found: Heards, lines: Iterable[bytes], lateness_s: float) -> None:
    """Add lines of `%U %r %t %p`."""
    for line in lines:
        parts = line.split(b" ", 3)
        at_s, (_, stream, kind) = float(parts[0]), parts[2].decode().rsplit("/", 2)
        if kind == "status":
            found.statuses.append(StatusHeard(at_s, stream, parts[1] == b"1", parts[3].decode()))
            continue
        body = json.loads(parts[3])
        end_s = (
            datetime.fromisoformat(body["utc"].replace("Z", "+00:00")).timestamp() - body["latency_ms"]["window"] / 1000
        )
        word_age_ms = body["modalities"]["text"]["age_ms"]
        late_ms = 1000 * (at_s - end_s - lateness_s)
        found.sentiments[stream].append(
            Heard(
                at_s,
                stream,
                body["seq"],
                body["epoch"],
                body["host"],
                end_s,
                body["score"],
                body["raw"],
                body["context"],
                late_ms,
                None if word_age_ms is None else end_s - word_age_ms / 1000,
            )
        )


def newest_epoch(heard: Sequence[Heard]) -> tuple[list[Heard], list[Heard]]:
    """Split into what a client of the contract takes, and what it rejects for its older epoch."""
    taken, stale, epoch = list[Heard](), list[Heard](), -1
    for each in heard:
        if each.epoch < epoch:
            stale.append(each)
        else:
            epoch = each.epoch
            taken.append(each)
    return taken, stale


def gaps(taken: Sequence[Heard]) -> int:
    """Windows of one holder that never came: numbers left out, but for those at a change of hands."""
    return sum(
        max(0, late.seq - early.seq - 1) for early, late in itertools.pairwise(taken) if early.epoch == late.epoch
    )


def quantile_ms(values: Sequence[float], q: float) -> float:
    """A quantile, rounded; NaN of nothing."""
    return round(float(np.quantile(values, q)), 1) if len(values) else float("nan")


def silence_s(taken: Sequence[Heard], harmed_s: float) -> float | None:
    """From a moment to the first message of a later epoch than the one that spoke then; None while there is none."""
    before = [each.epoch for each in taken if each.at_s <= harmed_s]
    if not before:
        return None
    return next((each.at_s - harmed_s for each in taken if each.at_s > harmed_s and each.epoch > before[-1]), None)
