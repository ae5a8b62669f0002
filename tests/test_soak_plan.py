"""The plan of a soak, and what its checks find: each is shown something that is right, and something that is wrong."""

import itertools
import os
import random
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from test_messages import sentiment

from realtime.recording.writer import Recorder
from scripts.harness.live_program import Heard, breaks_in
from scripts.soaking import checks, faults, peers
from scripts.soaking.outside import Outside
from scripts.soaking.plan import RESTARTS_EVERY, plan
from scripts.soaking.starving import Patience, Starving, delays_ns

FAULTS, RESTARTS = [f"fault {number}" for number in range(30)], ["hung up", "disk full", "hung up after that"]
STILL = "the program stood still for 11.7 s: 46 windows left out"


def drawn(seed, count, minutes=1.0):
    cards = plan(random.Random(seed), minutes, lambda: list(FAULTS), lambda: list(RESTARTS), lambda: "long outage")
    return list(itertools.islice(cards, count))


def test_the_same_seed_breaks_the_same_things_in_the_same_order():
    assert drawn(7, 200) == drawn(7, 200)
    assert drawn(7, 200) != drawn(8, 200)


def test_every_fault_comes_once_in_a_deck_and_restarts_in_one_deck_of_four_in_their_order():
    cards = drawn(7, 33 + 3 * 30 + 33)
    first, others, fifth = cards[:33], cards[33:-33], cards[-33:]
    for deck in (first, fifth):
        assert sorted(deck) == sorted(FAULTS + RESTARTS)
        assert [card for card in deck if card in RESTARTS] == RESTARTS
        assert deck[0] not in RESTARTS
    for number in range(RESTARTS_EVERY - 1):
        assert sorted(others[number * 30 : number * 30 + 30]) == sorted(FAULTS)


def test_only_a_long_run_begins_with_a_long_outage():
    assert drawn(7, 1, minutes=30.0) == ["long outage"]
    assert "long outage" not in drawn(7, 100, minutes=5.0)


def test_the_faults_of_peers_are_in_the_plan_under_names_of_their_own():
    rig = MagicMock()
    kinds = [fault.kind for fault in [*faults.faults(rig), *peers.faults(rig), *peers.restarts(rig)]]
    assert len(kinds) == len(set(kinds)) >= 35
    assert {"readers stopped", "twin on the stream's name", "program stopped for 12 s"} < set(kinds)
    assert [fault.kind for fault in peers.restarts(rig)] == ["hung up", "disk full", "hung up after a full disk"]


def windows(count, *, first=0, late_s=0.2, skip=0):
    """Sentiment of a stream that began at noon; `skip` windows are left out before the first."""
    bodies = []
    for seq in range(first, first + count):
        end_s = 0.25 * (seq + skip)
        utc = f"2026-01-01T12:{int((end_s + late_s) // 60):02}:{(end_s + late_s) % 60:06.3f}Z"
        bodies.append({"stream": "desk", "seq": seq, "utc": utc, "window": {"end_s": end_s}})
    return bodies


def test_windows_from_before_a_standstill_that_claim_to_be_of_now_are_found():
    before = windows(40)
    assert list(checks.stale(before, windows(40, first=40, skip=46))) == []
    [found] = checks.stale(before, [*windows(1, first=40, late_s=11.9), *windows(40, first=41, skip=46)])
    assert "window 40 of desk is 11.7 s older" in found


def event(kind, cause=None, component="stream"):
    return {"component": component, "kind": kind, "cause": cause}


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([event("stalled", STILL), event("recovered")], None),
        (
            [event("stalled", "camera: no answer for 12 s", "camera"), event("recovered")],
            "nobody was told that it stood",
        ),
        ([event("stalled", "the program stood still for 3.2 s: 12 windows left out")], "stood still for 11.0 s"),
        ([event("stalled", STILL), event("recovered", None, "camera")], "nobody was told that it goes on"),
    ],
)
def test_a_standstill_has_to_be_told_with_its_length_and_its_end(events, says):
    found = list(checks.stood_still(events, 11.0))
    assert [says in each for each in found] == ([] if says is None else [True])


def test_windows_that_are_missing_are_forgiven_only_if_an_event_says_how_many():
    bodies = [*windows(10), *windows(10, first=10, skip=46)]
    broken = breaks_in(bodies)
    assert len(broken) == 1
    assert checks.unexplained(broken, bodies, [event("stalled", STILL)]) == []
    assert checks.unexplained(broken, bodies, [event("stalled", STILL.replace("46", "45"))]) == broken
    assert checks.unexplained(broken, bodies, [event("lost", None)]) == broken
    judged = [*windows(10), *windows(10, first=11, skip=45)]
    assert checks.unexplained(breaks_in(judged), judged, [event("stalled", STILL)]) == []
    assert checks.unexplained(breaks_in(judged), judged, []) == ["seq 9 then 11"]
    more = [*windows(10), *windows(10, first=60, skip=-4)]
    assert checks.unexplained(breaks_in(more), more, [event("stalled", STILL)]) == ["seq 9 then 60"]
    twice = [*bodies, *windows(10, first=20, skip=92)]
    assert len(checks.unexplained(breaks_in(twice), twice, [event("stalled", STILL)])) == 1
    gap = [*windows(10), *windows(10, first=11)]
    assert checks.unexplained(breaks_in(gap), gap, [event("stalled", STILL)]) == ["seq 9 then 11"]


