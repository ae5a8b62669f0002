"""All messages of a made session, compared with those that were kept: what changes in them is meant to change."""

import copy
import json
from pathlib import Path

import pytest

from scripts.golden import MASK, TOLERANCE, first_difference, masked, session

KEPT = Path(__file__).parent / "golden" / "live.jsonl"


@pytest.fixture(scope="module")
def kept():
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]


def test_the_messages_are_the_kept_ones(kept):
    found = first_difference(kept, [masked(message) for message in session()])
    assert found is None, f"{found}\nIf it is meant: python -m scripts.golden > tests/golden/live.jsonl"


def test_what_is_kept_holds_every_kind_of_message_and_state(kept):
    assert {message["schema"] for message in kept} == {"agfn.sentiment/1", "agfn.health/1", "agfn.event/1"}
    assert {message["state"] for message in kept if "seq" in message} == {"ok", "degraded", "no_signal", "paused"}
    assert {message["opinion"] for message in kept if "seq" in message} == {"listening", "partial", "final"}
    assert {message["reason"] for message in kept if "seq" in message} == {"hop", "word"}
    kinds = {message["kind"] for message in kept if "kind" in message}
    assert kinds == {"started", "lost", "recovered", "paused", "resumed", "ended"}
    assert {message["utc"] for message in kept} == {MASK}


def test_the_first_difference_is_named(kept):
    def changed(change):
        now = copy.deepcopy(kept)
        change(now)
        return first_difference(kept, now)

    at = next(i for i, message in enumerate(kept) if message.get("seq") == 9 and message["stream"] == "desk")
    name = f"line {at + 1}, desk agfn.sentiment/1 seq 9"
    score = kept[at]["score"]
    assert changed(lambda now: now[at].update(score=score + 0.9 * TOLERANCE)) is None
    moved = changed(lambda now: now[at].update(score=score + 0.5, label="negative"))
    assert moved == f"{name}: score: kept {score!r}, now {score + 0.5!r}"
    weight = changed(lambda now: now[at]["modalities"]["face"].update(weight=None))
    assert weight.startswith(f"{name}: modalities.face.weight: kept 0.")
    assert changed(lambda now: now[at].update(more=1)) == f"{name}: more is new"
    assert changed(lambda now: now[at].pop("faces")) == f"{name}: faces is gone"
    assert changed(lambda now: now[at]["interval"].pop()).startswith(f"{name}: interval: kept [")
    took_ms = kept[at]["latency_ms"]["window"]
    assert changed(lambda now: now[at]["latency_ms"].update(window=took_ms + 1)) == (
        f"{name}: latency_ms.window: kept {took_ms}, now {took_ms + 1}"
    )
    assert changed(lambda now: now.pop()).startswith(f"{len(kept)} messages kept, {len(kept) - 1} now; ")
