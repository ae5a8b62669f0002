"""Workers under their supervisor, with devices and stages that fail in every way, on the real clock."""

import threading
import time

import numpy as np
import pytest

from realtime.clock import MonotonicClock
from realtime.errors import AbsentError, DeviceError, ModelError
from realtime.extract.asr import decode_queue
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.extract.asr.whisper import Hypothesis
from realtime.runtime import source as sources
from realtime.runtime import stage as stages
from realtime.runtime import worker as supervise
from realtime.runtime.channel import Channel, Policy
from realtime.runtime.lag import LagMonitor
from realtime.runtime.source import RateMonitor, SourceWorker
from realtime.runtime.stage import StageWorker
from realtime.runtime.worker import MAX_LEFT_BEHIND, Watchdog, backoff_s
from realtime.types import Chunk, Frame


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch):
    monkeypatch.setattr(supervise, "FIRST_BACKOFF_S", 0.01)


def wait_until(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.005)


def frame():
    return Frame(time.monotonic_ns(), np.zeros((2, 2, 3), np.uint8))


class Script:
    """A device that does what each next line of its script says."""

    def __init__(self, lines):
        self.lines = iter(lines)
        self.opened = self.closed = 0
        self.release = threading.Event()

    def open(self):
        self.opened += 1

    def read(self):
        line = next(self.lines, "idle")
        if line == "hang":
            self.release.wait(20)
        if line == "gone":
            raise DeviceError("camera 0: unplugged; plug it in")
        if line == "no mic":
            raise AbsentError("camera 0: has no microphone")
        if line == "bug":
            raise RuntimeError("broken driver")
        time.sleep(0.01)
        return frame()

    def close(self):
        self.closed += 1


def run(device, read_s=0.3):
    items, events = [], []
    clock = MonotonicClock()
    worker = SourceWorker("camera", lambda: device, items.append, clock, events.append, open_s=1, read_s=read_s)
    dog = Watchdog([worker], MonotonicClock(), period_s=0.02)
    worker.start()
    dog.start()
    return worker, dog, items, events


@pytest.mark.parametrize(("line", "says"), [("gone", "camera 0: unplugged; plug it in"), ("bug", "broken driver")])
def test_a_device_that_fails_is_lost_with_its_cause_and_opened_again(line, says):
    device = Script(["ok", "ok", line, line])
    worker, dog, items, events = run(device)
    wait_until(lambda: any(event.kind == "recovered" for event in events))
    worker.stop()
    dog.stop()
    assert worker.join(2)
    assert [event.kind for event in events] == ["started", "lost", "recovered"]
    assert says in events[1].cause
    assert events[2].since_ns == events[1].t_ns
    assert device.opened == device.closed == 3
    assert len(items) >= 3
    assert not worker.gauge().lost


def test_a_part_that_a_device_lacks_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(supervise, "LOG_EVERY_S", 0.0)
    device = Script(["no mic", "no mic", "no mic", "gone", "gone"])
    worker, dog, _, events = run(device)
    wait_until(lambda: any(event.kind == "started" for event in events) or device.opened > 5)
    worker.stop()
    dog.stop()
    assert [event.cause for event in events if event.kind == "lost"] == ["camera 0: has no microphone"]
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("camera 0: has no microphone") == 1
    assert logged.count("camera 0: unplugged; plug it in") == 2


def test_a_read_that_hangs_is_left_behind_and_replaced():
    device = Script(["ok", "hang"])
    worker, dog, items, events = run(device)
    wait_until(lambda: len(items) >= 3)
    assert worker.gauge().left_behind == 1
    device.release.set()
    wait_until(lambda: worker.gauge().left_behind == 0)
    before = len(items)
    wait_until(lambda: len(items) > before)
    worker.stop()
    dog.stop()
    assert [event.kind for event in events] == ["started", "stalled", "recovered"]


