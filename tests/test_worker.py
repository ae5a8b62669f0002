"""The fusion worker: one model for all streams, whole batches, nothing made up, nothing grows."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import FusionConfig
from realtime.fuse.collate import MAX_STEPS, collate
from realtime.fuse.smooth import Smoother
from realtime.fuse.window import DIMS
from realtime.fuse.worker import NOTHING, WEIGHTS, Fuser, FusionWorker
from realtime.types import MODALITIES, NS_PER_S, Segment, WindowView

RNG = np.random.default_rng(3)


def segment(name, steps, reliability=1.0):
    values = RNG.normal(0, 1, (steps, DIMS[name])).astype(np.float32)
    return Segment(values, np.linspace(-3, 0, steps, dtype=np.float32), reliability, "ok", None, 0)


def view(seq=0, stream="desk", **reliability):
    segments = {name: segment(name, 5, reliability.get(name, 1.0)) for name in MODALITIES}
    return WindowView(stream, seq, 0, NS_PER_S, segments)


@pytest.fixture(scope="module")
def fuser():
    return Fuser(WEIGHTS, "cpu", VirtualClock())


def test_a_batch_says_the_same_of_each_window_as_the_window_alone(fuser):
    views = [view(), view(face=0.0), view(text=0.0, voice=0.0), view(text=0.2)]
    together, alone = fuser.fuse(views), [fuser.fuse([each])[0] for each in views]
    for one, other in zip(together, alone, strict=True):
        assert one.raw == pytest.approx(other.raw, abs=1e-4)
        assert one.interval == pytest.approx(other.interval, abs=1e-4)


def test_weights_sum_to_one_and_are_exactly_zero_for_what_is_masked(fuser):
    estimate = fuser.fuse([view(face=0.0)])[0]
    assert estimate.weights["face"] == 0.0
    assert sum(estimate.weights.values()) == pytest.approx(1, abs=1e-5)
    assert estimate.interval[0] <= estimate.raw <= estimate.interval[1]


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -1e30])
def test_what_a_masked_stream_holds_changes_no_bit(fuser, rubbish):
    clean = view(voice=0.0)
    dirty = WindowView("desk", 0, 0, NS_PER_S, dict(clean.segments))
    masked = clean.segments["voice"]
    dirty.segments["voice"] = Segment(masked.values + np.float32(rubbish), masked.times_s, 0.0, "lost", None, 0)
    assert fuser.fuse([clean])[0].raw == fuser.fuse([dirty])[0].raw


def test_with_nothing_left_no_score_is_made_up(fuser):
    nothing = view(text=0.0, voice=0.0, face=0.0)
    assert fuser.fuse([nothing]) == [NOTHING]
    mixed = fuser.fuse([nothing, view()])
    assert mixed[0] == NOTHING
    assert mixed[1].raw is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_a_trusted_stream_of_nothing_but_rubbish_is_no_signal(fuser, rubbish):
    only = view(voice=0.0, face=0.0)
    text = only.segments["text"]
    only.segments["text"] = Segment(np.full_like(text.values, rubbish), text.times_s, 1.0, "ok", None, 0)
    assert fuser.fuse([only]) == [NOTHING]


def test_an_interval_widens_when_the_words_are_lost(fuser):
    with_words = [fuser.fuse([view()])[0].interval for _ in range(10)]
    without = [fuser.fuse([view(text=0.0)])[0].interval for _ in range(10)]
    assert np.mean([high - low for low, high in without]) > np.mean([high - low for low, high in with_words])


def test_windows_of_many_streams_come_back_in_order_per_stream(fuser):
    results, done = [], threading.Event()

    def take(window, estimate):
        results.append((window.stream, window.seq))
        assert estimate.raw is not None
        if len(results) == 16:
            done.set()

    worker = FusionWorker(fuser, FusionConfig(max_batch=3), MonotonicClock(), 4, take)
    for seq in range(4):
        for stream in "abcd":
            worker.submit(view(seq, stream))
    worker.start()
    assert done.wait(20)
    worker.close(2)
    for stream in "abcd":
        assert [seq for name, seq in results if name == stream] == list(range(4))
    stats = worker.gauge().channel
    assert (stats.pushed, stats.popped, stats.dropped, stats.pending) == (16, 16, 0, 0)


def test_a_window_that_fails_in_the_model_or_on_its_way_out_does_not_end_the_others(fuser, monkeypatch):
    results, failures = [], iter([MemoryError("no room"), None, None, None])

    def fuse(views, real=fuser.fuse):
        if (error := next(failures)) is not None:
            raise error
        return real(views)

    def take(window, estimate):
        results.append((window.seq, estimate.raw is not None))
        if window.seq == 1:
            raise OSError("disk full")

    monkeypatch.setattr(fuser, "fuse", fuse)
    worker = FusionWorker(fuser, FusionConfig(max_batch=1), MonotonicClock(), 1, take)
    for seq in range(4):
        worker.submit(view(seq))
    worker.start()
    worker.close(20)
    assert results == [(0, False), (1, True), (2, True), (3, True)]


def test_the_newest_steps_of_a_long_segment_are_kept():
    segments = {name: segment(name, 200) for name in MODALITIES}
    batch = collate([WindowView("desk", 0, 0, 0, segments)])
    for name in MODALITIES:
        assert batch.values[name].shape == (1, MAX_STEPS[name], DIMS[name])
        assert np.array_equal(batch.values[name][0, -1], segments[name].values[-1])


@given(st.lists(st.tuples(st.floats(-3, 3), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=50)
def test_a_smoothed_score_stays_within_what_was_seen(windows):
    smoother = Smoother(1.0)
    raws = [raw for raw, _ in windows]
    for number, (raw, event) in enumerate(windows):
        score = smoother.feed(number * NS_PER_S // 4, raw, number if event else None, "final")
        assert min(raws) - 1e-9 <= score <= max(raws) + 1e-9


class Counting:
    """The fuser, noting how many windows each forward pass takes."""

    def __init__(self, inner):
        self._inner, self.sizes = inner, []

    def fuse(self, views):
        self.sizes.append(len(views))
        return self._inner.fuse(views)


@pytest.mark.parametrize(
    ("streams", "submitted", "max_batch", "sizes"),
    [
        (1, 1, 64, [1]),  # alone: nobody to wait for
        (3, 3, 64, [3]),  # all are there
        (8, 3, 64, [3]),  # the others are late: it goes without them
        (8, 8, 3, [3, 3, 2]),
    ],
)
def test_a_batch_goes_when_it_is_full_or_has_waited_long_enough(fuser, streams, submitted, max_batch, sizes):
    counting, done = Counting(fuser), threading.Semaphore(0)
    config = FusionConfig(max_batch=max_batch, max_wait_ms=20)
    worker = FusionWorker(counting, config, MonotonicClock(), streams, lambda *_: done.release())
    for number in range(submitted):
        worker.submit(view(stream=f"s{number}"))
    worker.start()
    for _ in range(submitted):
        assert done.acquire(timeout=20)
    worker.close(2)
    assert counting.sizes == sizes


class Stuck:
    """The fuser, whose passes hang or raise as the test says."""

    def __init__(self, lines):
        self.lines, self.release = iter(lines), threading.Event()

    def fuse(self, views):
        line = next(self.lines, "ok")
        if line == "hang":
            self.release.wait(20)
        if line == "raise":
            raise MemoryError("no room")
        return [NOTHING] * len(views)


@pytest.mark.parametrize(
    ("line", "kinds", "judged"), [("hang", ["stalled", "recovered"], {1}), ("raise", ["lost", "recovered"], {0, 1})]
)
def test_a_forward_pass_that_hangs_or_raises_is_told_and_the_next_windows_are_judged(line, kinds, judged):
    fuser, events, results, back = Stuck([line]), [], [], threading.Event()

    def tell(event):
        events.append(event)
        if event.kind == "recovered":
            back.set()
        else:
            worker.submit(view(1))

    worker = FusionWorker(
        fuser, FusionConfig(), MonotonicClock(), 1, lambda window, _: results.append(window.seq), tell, hang_s=0.2
    )
    worker.submit(view(0))
    worker.start()
    assert back.wait(20)
    fuser.release.set()  # what comes now comes too late
    worker.close(10)
    assert [event.kind for event in events] == kinds
    assert {event.component for event in events} == {"fusion"}
    assert set(results) == judged
    stats = worker.gauge().channel
    assert (stats.pushed, stats.popped, stats.pending) == (2, 2, 0)
