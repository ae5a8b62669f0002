"""Calls of several threads as one: each gets its own result, an error reaches only the one it belongs to."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from realtime.extract.voice.batcher import MicroBatcher
from scripts.harness.processes import wait_until


class Slow:
    """Doubles numbers; the first pass waits until it is let go, and notes how many came at a time."""

    def __init__(self, bad=()):
        self.sizes, self.bad = [], bad
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, items):
        self.sizes.append(len(items))
        self.begun.set()
        assert self.go.wait(10)
        if any(item in self.bad for item in items):
            raise ValueError(f"bad among {sorted(items)}")
        return [2 * item for item in items]


def crowd(work, together, items):
    """Begin with the first item alone; the others come while it is worked on."""
    with ThreadPoolExecutor(len(items)) as pool:
        futures = [pool.submit(together, items[0])]
        assert work.begun.wait(10)
        futures += [pool.submit(together, item) for item in items[1:]]
        wait_until(lambda: len(together._waiting) == len(items) - 1, 10, "the others wait")
        work.go.set()
        return [future.exception(10) or future.result() for future in futures]


def test_a_call_alone_runs_at_once_by_itself():
    work = Slow()
    work.go.set()
    together = MicroBatcher(work)
    assert [together(3), together(4)] == [6, 8]
    assert work.sizes == [1, 1]


def test_calls_that_come_meanwhile_are_worked_off_in_one_pass_each_with_its_own_result():
    work = Slow()
    assert crowd(work, MicroBatcher(work), [1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert work.sizes == [1, 4]


def test_an_error_is_raised_for_the_item_that_caused_it_and_no_other():
    work = Slow(bad={3})
    found = crowd(work, MicroBatcher(work), [1, 2, 3, 4])
    assert [found[0], found[1], found[3]] == [2, 4, 8]
    assert isinstance(found[2], ValueError)
    assert str(found[2]) == "bad among [3]"


def test_after_an_error_the_next_call_works():
    together = MicroBatcher(lambda items: [1 / item for item in items])
    with pytest.raises(ZeroDivisionError):
        together(0)
    assert together(4) == 0.25


def test_a_crowd_of_threads_loses_no_call_and_swaps_no_result():
    together = MicroBatcher(lambda items: [item + 1000 for item in items])

    def many(thread):
        return all(together(100 * thread + number) == 1000 + 100 * thread + number for number in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(many, range(8)))