def test_hung_calls_are_bounded():
    device = Script(["hang"] * 50)
    worker, dog, _, _ = run(device, read_s=0.05)
    wait_until(lambda: worker.gauge().left_behind >= MAX_LEFT_BEHIND)
    time.sleep(0.5)
    assert worker.gauge().left_behind <= MAX_LEFT_BEHIND + 1
    worker.stop()
    dog.stop()
    device.release.set()


class Doubler:
    def __init__(self):
        self.closed = False

    def feed(self, item):
        if item == "bug":
            raise ValueError("cannot double that")
        return [item * 2]

    def feed_batch(self, items):
        return [sum(items)]

    def flush(self):
        return ["flushed"]

    def close(self):
        self.closed = True


class Item(int):
    t_ns = 0


def stage_worker(make=Doubler, policy=Policy.BLOCK, **options):
    out, events = [], []
    channel = Channel(policy, 8)
    worker = StageWorker("stage", make, out.append, channel, MonotonicClock(), events.append, hang_s=1, **options)
    return worker, out, events


def test_a_stage_works_off_what_waits_and_is_flushed_at_the_end():
    worker, out, _ = stage_worker()
    worker.start()
    for number in range(5):
        worker.push(Item(number))
    worker.finish(5)
    assert out == [0, 2, 4, 6, 8, "flushed"]
    assert worker.gauge().items == 5
    stats = worker.gauge().channel
    assert (stats.pushed, stats.popped, stats.dropped, stats.pending) == (5, 5, 0, 0)


def test_a_stage_that_raises_is_built_anew_and_goes_on():
    class Bug(str):
        t_ns = 0

        def __mul__(self, other):
            raise ValueError("cannot double that")

    made = []

    def make():
        made.append(Doubler())
        return made[-1]

    worker, out, events = stage_worker(make)
    worker.start()
    for item in (Item(1), Bug("bug"), Item(3)):
        worker.push(item)
    wait_until(lambda: 6 in out)
    worker.finish(5)
    assert len(made) == 2
    assert made[0].closed
    assert [event.kind for event in events] == ["started", "lost", "recovered"]
    assert "cannot double that" in events[1].cause


class Moody(Doubler):
    """Takes whatever comes, gives nothing out, and fails at every third item."""

    def __init__(self):
        super().__init__()
        self.taken = 0

    def feed(self, item):
        self.taken += 1
        if self.taken == 3:
            raise MemoryError("no room for 8 GB")
        return [item] if item > 100 else []


def test_a_stage_that_only_listens_has_not_recovered_before_it_gave_something_or_worked_for_a_while(monkeypatch):
    worker, out, events = stage_worker(Moody)
    worker.start()
    for number in range(9):  # fails three times, and says so once
        worker.push(Item(number))
        wait_until(lambda: worker.gauge().items + worker.gauge().restarts == number + 1)  # noqa: B023
    assert [event.kind for event in events] == ["started", "lost"]
    assert "MemoryError: no room" in events[1].cause
    assert worker.gauge().lost
    worker.push(Item(101))
    wait_until(lambda: len(events) == 3)
    assert (events[2].kind, events[2].since_ns) == ("recovered", events[1].t_ns)
    monkeypatch.setattr(stages, "PROVEN_AFTER_S", 0.0)
    for number in range(3):
        worker.push(Item(number))
    wait_until(lambda: len(events) == 5)
    assert [event.kind for event in events[3:]] == ["lost", "recovered"]
    worker.finish(5)
    assert out == [101, "flushed"]


def test_one_late_result_is_no_overload_and_lags_at_the_limit_do_not_flicker():
    lag = LagMonitor()
    lags_s = [0.1, 4.0, 0.1, 1.5, 1.5, 0.9, 1.5, 1.5, 0.1]  # a second apart
    assert not any(lag.feed(at_s * 10**9, lag_s) for at_s, lag_s in enumerate(lags_s))
    turns = [lag.feed(at_s * 10**9, lag_s) for at_s, lag_s in enumerate([1.2, 0.8] * 10, start=20)]
    assert not any(turns)
    turns = [lag.feed(at_s * 10**9, lag_s) for at_s, lag_s in enumerate([1.2] * 4 + [0.8, 0.4, 0.8] * 10, start=50)]
    assert [at_s for at_s, turn in enumerate(turns) if turn] == [3]
    assert lag.behind
    assert lag.since_ns == 50 * 10**9


