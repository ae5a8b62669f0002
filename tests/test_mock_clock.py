"""The clock of the tests: time moves on when everybody waits, in the same order each time."""

import threading

import pytest

from realtime.clock import Ended, MonotonicClock, wait_for_s
from realtime.runtime.channel import Channel, Policy
from realtime.types import NS_PER_S
from scripts.harness.mock_clock import ForeverError, MockClock

HOUR_NS = 3600 * NS_PER_S


def test_an_hour_of_many_threads_takes_no_time_and_goes_the_same_way_each_time():
    def walk():
        clock, steps = MockClock(), []

        def worker(name, period_ns):
            while clock.now_ns() < HOUR_NS:
                clock.sleep_until(clock.now_ns() + period_ns)
                steps.append((clock.now_ns() // NS_PER_S, name))

        for name, minutes in (("a", 2), ("b", 3), ("c", 6)):
            clock.start(lambda name=name, minutes=minutes: worker(name, minutes * 60 * NS_PER_S), name)
        clock.sleep_until(HOUR_NS)
        clock.settle()
        return steps

    first = walk()
    assert [first.count(step) for step in first] == [1] * (30 + 20 + 10)
    assert first == sorted(first, key=lambda step: step[0])
    assert all(walk() == first for _ in range(5))


def test_time_stands_still_while_a_thread_runs_and_one_that_is_woken_runs_first():
    clock, bell, seen = MockClock(), threading.Event(), []

    def sleeper():
        seen.append(("woken", clock.wait(bell, HOUR_NS), clock.now_ns()))
        seen.append(("late", clock.wait(threading.Event(), 5 * NS_PER_S), clock.now_ns()))

    clock.start(sleeper, "sleeper")
    clock.sleep_until(NS_PER_S)
    bell.set()
    assert not seen
    clock.settle()
    assert seen == [("woken", True, NS_PER_S)]
    clock.sleep_until(9 * NS_PER_S)
    assert seen[1] == ("late", False, 5 * NS_PER_S)


def test_readers_and_writers_of_a_channel_wait_by_it():
    clock, taken = MockClock(), []
    channel = Channel(Policy.BLOCK, 1, clock)

    def reader():
        for _ in range(3):
            clock.sleep_until(clock.now_ns() + NS_PER_S)
            taken.append((clock.now_ns() // NS_PER_S, channel.pop()))

    clock.start(reader, "reader")
    for number in range(3):
        channel.push(number)
    clock.advance_s(10)
    assert taken == [(1, 0), (2, 1), (3, 2)]
    with pytest.raises(TimeoutError):
        channel.pop(4.5)
    assert clock.now_ns() == int((2 + 10 + 4.5) * NS_PER_S)  # the last push found room at 2 s


@pytest.mark.parametrize("clock", [MonotonicClock(), MockClock()], ids=["real", "mock"])
def test_the_end_of_a_thread_can_be_waited_for(clock):
    go = threading.Event()
    thread = clock.start(lambda: clock.wait(go), "short")
    assert not wait_for_s(clock, Ended(thread), 0.05)
    go.set()
    assert wait_for_s(clock, Ended(thread), 20)
    assert not thread.is_alive()


def test_waits_that_nothing_can_end_are_told_of_instead_of_hanging():
    clock, told = MockClock(), []

    def lost():
        try:
            clock.wait(threading.Event())
        except ForeverError as error:
            told.append(str(error))

    thread = clock.start(lost, "lost")
    with pytest.raises(ForeverError, match="lost"):
        clock.wait(threading.Event())
    thread.join(10)
    assert told


def test_a_thread_that_it_does_not_know_is_refused():
    clock, told = MockClock(), []

    def stranger():
        with pytest.raises(RuntimeError, match="not started by this clock"):
            clock.sleep_until(1)
        told.append(True)

    thread = threading.Thread(target=stranger)
    thread.start()
    thread.join(10)
    assert told
