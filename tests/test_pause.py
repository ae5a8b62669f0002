"""A pause: nothing is taken in, nothing from before it comes out after it, and no message carries what was said."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from models.context import Context
from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.schema import Config
from realtime.extract.schema import FACE_DIM, TEXT_DIM
from realtime.fuse.worker import NOTHING, Estimate
from realtime.publish.messages import EventMessage
from realtime.publish.outlet import Outlet
from realtime.runtime.channel import Channel, Policy
from realtime.runtime.stage import StageWorker
from realtime.session.stream import MOST_OPEN, Stream
from realtime.types import NS_PER_S, Event, FaceFeatures, TextFeatures, Word

SAYS = Estimate(2.0, (1.0, 3.0), (1.5, 2.5), 1.2, {"text": 1.0, "voice": 0.0, "face": 0.0})


@pytest.fixture
def desk():
    """A stream, its clock and what it sent."""
    sent, clock, config = [], VirtualClock(), Config.model_validate({"fusion": {"smoothing_s": 10.0}})
    stream = Stream(config, config.streams[0], clock, Outlet.into(sent.append), Context())
    stream.sent, stream.clock = sent, clock
    return stream


def words(t_ns):
    word = Word(t_ns - NS_PER_S, t_ns - NS_PER_S // 2, "secret", 0.9, committed=True)
    return TextFeatures(t_ns, (word,), np.ones((1, TEXT_DIM), np.float32))


def face(t_ns, face_id, score=1.0):
    return FaceFeatures(t_ns, np.full(FACE_DIM, face_id, np.float32), True, 1, score, 99.0, 0.5, 0.1, face_id)


def test_while_paused_nothing_is_taken_in_and_no_message_carries_words(desk):
    desk.clock.advance_to(4 * NS_PER_S)
    desk.window.add_text(words(desk.clock.now_ns()))
    before = desk.close_window(desk.clock.now_ns())
    assert before.words
    desk.pause()
    desk.window.add_text(words(desk.clock.now_ns()))
    desk.window.add_face(face(desk.clock.now_ns(), 1))
    desk.window.saw(desk.video, desk.clock.now_ns())
    during = desk.close_window(desk.clock.now_ns())
    assert not during.words
    assert not len(during.segments["face"].values)
    for view in (before, during):
        desk.publish(view, SAYS)
        message = desk.sent[-1]
        assert (message.state, message.score, message.text.committed, message.text.tentative) == (
            "paused",
            None,
            "",
            "",
        )
    desk.resume()
    desk.window.add_text(words(desk.clock.now_ns()))
    assert desk.close_window(desk.clock.now_ns()).words


def test_a_window_from_before_a_pause_that_is_judged_after_it_counts_no_more(desk):
    view = desk.close_window(NS_PER_S)
    desk.pause()
    desk.resume()
    desk.publish(view, SAYS)
    assert desk.sent[-1].state == "paused"
    later = replace(desk.close_window(2 * NS_PER_S), opinion="final")
    desk.publish(later, replace(SAYS, raw=-2.0, interval=(-3.0, -1.0)))
    assert desk.sent[-1].score == -2.0  # no trace of the 2.0


def test_windows_that_are_never_judged_are_forgotten(desk):
    for number in range(3 * MOST_OPEN):
        last = desk.close_window(number * NS_PER_S)
    assert len(desk._open) <= MOST_OPEN
    desk.publish(last, NOTHING)
    assert not desk._open


def test_another_person_finds_neither_pictures_nor_score_of_the_one_before(desk):
    for tenth in range(10, 40):
        t_ns = tenth * NS_PER_S // 10
        desk.clock.advance_to(t_ns)
        desk.window.saw(desk.video, t_ns)
        desk.window.add_face(face(t_ns, 1 if tenth < 30 else 2))
        if tenth in {29, 39}:
            view = replace(desk.close_window(t_ns), opinion="final")
            desk.publish(view, replace(SAYS, raw=2.0 if tenth == 29 else -2.0))
    # Of a face that has been there for .9 s not all counts yet.
    assert set((view.segments["face"].values[:, 0] / 0.45).round(3)) == {2.0}
    assert desk.sent[-1].score == -2.0


def test_a_face_that_does_not_count_is_nobody(desk):
    desk.clock.advance_to(4 * NS_PER_S)
    desk.window.saw(desk.video, 4 * NS_PER_S)
    desk.window.add_face(face(4 * NS_PER_S, 7, score=0.0))
    view = desk.close_window(4 * NS_PER_S)
    assert view.segments["face"].reliability == 0
    assert view.face_id == 0


class Keeping:
    """A stage that keeps what it was fed, and takes its time where it is told to."""

    def __init__(self, going):
        self.going, self.kept = going, []

    def feed(self, item):
        self.kept.append(item)
        self.going.wait(20)
        return [list(self.kept)]

    def flush(self):
        return [list(self.kept)]

    def close(self):
        self.kept.clear()


class Item(int):
    t_ns = 0


def test_what_a_stage_holds_is_in_work_or_waits_at_a_pause_never_comes_out():
    going, out, given = threading.Event(), [], threading.Event()
    channel = Channel(Policy.DROP_OLDEST, 8)

    def sink(items):
        out.append(items)
        given.set()

    worker = StageWorker("stage", lambda: Keeping(going), sink, channel, MonotonicClock(), lambda _: None)
    worker.start()
    for number in range(3):
        worker.push(Item(number))
    while channel.stats().popped < 1:
        pass
    worker.pause()
    worker.push(Item(3))
    worker.resume()
    worker.push(Item(4))
    going.set()
    assert given.wait(20)
    worker.finish(20)
    assert out[0] == [4]
    assert not {0, 1, 2, 3} & {item for items in out for item in items}
    stats = channel.stats()
    assert stats.pushed == stats.popped + stats.dropped + stats.pending


def test_events_that_come_at_the_same_time_reach_every_sink_in_the_order_of_their_numbers():
    config, got, outlet = Config(), ([], []), Outlet()
    for own in got:

        def take(event, own=own):
            time.sleep(0.001)  # another thread's turn
            own.append(int(event.id.rpartition("-")[2]))

        outlet.subscribe(take, EventMessage)
    stream = Stream(config, config.streams[0], VirtualClock(), outlet, Context())

    def tell():
        for _ in range(10):
            stream.event(Event(0, "camera", "lost", "unplugged"))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == (list(range(1, 41)), list(range(1, 41)))