class HandClock(MonotonicClock):
    """Time that moves by hand; threads and their waits are real."""

    def __init__(self):
        super().__init__()
        self.t_ns = 0

    def now_ns(self):
        return self.t_ns

    def advance_to(self, t_ns):
        self.t_ns = max(self.t_ns, t_ns)


class Plodder(Doubler):
    """takes `work_s` of a virtual clock for each item."""

    def __init__(self, clock, work_s):
        super().__init__()
        self.clock, self.work_s = clock, work_s

    def feed(self, item):
        self.clock.advance_to(self.clock.now_ns() + int(self.work_s * 1e9))
        return [item]


class Pacing(Plodder):
    overload = None


def slow_worker(make, policy=Policy.DROP_OLDEST):
    clock, out, events, made = HandClock(), [], [], []

    def build():
        made.append(make(clock))
        return made[-1]

    worker = StageWorker("face", build, out.append, Channel(policy, 20), clock, events.append)
    worker.start()
    assert worker.ready.wait(5)

    def give(number):
        """Hand in an item, and wait until it has been worked off."""
        before = worker.gauge().items
        worker.push(Item(number))
        wait_until(lambda: worker.gauge().items > before)

    return worker, made[0], events, give


@pytest.mark.parametrize("policy", [Policy.DROP_OLDEST, Policy.LATEST])
def test_a_stage_that_is_behind_is_told_once_with_its_lag_and_once_when_it_has_caught_up(policy):
    worker, stage, events, give = slow_worker(lambda clock: Plodder(clock, 1.6), policy)
    for number in range(6):  # results at 1.6 s, 3.2 s, ...
        give(number)
    stage.work_s = 0.1
    for number in range(60):
        give(number)
    worker.finish(5)
    started, behind, caught_up = events
    assert (started.kind, behind.kind, caught_up.kind) == ("started", "overload", "recovered")
    assert behind.component == "face"
    assert "1.6 s late" in behind.cause
    assert (behind.since_ns, behind.t_ns) == (int(1.6e9), int(4.8e9))
    assert caught_up.since_ns == behind.since_ns
    assert 12.6e9 <= caught_up.t_ns < 13e9


def test_what_waits_counts_as_lag_and_a_stage_with_nothing_to_do_is_not_behind():
    clock, events, release = HandClock(), [], threading.Event()

    class Backlogged(Plodder):
        def feed(self, item):
            assert release.wait(5)
            return super().feed(item)

    channel = Channel(Policy.DROP_OLDEST, 20)
    worker = StageWorker("voice", lambda: Backlogged(clock, 0.5), lambda _: None, channel, clock, events.append)
    worker.start()
    for number in range(10):
        worker.push(Item(number))
    release.set()  # done after 0.5 s, 1 s, 1.5 s, ... though each takes half a second
    wait_until(lambda: [event.kind for event in events] == ["started", "overload"])
    assert "4.0 s late" in events[1].cause
    wait_until(lambda: worker.gauge().items == 10)

    def idle():
        clock.advance_to(clock.now_ns() + 10**9)
        time.sleep(0.05)
        return events[-1].kind == "recovered"

    wait_until(idle)
    worker.stop()


def test_a_stage_that_paces_itself_says_how_far_it_is_behind():
    worker, stage, events, give = slow_worker(lambda clock: Pacing(clock, 0.1))
    give(0)
    stage.overload = "a decode takes 2.00 s"
    for number in range(40):
        give(number)
    stage.overload = None
    for number in range(40):
        give(number)
    worker.finish(5)
    assert [event.kind for event in events] == ["started", "overload", "recovered"]
    assert events[1].cause == "a decode takes 2.00 s"


