"""The tick of a live session on a clock that moves when all its threads wait: to the nanosecond, without sleeping."""

import logging
import math
from dataclasses import replace
from itertools import pairwise

import pytest

from realtime.publish.messages import Sentiment
from realtime.session.live import STOP_LOOK_NS
from realtime.types import NS_PER_S
from scripts.harness.mock_clock import MockClock
from scripts.harness.mock_session import MockSession, script_of

HOP_S, LATENESS_S = 0.25, 0.15
BEGIN_NS = 100 * NS_PER_S


@pytest.fixture
def clock():
    return MockClock(BEGIN_NS)


def now_s(clock):
    return (clock.now_ns() - BEGIN_NS) / NS_PER_S


def ends_s(windows):
    return [round(message.window.end_s, 6) for message in windows]


def test_a_window_ends_every_hop_and_is_sent_when_all_that_belongs_to_it_has_come(clock):
    session = MockSession(clock)
    sent_s = []
    session.outlet.subscribe(lambda _: sent_s.append(now_s(clock)), Sentiment)
    session.run(3.0)
    windows = session.windows()
    assert ends_s(windows) == [HOP_S * number for number in range(1, 13)]
    assert [message.seq for message in windows] == list(range(12))
    # Pictures and sound come every 0.1 s, and are worked off at once.
    assert sent_s == [pytest.approx(HOP_S * number + 0.05 * (number % 2)) for number in range(1, 13)]
    assert [message.latency_ms.window for message in windows] == [50, 0] * 6
    assert {message.modalities["face"].age_ms for message in windows} == {0, 50}
    assert [message.uptime_s for message in session.healths()] == [pytest.approx(second) for second in (1, 2, 3)]
    assert {message.late for message in session.healths()} == {0}


def test_what_is_late_has_its_time_and_no_more(clock):
    session = MockSession(clock)
    camera = session.cameras["desk"]
    camera.step_ns = NS_PER_S // 5 * 2
    sent_s = []
    session.outlet.subscribe(lambda _: sent_s.append(now_s(clock)), Sentiment)
    session.run(5.0)
    # A picture at each multiple of 0.4 s: what is farther from an end than the lateness is not waited for.
    for number, at_s in enumerate(sent_s[1:], 2):
        end_s = HOP_S * number
        next_s = math.ceil(round(end_s / 0.4, 9)) * 0.4
        sound_s = math.ceil(round(end_s / 0.1, 9)) * 0.1
        assert at_s == pytest.approx(max(sound_s, min(next_s, end_s + LATENESS_S)))
    assert {message.late for message in session.healths()} == {0}


def test_a_camera_that_is_gone_is_not_waited_for(clock):
    session = MockSession(clock)
    session.start()
    clock.advance_s(2.05)
    session.cameras["desk"].plugged = False
    clock.advance_s(3)
    session.close()
    windows = {message.window.end_s: message.latency_ms.window for message in session.windows()}
    assert {windows[end_s] for end_s in (2.5, 2.75, 3.0, 4.0)} == {0, 50}


def test_of_several_streams_each_closes_its_windows_by_itself(clock):
    session = MockSession(clock, names=("desk", "sofa"))
    session.cameras["sofa"].step_ns = NS_PER_S // 5 * 2
    session.run(3.0)
    waits = {name: [message.latency_ms.window for message in session.windows(name)] for name in ("desk", "sofa")}
    assert max(waits["desk"]) <= 60  # with what the worker waits for windows of the other
    assert max(waits["sofa"]) >= 150
    for name in waits:
        assert ends_s(session.windows(name)) == [HOP_S * number for number in range(1, 13)]


SAID = [(101.0, "really great", 2.5), (103.0, "rather bad", -2.5)]


def test_an_opinion_word_is_said_at_once_and_the_grid_goes_on(clock):
    session = MockSession(clock, script=script_of(SAID))
    sent = []
    session.outlet.subscribe(lambda message: sent.append((now_s(clock), message)), Sentiment, words=True)
    session.run(6.0)
    windows = session.windows()
    assert [message.seq for message in windows] == list(range(len(windows)))
    assert ends_s(windows) == sorted(set(ends_s(windows)))
    assert ends_s(message for message in windows if message.reason == "hop") == [HOP_S * n for n in range(1, 25)]
    words = [(at_s, message) for at_s, message in sent if message.reason == "word"]
    # Each word is committed with the second block of sound after it.
    assert [(round(at_s, 6), message.text.committed) for at_s, message in words] == [
        (1.4, "really"),
        (1.7, "really great"),
        (3.4, "rather"),
        (3.7, "rather bad"),
    ]
    for at_s, message in words:
        assert message.window.end_s == pytest.approx(at_s)
        assert message.latency_ms.window == 0
    for _, message in words[1::2]:
        before = windows[message.seq - 1]
        assert abs(message.score - before.score) > 0.3, "with the word comes its score"