@pytest.mark.parametrize(
    ("times_s", "withheld_s", "found"),
    [
        ([10.0 + 0.25 * number for number in range(20)], 0.0, 0),
        ([10.0, 10.25, 13.0, 14.0, 15.0], 0.0, 1),
        ([10.0, 10.25, 13.0, 14.0, 15.0], 2.0, 0),
        ([10.0, 10.25, 11.0], 0.0, 1),
        ([], 0.0, 1),
    ],
)
def test_a_stream_that_stops_is_found_but_not_what_the_machine_withheld(times_s, withheld_s, found):
    heard = [Heard(at_s, {}) for at_s in times_s]

    def withheld(begin_s, end_s):
        return withheld_s if end_s - begin_s > 1 else 0.0

    assert len(list(checks.stopped(heard, 10.0, 15.0, withheld))) == found


def test_what_the_machine_withholds_from_a_program_is_known_thread_by_thread(tmp_path):
    tasks = tmp_path / "task"
    for thread, line in (("1", "12345 3000000000 17"), ("2", "1 5 1"), ("gone", None), ("odd", "")):
        (tasks / thread).mkdir(parents=True)
        if line is not None:
            (tasks / thread / "schedstat").write_text(line)
    assert delays_ns(tasks) == {tasks / "1": 3_000_000_000, tasks / "2": 5}
    assert delays_ns(tmp_path / "nobody") == {}


def test_a_program_is_withheld_no_more_time_than_passed_and_none_before_it_ran():
    starving = Starving(os.getpid)
    starving.close()
    starving._waits_s = [(1.0, 0.1), (1.5, 3.0), (2.0, 0.2), (9.0, 0.3)]
    assert starving.withheld_s(1.0, 2.0) == pytest.approx(Starving.STEP_S + 0.2)
    assert starving.withheld_s(2.0, 8.0) == 0


@pytest.mark.parametrize(("withheld", "after_s"), [(0.0, 10.0), (0.5, 20.0), (1.0, 40.0)])
def test_patience_grows_by_what_the_machine_withholds_to_four_times_at_most(withheld, after_s):
    waits = Patience(10.0, 100.0, lambda begin_s, end_s: withheld * (end_s - begin_s))
    assert not waits.over(100.0 + after_s - 0.1)
    assert waits.over(100.0 + after_s + 0.1)


def test_memory_that_grows_is_found():
    assert list(checks.grown("the broker", 10.0, 30.0)) == []
    assert "from 10 to 400 MB" in next(checks.grown("the broker", 10.0, 400.0))


FULL = "error: ended early: recording ended: No space left on device"


@pytest.mark.parametrize(
    ("code", "text", "statuses", "early", "count"),
    [
        (0, "INFO ended\n", ["offline"], None, 0),
        (None, "INFO ...\n", [], None, 2),
        (-1, "", ["offline"], None, 1),
        (0, "INFO ended\n", ["offline", "online"], None, 1),
        (1, f"INFO ended\n{FULL}\n", ["offline"], peers.FULL, 0),
        (0, "INFO ended\n", ["offline"], peers.FULL, 2),
        (1, "error: something else", ["offline"], peers.FULL, 1),
    ],
)
def test_an_end_in_order_is_told_from_any_other(code, text, statuses, early, count):
    assert len(list(checks.ended(code, text, statuses, early))) == count


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        (["offline", "online"], None),
        (["online", "offline"], "the status is offline"),
        (["online"], "no goodbye"),
        ([], "no goodbye"),
    ],
)
def test_after_the_goodbye_of_a_twin_the_stream_has_to_be_online(statuses, says):
    found = list(checks.twice_online(statuses))
    assert [says in each for each in found] == ([] if says is None else [True])


def test_a_recording_is_counted_and_one_that_is_cut_off_or_missing_is_found(tmp_path):
    recorder = Recorder(tmp_path, "desk", {"stream": "desk"}, words=False, failed=pytest.fail)
    for number in range(20):
        recorder._push(number, "sentiment", sentiment().to_json())
    recorder.close()
    path = tmp_path / "desk.mcap"
    assert list(checks.recorded(path, 20, whole=True)) == []
    assert "20 of 21" in next(checks.recorded(path, 21, whole=True))
    assert "20 of 19" in next(checks.recorded(path, 19, whole=True))
    assert list(checks.recorded(path, 15, whole=False)) == []
    path.write_bytes(path.read_bytes()[:-60])
    assert "cut off" in next(checks.recorded(path, 20, whole=True))
    assert list(checks.recorded(path, 20, whole=False)) == []
    assert "can't be read" in next(checks.recorded(tmp_path / "hall.mcap", 0, whole=False))


def test_a_reader_has_news_when_it_got_what_was_made_after_it_went_on(tmp_path):
    def heard(_, stream):
        return [Heard(0.0, {"seq": 7 if stream == "desk" else 3})]

    outside = Outside(tmp_path, tmp_path, ("desk", "hall"), MagicMock())
    outside.live = SimpleNamespace(heard=heard)
    out = Path(tmp_path / "reader-0")
    outside._readers = [(MagicMock(), out)]
    outside.let_readers_go_on()

    def got(*messages):
        out.write_text(
            "".join(f'x{{"schema":"agfn.sentiment/1","stream":"{name}","seq":{seq},"utc"\n' for name, seq in messages)
        )
        return outside.readers_have_news()

    assert got(("desk", 8), ("hall", 4))
    assert not got(("desk", 7), ("hall", 4))
    assert not got(("desk", 8))
    assert not got()
