"""The recognisers of an ASR pool as the hosts of a fleet tell of them, put together for who asks. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realtime.fleet.engine import Json


def merged(reports: Iterable[Mapping[str, Json]]) -> Json:
    """Return the recognisers by address, and the decodes of all hosts by who did them, from what each host said last.

    `relied_on` counts the hosts that give decodes to a recogniser, `connected` those that reach it; `decode_ms` is the
    time from asking to the answer on the host for which that is longest.
    """
    recognisers: dict[str, Json] = {}
    decodes: Counter[str] = Counter()
    for report in reports:
        pool = report.get("asr_pool", {})
        decodes.update(pool.get("decodes", {}))
        for told in pool.get("recognisers", ()):
            each = recognisers.setdefault(
                told["address"],
                {"model": None, "hosts": 0, "connected": 0, "relied_on": 0, "decodes": 0, "decode_ms": None},
            )
            each["model"] = told["model"] or each["model"]
            each["hosts"] += 1
            each["connected"] += told["connected"]
            each["relied_on"] += told["relied_on"]
            each["decodes"] += told["decodes"]
            if told["decode_ms"] is not None:
                each["decode_ms"] = max(told["decode_ms"], each["decode_ms"] or 0)
    return {"recognisers": recognisers, "decodes": dict(sorted(decodes.items()))} if recognisers else {}


def lines(pool: Json) -> list[str]:
    """Lay out for people what `merged` gives: nothing where no host has a pool."""
    if not (recognisers := pool.get("recognisers")):
        return []
    found = [f"{'recogniser':<38} {'model':<14} {'state':<24} {'decodes':>8} {'a decode':>9}"]
    for address, each in sorted(recognisers.items()):
        took = "-" if each["decode_ms"] is None else f"{each['decode_ms']} ms"
        found.append(f"{address:<38} {each['model'] or '-':<14} {_state(each):<24} {each['decodes']:>8} {took:>9}")
    own = {by: count for by, count in pool.get("decodes", {}).items() if by != "pool"}
    whys = ", ".join(f"{by} {count}" for by, count in own.items())
    found.append(f"decodes that hosts did themselves: {sum(own.values())}" + (f" ({whys})" if whys else ""))
    return found


def _state(each: Json) -> str:
    if each["relied_on"]:
        return f"decodes for {each['relied_on']} of {each['hosts']} hosts"
    return "is tried with copies" if each["connected"] else "does not answer"