def test_the_loss_of_a_stage_that_was_behind_ends_with_one_recovery():
    class Failing(Plodder):
        def feed(self, item):
            if item == 99:
                raise ValueError("a bug")
            return super().feed(item)

    works_s = iter([1.6, 0.1])
    worker, _, events, give = slow_worker(lambda clock: Failing(clock, next(works_s)))
    for number in range(4):
        give(number)
    worker.push(Item(99))
    for number in range(60):
        give(number)
    worker.finish(5)
    assert [event.kind for event in events] == ["started", "overload", "lost", "recovered"]


def test_a_coalescing_stage_gets_all_that_waits_at_once():
    worker, out, _ = stage_worker(coalesce=True)
    for number in range(1, 6):
        worker.push(Item(number))
    worker.start()
    worker.finish(5)
    assert out == [15, "flushed"]


def test_dropped_sound_is_marked_as_a_gap_in_the_next_chunk():
    got = []

    class Keep(Doubler):
        def feed(self, item):
            got.append(item)
            return []

    worker, _, _ = stage_worker(Keep, Policy.DROP_OLDEST)
    for number in range(11):  # 8 fit
        worker.push(Chunk(number, np.zeros(320, np.float32)))
    worker.start()
    worker.finish(5)
    assert [chunk.t_ns for chunk in got] == list(range(3, 11))
    assert [chunk.lost_samples for chunk in got] == [3 * 320] + [0] * 7


def test_backoff_grows_is_jittered_and_capped(monkeypatch):
    monkeypatch.setattr(supervise, "FIRST_BACKOFF_S", 0.25)
    means = [np.mean([backoff_s(failures) for _ in range(200)]) for failures in (1, 3, 30)]
    assert means[0] < means[1] < means[2] <= supervise.LONGEST_BACKOFF_S * 1.25
    assert len({backoff_s(5) for _ in range(10)}) > 1


def paced(least_hz, *stretches):
    """Return (second, rate) of each change, for stretches of (rate in Hz, seconds)."""
    pace, t_s, changes = RateMonitor(least_hz), 0.0, []
    for rate_hz, length_s in stretches:
        for _ in range(round(rate_hz * length_s)):
            t_s += 1 / rate_hz
            if (now_hz := pace.feed(int(t_s * 1e9))) is not None:
                changes.append((t_s, now_hz, pace.slow))
    return changes


def test_a_camera_at_full_rate_is_not_slow():
    assert paced(5, (15, 10)) == []


def test_a_camera_that_falls_back_is_slow_within_its_two_seconds_until_it_is_clearly_faster():
    begun, over = paced(5, (15, 5), (2, 6), (15, 5))
    assert 6 < begun[0] < 8
    assert begun[1] < 5
    assert begun[2]
    assert 12 < over[0] < 14.5
    assert over[1] > 7.5


def test_a_rate_at_the_limit_does_not_flicker():
    assert len(paced(5, *[(4.9, 3), (5.5, 3)] * 5)) == 1


class Slow(Script):
    """A device that takes its time."""

    pause_s = 0.05

    def read(self):
        time.sleep(self.pause_s)
        return frame()


def test_a_slow_device_is_told_of_with_its_rate_and_again_when_it_is_faster(monkeypatch):
    monkeypatch.setattr(sources, "SLOW_OVER_S", 0.2)
    device, events = Slow([]), []
    worker = SourceWorker(
        "camera", lambda: device, lambda _: None, MonotonicClock(), events.append, open_s=1, read_s=1, least_hz=40
    )
    worker.start()
    wait_until(lambda: any(event.kind == "slow" for event in events))
    device.pause_s = 0.002
    wait_until(lambda: events[-1].kind == "recovered")
    worker.stop()
    assert worker.join(2)
    assert [event.kind for event in events] == ["started", "slow", "recovered"]
    assert "per second" in events[1].cause
    assert events[2].since_ns == events[1].t_ns


