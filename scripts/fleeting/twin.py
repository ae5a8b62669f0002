"""The uninterrupted twin of a stream that is played: what it would have said had no host ever died."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.clock import VirtualClock
from realtime.config.schema import StreamConfig
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.state import StreamState
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks, hop_ns
from realtime.types import NS_PER_S
from scripts.fleeting.loop import Player
from scripts.fleeting.session import phase_ns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from realtime.config.schema import Config
    from realtime.fuse.worker import Fuser
    from scripts.fleeting.arrivals import Heard
    from scripts.fleeting.loop import Loop


BEFORE_S, AFTER_S = 3.0, 9.0
"""What is lost of a stream begins so long before its host dies, with the state of an earlier report; so long after its
heir has had a full window."""


def twin(name: str, started: datetime, windows: int, config: Config, loop: Loop, fuser: Fuser) -> dict[int, Sentiment]:
    """Play a stream from its begin on a virtual clock; return its first windows by their number."""
    t0_ns = phase_ns(name, loop)
    clock, said = VirtualClock(t0_ns), dict[int, Sentiment]()
    outlet = Outlet()
    outlet.subscribe(lambda message: said.update({message.seq: message}), Sentiment)
    state = StreamState(stream=name, epoch=1, started=started, hop_s=config.window.hop_s, seq=0)
    stream = Stream(
        config,
        StreamConfig(name=name, source="played"),
        clock,
        outlet,
        fuser.checkpoint.context,
        devices=loop.devices,
        state=state,
    )
    stream.begin(t0_ns)
    ticks, player = Ticks(t0_ns, config), Player(loop, stream.window, t0_ns)
    for _ in range(windows):
        due_ns = ticks.due_ns
        for at_ns in player.feed(due_ns):
            clock.advance_to(at_ns)
        clock.advance_to(due_ns)
        view = stream.close_window(ticks.next())
        stream.publish(view, fuser.fuse([view])[0])
    return said


@dataclass(frozen=True, slots=True)
class Difference:
    """How the first full window of an heir differs from the twin's; `spoken`: something was said in what was lost.

    `raw` is what that window says by itself; when a `score` takes a side hangs on the windows before it, too. `turned`:
    the recording began again in between. Its recogniser begins anew there, without what had been said, which an heir
    has from the state: nothing follows from such a difference.
    """

    score: float
    raw: float
    context: float
    spoken: bool
    turned: bool = False


def difference(
    taken: Sequence[Heard], started: datetime, config: Config, loop: Loop, fuser: Fuser
) -> Difference | None:
    """Compare a stream that changed hands with its twin; None before it has had a full window by its newest epoch."""
    new = [each for each in taken if each.epoch == taken[-1].epoch]
    before = [each for each in taken if each.epoch < taken[-1].epoch]
    full = next((each for each in new if each.end_s - new[0].end_s >= config.window.length_s), None)
    if full is None or not before:
        return None
    # The state that the heir went on from is up to a second old.
    first = max(0, before[-1].seq - round(1.5 / config.window.hop_s))
    begin_ns, end_ns = (phase_ns(full.stream, loop) + (seq + 1) * hop_ns(config) for seq in (first, full.seq))
    said = twin(full.stream, started, full.seq + 1, config, loop, fuser)
    lost = [said[seq] for seq in range(first, new[0].seq + 1)]
    spoken = any(each.opinion != "listening" for each in lost) or len({each.context for each in lost}) > 1
    whole = said[full.seq]
    return Difference(
        _apart(full.score, whole.score),
        _apart(full.raw, whole.raw),
        _apart(full.context, whole.context),
        spoken,
        begin_ns // loop.length_ns != end_ns // loop.length_ns,
    )


def quiet_in_s(at_ns: Sequence[int], loop: Loop, length_s: float) -> tuple[float, int]:
    """Return when the most streams can be lost with nothing said in what is lost, and how many these are.

    Args:
        at_ns: where each stream is in its turn of the loop.
        loop: what is played.
        length_s: of a window: what was said before is in it for so long.
    """
    begin_ns = loop.speaks_ns + int((length_s + BEFORE_S) * NS_PER_S)
    wide_ns = loop.length_ns - int(AFTER_S * NS_PER_S) - begin_ns
    found = (0.0, 0)
    if wide_ns >= 0:
        waits = sorted((begin_ns - place_ns) % loop.length_ns for place_ns in at_ns)
        for wait_ns in waits:
            # Those that got there within the last `wide_ns` are still there.
            quiet = sum((wait_ns - earlier_ns) % loop.length_ns <= wide_ns for earlier_ns in waits)
            if quiet > found[1]:
                found = (wait_ns / NS_PER_S, quiet)
    return found


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)
