"""What a fleet says of itself, to the broker, to the metrics and to `python -m realtime.fleet status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.fleet.recognisers import merged
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from realtime.fleet.book import Entry
    from realtime.fleet.engine import Json
    from realtime.fleet.placement import Move
    from realtime.fleet.roll import Roll


def status_of(
    roll: Roll,
    entries: Sequence[Entry],
    why: Callable[[Entry], str | None],
    placements: Mapping[str, int],
    moves: Sequence[tuple[int, Move, int]],
    now_ns: int,
) -> Json:
    """Return how a fleet is, as JSON.

    Args:
        roll: its hosts, and what they reported.
        entries: its book.
        why: says of a stream why it has no host.
        placements: how many streams were given to a host so far, by reason.
        moves: the newest of them: when, what, and by which epoch.
        now_ns: of the clock of the moves.
    """
    hosts, reports = dict(roll.hosts), roll.reports()
    return {
        "hosts": {
            name: {
                "state": roll.state_of(info),
                "cores": info.cores,
                "labels": dict(info.labels),
                "used_cores": reports.get(name, {}).get("cores"),
                "rss_mb": reports.get(name, {}).get("rss_mb"),
                "dropped": sum(each["dropped"] for each in list(reports.get(name, {}).get("streams", {}).values())),
                "streams": sum(entry.host == name for entry in entries),
            }
            for name, info in hosts.items()
        },
        "streams": {
            entry.name: {"host": entry.host, "epoch": entry.epoch}
            | ({} if entry.cores is None else {"cores": round(entry.cores, 4)})
            | ({} if entry.host is not None else {"why": why(entry)})
            for entry in entries
        },
        "placements": dict(placements),
        "asr_pool": merged(reports.values()),
        "moves": [
            {
                "ago_s": round((now_ns - at_ns) / NS_PER_S, 1),
                "stream": move.stream,
                "from": move.source,
                "to": move.target,
                "why": move.why,
                "epoch": epoch,
            }
            for at_ns, move, epoch in moves
        ],
    }