def test_a_stage_that_cannot_be_built_keeps_nobody_from_starting():
    def make():
        raise DeviceError("the model is missing")

    worker = StageWorker("face", make, lambda _: None, Channel(Policy.LATEST), MonotonicClock(), lambda _: None)
    worker.start()
    assert worker.ready.wait(5)
    worker.stop()
    assert worker.join(5)


class Stuck:
    """A speech model whose first decode hangs until it is let go."""

    def __init__(self, *, hangs=True):
        self.hangs, self.entered, self.release = hangs, threading.Event(), threading.Event()

    def decode(self, sound, prefix, max_tokens, language):  # noqa: ARG002 - the signature of a decoder
        self.entered.set()
        if self.hangs:
            self.release.wait(20)
        return Hypothesis(()), language


def decoding(queue):
    """Decode in a thread of its own."""
    thread = threading.Thread(target=queue.member().decode, args=(np.zeros(1, np.float32), [], 5, "en"), daemon=True)
    thread.start()
    return thread


def decoded(queue):
    return queue.member().decode(np.zeros(1, np.float32), [], 5, "en")[1]


def test_a_decode_that_hangs_is_given_up_with_its_model_and_a_fresh_one_takes_over(monkeypatch):
    monkeypatch.setattr(decode_queue, "LOOK_EVERY_S", 0.02)
    stuck, fresh = Stuck(), []
    queue = DecodeQueue(stuck, renew=lambda: fresh.append(Stuck(hangs=False)) or fresh[-1], hang_s=0.1)
    thread = decoding(queue)
    assert stuck.entered.wait(5)
    assert decoded(queue) == decoded(queue) == "en"
    assert len(fresh) == 1
    stuck.release.set()
    thread.join(5)
    assert decoded(queue) == "en"  # its return frees no second place
    assert (queue._free, queue._hung) == (1, 0)


def test_models_that_hang_one_after_the_other_are_bounded_and_one_that_returns_makes_room(monkeypatch):
    monkeypatch.setattr(decode_queue, "LOOK_EVERY_S", 0.02)
    made = [Stuck()]
    queue = DecodeQueue(made[0], renew=lambda: made.append(Stuck()) or made[-1], hang_s=0.1)
    for number in range(decode_queue.MOST_HUNG + 1):
        decoding(queue)
        wait_until(lambda: len(made) == number + 1 and made[-1].entered.is_set())  # noqa: B023
    time.sleep(0.2)
    with pytest.raises(ModelError, match="again and again"):
        decoded(queue)
    assert len(made) == decode_queue.MOST_HUNG + 1
    made[0].release.set()
    made[-1].hangs = False
    made[-1].release.set()
    wait_until(lambda: queue._free == 1)
    assert decoded(queue) == "en"


def test_an_open_that_answers_after_all_leaves_the_next_one_watched():
    releases = [threading.Event(), threading.Event()]
    hanging, opened = iter(releases), []

    class Slow(Script):
        def open(self):
            release = next(hanging, None)
            opened.append(release)
            if release is not None:
                release.wait(20)

    clock = MonotonicClock()
    worker = SourceWorker("camera", lambda: Slow([]), lambda _: None, clock, lambda _: None, open_s=0.3, read_s=0.3)
    dog = Watchdog([worker], MonotonicClock(), period_s=0.02)
    worker.start()
    dog.start()
    wait_until(lambda: len(opened) == 2)
    releases[0].set()  # late; the second hangs, too
    wait_until(lambda: len(opened) == 3)
    worker.stop()
    dog.stop()
    releases[1].set()


def test_what_finds_no_room_in_time_is_counted_as_dropped():
    worker, _, _ = stage_worker()
    worker.hang_s = 0.05
    for number in range(10):  # nobody takes anything: the thread was not started
        worker.push(Item(number))
    stats = worker.gauge().channel
    assert (stats.pushed, stats.popped, stats.dropped, stats.pending) == (10, 0, 2, 8)
