"""Where streams of a fleet go: balanced, within headroom, by their labels, with few moves; for any load."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from realtime.fleet.placement import LEAST, UNEVEN, Budget, Host, Limits, Need, move_budget, plan

CORES = st.sampled_from([0.001, 0.002, 0.05, 0.1, 0.3, 0.6, 1.5])
SITES = st.sampled_from(["berlin", "lyon"])
TOLERANCE = 1e-6


@st.composite
def fleets(draw, *, even=False):
    hosts = [
        Host(
            f"h{number}",
            2.0 if even else draw(st.sampled_from([1.0, 2.0, 8.0])),
            {} if even else {"site": draw(SITES)},
            draining=not even and draw(st.booleans()) and draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 6)))
    ]
    cost = draw(CORES)
    needs = [
        Need(
            f"s{number}",
            cost if even else draw(CORES),
            {} if even else draw(st.sampled_from([{}, {"site": "berlin"}, {"site": "lyon"}])),
            lost=not even and draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 40)))
    ]
    at = {need.stream: draw(st.sampled_from(hosts)).name for need in needs if draw(st.booleans())}
    return needs, hosts, at


def loads(needs, hosts, at):
    total = dict.fromkeys((host.name for host in hosts), 0.0)
    for need in needs:
        if (host := at.get(need.stream)) in total:
            total[host] += need.cores
    return {host.name: total[host.name] / host.cores for host in hosts}


def carried_out(at, found):
    after = dict(at)
    for move in found.moves:
        assert after.get(move.stream) == move.source
        after[move.stream] = move.target
    return after


@given(fleets(), st.integers(0, 50), st.integers(0, 50))
def test_labels_room_and_budget_are_kept_and_nothing_is_forgotten(fleet, balance, drain):
    needs, hosts, at = fleet
    found = plan(needs, hosts, at, Budget(balance, drain))
    after = carried_out(at, found)
    by_name, named = {need.stream: need for need in needs}, {host.name: host for host in hosts}
    assert set(after) | set(found.homeless) == set(by_name)
    assert not set(after) & set(found.homeless)
    whys = Counter(move.why for move in found.moves)
    assert whys["balance"] <= balance
    assert whys["drain"] <= drain
    assert all((move.source is None) == (move.why in {"new", "lost"}) for move in found.moves)
    assert max(Counter(move.stream for move in found.moves).values(), default=0) <= 1
    for move in found.moves:
        need, target = by_name[move.stream], named[move.target]
        assert not target.draining
        assert need.labels.items() <= target.labels.items()
    for name, load in loads(needs, hosts, after).items():
        came = [by_name[move.stream] for move in found.moves if move.target == name]
        if came:
            urgent = any(need.lost for need in came) or any(
                move.target == name and move.why == "drain" for move in found.moves
            )
            before = loads(needs, hosts, at)[name]
            assert load <= max(before, 1.0 if urgent else 0.7) + TOLERANCE


@given(fleets())
def test_a_stream_is_homeless_only_where_no_host_fits(fleet):
    needs, hosts, at = fleet
    found = plan(needs, hosts, at)
    after = loads(needs, hosts, carried_out(at, found))
    by_name = {need.stream: need for need in needs}
    for stream in found.homeless:
        need = by_name[stream]
        most = 1.0 if need.lost else 0.7
        for host in hosts:
            if not host.draining and need.labels.items() <= host.labels.items():
                assert after[host.name] + need.cores / host.cores > most - TOLERANCE


@given(fleets(even=True))
def test_equal_streams_on_equal_hosts_end_up_spread_evenly(fleet):
    needs, hosts, at = fleet
    settled = carried_out(at, plan(needs, hosts, at, Budget(len(needs), len(needs))))
    counts = Counter(dict.fromkeys((host.name for host in hosts), 0))
    counts.update(settled.values())
    shares = loads(needs, hosts, settled).values()
    if set(settled) == {need.stream for need in needs} and max(shares) <= 0.7:
        one = needs[0].cores / hosts[0].cores if needs else 0
        assert max(shares) - min(shares) <= max(UNEVEN * sum(shares) / len(hosts), LEAST) + one + TOLERANCE


@given(fleets())
def test_a_plan_that_was_carried_out_asks_for_nothing_more(fleet):
    """No stream goes to and fro."""
    needs, hosts, at = fleet
    for _ in range(3):
        at = carried_out(at, plan(needs, hosts, at, Budget(1000, 1000)))
    again = plan(needs, hosts, at, Budget(1000, 1000))
    assert [move for move in again.moves if move.why == "balance"] == []


@given(fleets(), st.randoms())
def test_a_plan_does_not_depend_on_the_order_of_what_is_given(fleet, random):
    needs, hosts, at = fleet
    found = plan(needs, hosts, at, Budget(5, 5))
    shuffled = random.sample(needs, len(needs)), random.sample(hosts, len(hosts))
    assert set(plan(*shuffled, at, Budget(5, 5)).moves) == set(found.moves)


def test_a_new_host_is_filled_with_no_more_moves_than_its_part():
    needs = [Need(f"s{number:04}", 0.002) for number in range(1000)]
    old = [Host(f"h{number}", 2.0) for number in range(4)]
    at = carried_out({}, plan(needs, old, {}))
    assert set(Counter(at.values()).values()) == {250}
    hosts = [*old, Host("h4", 2.0)]
    budget = move_budget(1000, 5, joined=True)
    assert budget == Budget(200, 200)
    found = plan(needs, hosts, at, budget)
    counts = Counter(carried_out(at, found).values())
    assert len(found.moves) <= 200
    assert max(counts.values()) - min(counts.values()) <= 0.21 * 200


def test_a_dead_host_takes_its_part_only_and_its_streams_spread_over_the_others():
    needs = [Need(f"s{number:03}", 0.01) for number in range(300)]
    hosts = [Host(f"h{number}", 2.0) for number in range(4)]
    at = carried_out({}, plan(needs, hosts, {}))
    left = {stream: host for stream, host in at.items() if host != "h0"}
    again = [Need(need.stream, need.cores, lost=need.stream not in left) for need in needs]
    found = plan(again, hosts[1:], left)
    assert found.homeless == {}
    assert {move.why for move in found.moves} == {"lost"}
    assert set(Counter(carried_out(left, found).values()).values()) == {100}


def test_what_a_lost_host_had_may_use_the_room_that_new_streams_may_not():
    full = [Need("old", 1.4), Need("more", 0.4)]
    found = plan(full, [Host("h", 2.0)], {"old": "h"})
    assert found.homeless == {"more": "no room: it needs 0.40 cores"}
    lost = [Need("old", 1.4), Need("more", 0.4, lost=True)]
    assert plan(lost, [Host("h", 2.0)], {"old": "h"}).moves[0].why == "lost"
    assert plan(lost, [Host("h", 2.0)], {"old": "h"}, limits=Limits(0.7, 0.8)).homeless


def test_a_drained_host_is_emptied_as_fast_as_the_budget_allows():
    needs = [Need(f"s{number}", 0.01) for number in range(12)]
    hosts = [Host("a", 2.0, draining=True), Host("b", 2.0), Host("c", 2.0)]
    at = {need.stream: "a" for need in needs}
    rounds = 0
    while "a" in at.values():
        found = plan(needs, hosts, at, Budget(drain=4))
        assert len(found.moves) == 4
        at, rounds = carried_out(at, found), rounds + 1
    assert rounds == 3
    assert Counter(at.values()) == {"b": 6, "c": 6}


def test_why_a_stream_has_no_host_is_said():
    usb = Need("usb", 0.1, {"device": "cam-1"})
    assert plan([usb], [], {}).homeless == {"usb": "no host with device=cam-1"}
    assert plan([Need("any", 0.1)], [], {}).homeless == {"any": "no host answers"}
    drained = Host("h", 2.0, {"device": "cam-1"}, draining=True)
    assert plan([usb], [drained], {}).homeless == {"usb": "every host that fits is being drained"}


def test_the_budget_is_a_twentieth_a_minute_and_one_hosts_part_for_a_drain_or_a_new_host():
    assert move_budget(1000, 4, joined=False) == Budget(50, 250)
    assert move_budget(1000, 5, joined=True) == Budget(200, 200)
    assert [move_budget(streams, 3, joined=False).balance for streams in (0, 1, 19, 40)] == [0, 1, 1, 2]
    assert move_budget(7, 0, joined=True) == Budget()
