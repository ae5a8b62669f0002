"""What must hold while a peer of the program misbehaves, or it is stopped itself: each check yields what is broken.

Pure: each looks at what was heard, written or measured, so that a test can show it something that is wrong.
"""

from __future__ import annotations

import itertools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.harness.live_program import HOP_S, of_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scripts.harness.live_program import Heard

STALE_S = 2.0
"""Sentiment older than this is of no use to anybody."""
STOPPED_S = 1.5
"""A stream that says nothing for so long has stopped."""
GROWN_MB = 200.0
STILL = re.compile(r"stood still for ([0-9.]+) s: ([0-9]+) windows left out")


def stale(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Windows that are older than their `utc` makes them, by what lay between both in the sentiment `before`."""
    usual_s = float(np.median([_lateness_s(body) for body in before]))
    for body in after:
        if (older_s := _lateness_s(body) - usual_s) > STALE_S:
            yield f"window {body['seq']} of {body['stream']} is {older_s:.1f} s older than it says"


def _lateness_s(body: dict[str, Any]) -> float:
    published_s = datetime.fromisoformat(body["utc"].rstrip("Z")).timestamp()
    return float(published_s - body["window"]["end_s"])


def stood_still(events: Sequence[dict[str, Any]], least_s: float) -> Iterator[str]:
    """Whether a stream told that it stood still, for how long at least, and that it goes on."""
    own = [event for event in events if event["component"] == "stream"]
    told = [match for event in own if event["kind"] == "stalled" and (match := STILL.search(event["cause"]))]
    if not told:
        yield "nobody was told that it stood still"
    elif max(float(match[1]) for match in told) < least_s:
        yield f"it stood still for {least_s:.1f} s and told of {told[0][0]}"
    elif not any(event["kind"] == "recovered" for event in own):
        yield "nobody was told that it goes on"


def unexplained(breaks: Sequence[str], bodies: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> list[str]:
    """The breaks in a row of sentiment messages that are not windows which an event says were left out."""
    told = [int(match[2]) for event in events if event["cause"] and (match := STILL.search(event["cause"]))]
    explained = set()
    for early, late in itertools.pairwise(body for body in bodies if of_grid(body)):
        begin_s, end_s = early["window"]["end_s"], late["window"]["end_s"]
        left_out = round((end_s - begin_s) / HOP_S) - 1
        if left_out > 0 and left_out in told and abs(end_s - begin_s - (left_out + 1) * HOP_S) < 0.002:
            told.remove(left_out)
            explained.add(f"windows end at {begin_s} then {end_s}")
            if late["seq"] - early["seq"] <= left_out + 1:  # those that were being judged had their numbers
                explained |= {f"seq {before} then {late['seq']}" for before in range(early["seq"], late["seq"])}
    return [each for each in breaks if each not in explained]


def stopped(
    heard: Sequence[Heard], begin_s: float, end_s: float, withheld_s: Callable[[float, float], float]
) -> Iterator[str]:
    """Whether sentiment stopped between two moments, without what the machine withheld in between."""
    times_s = [begin_s, *(each.at_s for each in heard if begin_s <= each.at_s <= end_s), end_s]
    for early_s, late_s in itertools.pairwise(times_s):
        if (gap_s := late_s - early_s - withheld_s(early_s, late_s)) > STOPPED_S:
            yield f"nothing for {gap_s:.1f} s"


def grown(what: str, before_mb: float, after_mb: float) -> Iterator[str]:
    """Whether memory grew beyond what a few seconds may cost."""
    if after_mb - before_mb > GROWN_MB:
        yield f"{what} grew from {before_mb:.0f} to {after_mb:.0f} MB"


def ended(code: int | None, text: str, statuses: Sequence[str], early: str | None) -> Iterator[str]:
    """Whether a program that was told to end did: in order, or with the reason for what had ended before it.

    Args:
        code: its exit code, None while it runs.
        text: what it printed.
        statuses: what its stream's status became.
        early: what must be said of something that had ended early; None for an orderly end.
    """
    if code != (1 if early else 0):
        yield f"ended with {code}: {text[-300:]}"
    last = text.rstrip().rpartition("\n")[2]
    if early and not (last.startswith("error: ended early") and early in last):
        yield f"the last line does not say why it ended early: {last}"
    if not statuses or statuses[-1] != "offline":
        yield f"the status after its end is {statuses[-1:]}"


def twice_online(statuses: Sequence[str]) -> Iterator[str]:
    """Whether a stream is online again after its twin has said goodbye."""
    if "offline" not in statuses:
        yield "the twin said no goodbye"
    elif statuses[-1] != "online":
        yield f"the status is {statuses[-1]} while the program runs"


def recorded(path: Path, sentiment: int, *, whole: bool) -> Iterator[str]:
    """Whether a recording can be read to where it should end.

    Args:
        path: of its folder.
        sentiment: how many messages should be in it, all of them if it is whole, else as many at least.
        whole: whether it was ended in order.
    """
    from realtime.errors import SourceError  # noqa: PLC0415 - only where something is recorded
    from realtime.recording.reader import open_recordings  # noqa: PLC0415

    try:
        for recording in open_recordings(path):
            count = sum(1 for _ in recording.messages("sentiment"))
            if whole and recording.truncated:
                yield f"the recording of {recording.stream} is cut off: {recording.truncated}"
            if count < sentiment or (whole and count > sentiment):
                yield f"{count} of {sentiment} messages of {recording.stream} are recorded"
    except SourceError as error:
        yield f"the recording can't be read: {error}"