def test_words_wait_for_the_hop_where_that_is_wanted(clock):
    session = MockSession(clock, script=script_of(SAID), settings={"text": {"at_once": False}})
    session.run(6.0)
    assert {message.reason for message in session.windows()} == {"hop"}
    assert len(session.windows()) == 24


def test_however_many_words_turn_what_is_said_there_is_one_message_for_them_between_two_hops(clock):
    sentence = " ".join(["good", "bad"] * 20)
    script = [
        replace(word, location=2.0 * (-1) ** number) for number, word in enumerate(script_of([(100.5, sentence, 0)]))
    ]
    script = [replace(word, start_ns=BEGIN_NS + (5 + number) * NS_PER_S // 10) for number, word in enumerate(script)]
    session = MockSession(clock, script=script)
    session.run(4.0)
    reasons = [message.reason for message in session.windows()]
    assert reasons.count("word") >= 8
    assert "word word" not in " ".join(reasons)


def test_what_is_said_moves_the_score_as_soon_as_it_is_heard(clock):
    script = script_of([(101.0, "what a lovely film", 2.5)])
    session = MockSession(clock, script=script)
    session.run(4.0)
    windows = session.windows()
    before = next(message for message in windows if message.window.end_s == 1.0)
    after = next(message for message in windows if message.text.committed == "what a lovely film")
    assert before.text.committed == before.text.tentative == ""
    assert after.opinion == "final"
    assert after.score > 1
    assert after.window.end_s <= 2.75  # the last word ends at 2.15, and is committed with the next block


def test_a_pause_is_taken_at_once_and_ends_with_the_devices_open_once(clock):
    session = MockSession(clock)
    session.start()
    clock.advance_s(1.06)
    session.live.pause("desk")
    clock.settle()
    (paused,) = session.events(component="stream")
    assert paused.time_s == pytest.approx(1.06)
    clock.advance_s(0.2)
    camera, microphone = session.cameras["desk"], session.microphones["desk"]
    assert camera.held == microphone.held == 0
    reads = camera.reads
    clock.advance_s(2)
    assert camera.reads == reads
    session.live.resume("desk")
    clock.advance_s(2)
    session.close()
    assert [event.kind for event in session.events(component="stream")] == ["paused", "resumed"]
    assert session.events(component="stream")[1].time_s == pytest.approx(3.26)
    states = {message.seq: message.state for message in session.windows()}
    assert {state for seq, state in states.items() if 1.06 < ends_s(session.windows())[seq] < 3.2} == {"paused"}
    assert states[0] == states[max(states)] == "ok"
    assert sorted(states) == list(range(len(states)))
    assert camera.opened == microphone.opened == 2
    assert camera.most_held == microphone.most_held == 1
    assert camera.held == microphone.held == 0


def test_a_command_does_not_wait_for_the_next_tick(clock):
    session = MockSession(clock, settings={"window": {"hop_s": 10.0, "length_s": 10.0}})
    session.start()
    clock.advance_s(3)
    session.live.toggle_pause()
    session.live.toggle_pause()
    session.live.toggle_pause()
    clock.settle()
    assert [event.kind for event in session.events(component="stream")] == ["paused", "resumed", "paused"]
    assert {event.time_s for event in session.events(component="stream")} == {3.0}
    assert not session.windows()
    session.close()


def test_a_session_of_files_ends_with_the_last_of_them_and_says_so_once_for_each(clock):
    session = MockSession(clock, names=(), files={"short": 1.3, "long": 2.9})
    session.run()
    for name, seconds in (("short", 1.3), ("long", 2.9)):
        (ended,) = session.events(name, "stream")
        assert ended.kind == "ended"
        windows = session.windows(name)
        assert ends_s(windows) == [HOP_S * number for number in range(1, len(windows) + 1)]
        assert 0 <= windows[-1].window.end_s - seconds < HOP_S
        assert session.sent.index(ended) == session.sent.index(windows[-1]) + 1
    assert now_s(clock) < 2.9 + 2 * HOP_S + 1


def test_a_session_that_is_told_to_stop_does_so_soon(clock):
    session = MockSession(clock, settings={"window": {"hop_s": 10.0, "length_s": 10.0}})
    session.start()
    clock.advance_s(3)
    session.stop.set()
    asked_ns = clock.now_ns()
    clock.sleep_until(asked_ns + STOP_LOOK_NS)
    clock.advance_s(1.1)  # the call that a device is in, and the watchdogs
    assert not session.thread.is_alive()
    assert session.cameras["desk"].held == 0


def test_a_report_that_fails_ends_neither_its_stream_nor_the_others_and_is_told_twice_a_minute(
    clock, monkeypatch, caplog
):
    session = MockSession(clock, names=("desk", "sofa"), settings={"window": {"hop_s": 0.5}})

    def broken(_):
        raise RuntimeError("deque mutated during iteration")

    monkeypatch.setattr(session.live.streams["desk"].health, "report", broken)
    with caplog.at_level(logging.ERROR):
        session.run(35.0)
    assert not session.healths("desk")
    assert len(session.healths("sofa")) == 35
    for name in ("desk", "sofa"):
        assert ends_s(session.windows(name)) == [0.5 * number for number in range(1, 71)]
    assert [record.message for record in caplog.records] == ["stream desk: a health message failed"] * 2


def test_a_window_that_fails_is_missing_in_its_stream_only(clock, monkeypatch):
    session = MockSession(clock, names=("desk", "sofa"))
    stream, calls = session.live.streams["desk"].stream, []
    close = stream.close_window

    def broken(end_ns):
        calls.append(end_ns)
        if len(calls) == 3:
            raise ValueError("no window")
        return close(end_ns)

    monkeypatch.setattr(stream, "close_window", broken)
    session.run(2.0)
    assert ends_s(session.windows("desk")) == [0.25, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert len(session.windows("sofa")) == 8


@pytest.mark.parametrize(("held_up_s", "late", "left_out"), [(0.2, 0, 0), (0.7, 1, 0), (5.0, 0, 19)])
def test_a_tick_that_comes_late_is_counted_and_a_standstill_is_told_instead(
    clock, monkeypatch, held_up_s, late, left_out
):
    session = MockSession(clock)
    stream, calls = session.live.streams["desk"].stream, []
    close = stream.close_window

    def slow(end_ns):
        calls.append(end_ns)
        if len(calls) == 4:
            clock.sleep_until(clock.now_ns() + int(held_up_s * NS_PER_S))
        return close(end_ns)

    monkeypatch.setattr(stream, "close_window", slow)
    session.run(9.0)
    windows = session.windows()
    # A window that was closed too late had its number, and no message.
    assert [message.seq for message in windows] == [seq for seq in range(len(windows) + 1) if not left_out or seq != 3][
        : len(windows)
    ]
    assert len(windows) == 36 - left_out
    told = [event.kind for event in session.events(component="stream")]
    assert told == (["stalled", "recovered"] if left_out else [])
    if left_out:
        assert f"{left_out} windows left out" in session.events(component="stream")[0].cause
        assert max(later - earlier for earlier, later in pairwise(ends_s(windows))) == (left_out + 1) * HOP_S
    else:
        assert session.healths()[-1].late == late


def test_each_stream_is_told_how_many_windows_it_misses_after_a_standstill_between_two_of_one_tick(clock, monkeypatch):
    session = MockSession(clock, ("desk", "sofa"))
    # The window of the sofa waits until it is due; that of the desk is closed, judged and sent when it is whole.
    monkeypatch.setattr(session.live.streams["sofa"].stream.window, "awaits", lambda _: True)
    submit = session.live._fusion.submit

    def stands_still_after(view):
        submit(view)
        if (view.stream, view.seq) == ("desk", 3):
            clock.sleep_until(clock.now_ns() + 5 * NS_PER_S)

    monkeypatch.setattr(session.live._fusion, "submit", stands_still_after)
    session.run(9.0)
    for name, last_s in (("desk", 1.0), ("sofa", 0.75)):
        ends = ends_s(session.windows(name))
        gap_s = next(late - early for early, late in pairwise(ends) if late - early > HOP_S)
        assert last_s in ends
        [cause] = [event.cause for event in session.events(name, "stream") if event.kind == "stalled"]
        assert f"{round(gap_s / HOP_S) - 1} windows left out" in cause


def test_a_camera_that_goes_is_lost_with_its_cause_and_opened_again_when_it_is_back(clock):
    session = MockSession(clock)
    session.start()
    clock.advance_s(2.05)
    session.cameras["desk"].plugged = False
    clock.advance_s(4)
    session.cameras["desk"].plugged = True
    clock.advance_s(6)
    session.close()
    lost, recovered = session.events(component="camera")[1:]
    assert (lost.kind, lost.cause, lost.time_s) == ("lost", "camera desk: went away", pytest.approx(2.1))
    assert recovered.kind == "recovered"
    assert recovered.since_s == lost.time_s
    face = {message.window.end_s: message.modalities["face"] for message in session.windows()}
    assert face[1.75].reliability > 0.9
    assert {face[end_s].weight for end_s in face if 2.25 <= end_s <= 6.0} == {0.0}
    assert face[max(face)].reliability > 0.5
    assert session.cameras["desk"].most_held == 1


def test_a_read_that_hangs_is_left_behind_and_the_camera_opened_anew(clock):
    session = MockSession(clock, settings={"camera": {"read_timeout_s": 2}})
    session.start()
    clock.advance_s(2.05)
    camera = session.cameras["desk"]
    camera.hangs = True
    clock.advance_s(0.1)
    camera.hangs = False  # for the next one that opens it
    clock.advance_s(5)
    stalled, recovered = session.events(component="camera")[1:]
    assert (stalled.kind, stalled.cause) == ("stalled", "camera: no answer for 3.1 s")
    assert stalled.time_s == pytest.approx(5.2, abs=0.11)
    assert recovered.time_s - stalled.time_s <= 0.2
    assert camera.opened == 2
    session.close()
