"""Faults of the program's peers and of the machine it runs on: readers, twins, the disk, and signals to itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scripts.harness.processes import wait_until
from scripts.soaking import checks
from scripts.soaking.faults import Fault, Moments
from scripts.soaking.rig import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.soaking.rig import Rig

STILL_S = 12.0
SERVED_S = 60.0
START_S = 240.0
FULL = "No space left on device"
USUAL = 40
"""Messages by which the usual lateness of a stream is judged."""


def faults(rig: Rig) -> list[Fault]:
    """Return those after which the program goes on."""
    return [
        Fault(
            "readers stopped",
            rig.outside.stop_readers,
            rig.outside.let_readers_go_on,
            check=lambda moments: readers_served(rig, moments),
            hold_s=6.0,
        ),
        Fault(
            "twin on the stream's name",
            rig.outside.start_twin,
            rig.outside.end_twin,
            noticed=rig.outside.meets_twin,
            noticed_kind="health",
            check=lambda moments: twin_gone(rig, moments),
        ),
        Fault(
            "program stopped for 12 s",
            rig.outside.stop_program,
            rig.outside.let_program_go_on,
            silent=True,
            check=lambda moments: nothing_stale(rig, moments),
            hold_s=STILL_S,
        ),
    ]


def restarts(rig: Rig) -> list[Fault]:
    """Return those that take a new run of the program: hung up, a full disk, and hung up after that."""
    return [
        Fault(
            "hung up",
            rig.outside.hang_up,
            rig.outside.restart,
            silent=True,
            check=lambda _: end_in_order(rig),
            back_s=START_S,
        ),
        Fault(
            "disk full",
            rig.outside.fill_disk,
            rig.outside.empty_disk,
            event=("recording", "lost"),
            check=lambda moments: recording_told(rig, moments),
        ),
        Fault(
            "hung up after a full disk",
            rig.outside.hang_up,
            rig.outside.restart,
            silent=True,
            check=lambda _: end_early(rig),
            back_s=START_S,
        ),
    ]


def readers_served(rig: Rig, moments: Moments) -> Iterator[str]:
    """Nobody waits for a reader that stands still, and once it goes on it gets what is new."""
    yield from _goes_on(rig, moments)
    yield from checks.grown("the broker", rig.outside.before.broker_mb, rig.broker.memory_mb())
    try:
        wait_until(rig.outside.readers_have_news, SERVED_S, "readers to get something new")
    except AssertionError as error:
        yield str(error)
    rig.outside.dismiss_readers()


def twin_gone(rig: Rig, moments: Moments) -> Iterator[str]:
    """The goodbye of a twin leaves no `offline` behind, and the program's log names the trouble."""
    yield from _goes_on(rig, moments)
    deadline_s = time.monotonic() + SERVED_S
    while broken := list(checks.twice_online(rig.live.statuses("desk", moments.mended_s))):
        if time.monotonic() > deadline_s:
            yield from broken
            break
        time.sleep(0.1)
    if "another program publishes as stream desk" not in rig.live.program.text():
        yield "the log does not name the twin"


def nothing_stale(rig: Rig, moments: Moments) -> Iterator[str]:
    """After it stood still it says so, and publishes no window from before as if it were one of now."""
    for stream in STREAMS:
        yield from (f"{stream}: {each}" for each in _still_untold(rig, stream, moments.mended_s))
        written = rig.live.written("sentiment", stream)
        since = [body for body in written if body["seq"] > rig.outside.seq[stream]]
        before = [body for body in written if body["seq"] <= rig.outside.seq[stream]][-USUAL:]
        yield from checks.stale(before, since)
    yield from checks.grown("the program", rig.outside.before.program_mb, rig.outside.program_mb())


def _still_untold(rig: Rig, stream: str, since_s: float) -> list[str]:
    """What is not told of a standstill when it has had time to be."""
    deadline_s = time.monotonic() + SERVED_S
    while True:
        events = [heard.body for heard in rig.live.heard("event", stream, since_s)]
        untold = list(checks.stood_still(events, STILL_S - 1.0))
        if not untold or time.monotonic() > deadline_s:
            return untold
        time.sleep(0.1)


def end_in_order(rig: Rig) -> Iterator[str]:
    """The program that was hung up ended as one that is told to, with all of its recording."""
    yield from checks.ended(rig.outside.exit_code, rig.outside.last_words, rig.outside.last_statuses, None)
    run, folder = rig.live.runs[-2], rig.outside.recordings[-2]
    for stream in STREAMS:
        count = len(run.written("sentiment", stream))
        yield from checks.recorded(folder / f"{stream}.mcap", count, whole=True)


def end_early(rig: Rig) -> Iterator[str]:
    """The program whose disk was full says at its end why it kept less, and what it kept can be read."""
    yield from checks.ended(rig.outside.exit_code, rig.outside.last_words, rig.outside.last_statuses, FULL)
    for stream in STREAMS:
        yield from checks.recorded(rig.outside.recordings[-2] / f"{stream}.mcap", rig.outside.kept[stream], whole=False)


def recording_told(rig: Rig, moments: Moments) -> Iterator[str]:
    """A full disk ends the recordings, and each stream says so; nothing else ends."""
    yield from _goes_on(rig, moments)
    for stream in STREAMS:
        events = [heard.body for heard in rig.live.heard("event", stream, moments.harmed_s)]
        causes = [event["cause"] for event in events if (event["component"], event["kind"]) == ("recording", "lost")]
        if len(causes) != 1 or FULL not in causes[0]:
            yield f"{stream}: told of the recording: {causes}"
        if (health := rig.live.heard("health", stream, moments.mended_s)) and health[-1].body["recording"]["writing"]:
            yield f"{stream}: says that it still records"


def _goes_on(rig: Rig, moments: Moments) -> Iterator[str]:
    """Whatever happens outside: every stream is heard, and memory stays what it was."""
    for stream in STREAMS:
        heard = rig.live.heard("sentiment", stream, moments.harmed_s)
        broken = checks.stopped(heard, moments.harmed_s, moments.back_s, rig.withheld_s)
        yield from (f"{stream}: {each}" for each in broken)
    yield from checks.grown("the program", rig.outside.before.program_mb, rig.outside.program_mb())
