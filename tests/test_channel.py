import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.runtime.channel import Channel, ClosedError, Policy


@given(st.sampled_from([Policy.LATEST, Policy.DROP_OLDEST]), st.integers(1, 5), st.lists(st.sampled_from("+-*x")))
def test_every_item_is_popped_dropped_or_pending(policy, capacity, moves):
    channel = Channel(policy, capacity)
    for number, move in enumerate(moves):
        if move == "+":
            channel.push(number)
        elif move == "x":
            channel.clear()
        else:
            try:
                channel.pop(0) if move == "-" else channel.pop_all(0)
            except TimeoutError:
                assert channel.stats().pending == 0
        stats = channel.stats()
        assert stats.pushed == stats.popped + stats.dropped + stats.pending
        assert stats.pending <= channel.capacity
        assert channel.pending == stats.pending


def test_latest_keeps_only_the_newest():
    channel = Channel(Policy.LATEST, 9)
    assert [channel.push(n) for n in range(3)] == [None, 0, 1]
    assert channel.pop_all() == [2]
    assert channel.stats().dropped == 2


def test_drop_oldest_gives_the_victim_back():
    channel = Channel(Policy.DROP_OLDEST, 2)
    assert [channel.push(n) for n in range(4)] == [None, None, 0, 1]
    assert [channel.pop(), channel.pop()] == [2, 3]


def test_block_waits_for_room_and_loses_nothing():
    channel = Channel(Policy.BLOCK, 2)
    got = []
    reader = threading.Thread(target=lambda: got.extend(channel.pop(5) for _ in range(50)))
    reader.start()
    for number in range(50):
        channel.push(number, timeout_s=5)
    reader.join(5)
    assert got == list(range(50))
    assert channel.stats().dropped == 0


def test_block_says_when_nobody_makes_room_and_counts_what_is_lost():
    channel = Channel(Policy.BLOCK, 1)
    channel.push(1)
    with pytest.raises(TimeoutError, match="no room"):
        channel.push(2, timeout_s=0.01)
    stats = channel.stats()
    assert (stats.pushed, stats.dropped, stats.pending) == (2, 1, 1)


def test_a_closed_channel_can_be_emptied_but_not_filled():
    channel = Channel(Policy.DROP_OLDEST, 4)
    channel.push("last")
    channel.close()
    with pytest.raises(ClosedError):
        channel.push("late")
    assert channel.pop() == "last"
    with pytest.raises(ClosedError):
        channel.pop()


def test_a_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Channel(Policy.BLOCK, 0)
