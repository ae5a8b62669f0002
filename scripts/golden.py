"""The golden message stream: all messages of a made session that is the same in every run, kept to be compared with.

    python -m scripts.golden > tests/golden/live.jsonl

Two live streams on a mock clock: a desk whose camera goes and comes back, whose recogniser hears three sentences, and
that is paused; and a file, which ends. What no two runs share (wall-clock time, ids of events, memory) is masked.
Whoever changes what a message says, or the weights, runs the command and looks at the difference before committing it.
"""

from __future__ import annotations

import json
import math
import random
import sys
from typing import TYPE_CHECKING, Any

from realtime.types import NS_PER_S
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import MockSession, script_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.publish.messages import Message

BEGIN_NS = 100 * NS_PER_S
SECONDS = 9.0
TOLERANCE = 0.01
"""So far may a number that isn't whole be from the kept one: what another machine's arithmetic makes of a score."""
SAID = [(100.6, "this was a really lovely film", 2.0), (103.2, "but I hated the end", -2.0), (107.3, "well good", 1.4)]
MASK = "masked"


def session() -> list[Message]:
    """Run the session and return what was published."""
    clock = MockClock(BEGIN_NS)
    state = random.getstate()
    random.seed(20_251_001)  # waits before a device is opened again are spread by chance
    try:
        made = MockSession(
            clock, files={"talk": 3.3}, script=script_of(SAID), settings={"fusion": {"backend": "torch"}}
        )
        made.start()
        _at(clock, 2.03)
        made.cameras["desk"].plugged = False
        _at(clock, 2.83)
        made.cameras["desk"].plugged = True
        _at(clock, 5.53)
        made.live.pause("desk")
        _at(clock, 6.47)
        made.live.resume("desk")
        _at(clock, SECONDS)
        made.close()
    finally:
        random.setstate(state)
    return made.sent


def _at(clock: MockClock, seconds: float) -> None:
    clock.sleep_until(BEGIN_NS + int(seconds * NS_PER_S))
    clock.settle()


def masked(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it, without what no two runs share."""
    content: dict[str, Any] = json.loads(message.payload())
    content["utc"] = MASK
    if "id" in content:
        content["id"] = f"{content['stream']}-{MASK}-{content['id'].rsplit('-', 1)[-1]}"
    if "process" in content:
        content["process"] = MASK
    return content


def first_difference(kept: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> str | None:
    """Say in which message, and in which of its keys, two streams of messages differ first; None where they don't."""
    for number, (old, new) in enumerate(zip(kept, now, strict=False), 1):
        if (found := _differs(old, new, "")) is not None:
            return f"line {number}, {_name_of(old)}: {found}"
    if len(kept) != len(now):
        rest = (kept if len(kept) > len(now) else now)[min(len(kept), len(now))]
        return f"{len(kept)} messages kept, {len(now)} now; the first without a counterpart is {_name_of(rest)}"
    return None


def _name_of(content: dict[str, Any]) -> str:
    which = next((f"{key} {content[key]}" for key in ("seq", "id", "uptime_s") if key in content), "")
    return f"{content.get('stream')} {content.get('schema')} {which}"


def _differs(old: object, new: object, path: str) -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new:
                return f"{path}{key} is {'new' if key in new else 'gone'}"
            if (found := _differs(old[key], new[key], f"{path}{key}.")) is not None:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        each = (_differs(one, other, f"{path}{at}.") for at, (one, other) in enumerate(zip(old, new, strict=True)))
        return next((found for found in each if found is not None), None)
    if isinstance(old, float) and isinstance(new, int | float) and math.isclose(old, new, rel_tol=0, abs_tol=TOLERANCE):
        return None
    return None if old == new else f"{path.rstrip('.')}: kept {old!r}, now {new!r}"


def main() -> None:
    """Write the messages to standard output, a line each."""
    for message in session():
        sys.stdout.write(f"{json.dumps(masked(message), ensure_ascii=False)}\n")


if __name__ == "__main__":
    main()
