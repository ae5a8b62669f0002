import os
import sys

import pytest
from test_messages import health, part, sentiment

from realtime.errors import UsageError
from realtime.overlay.__main__ import main
from realtime.overlay.feed import Feed
from realtime.overlay.needs import check_needs
from realtime.overlay.watch import TRACE_S, Watch
from realtime.publish.access import Access
from realtime.publish.messages import RecordingHealth
from realtime.run import main as run
from scripts.harness.mosquitto import Mosquitto, Subscriber, wait_for

SECOND = 1_000_000_000
WHERE = "mqtt://127.0.0.1:1883"
SILENT = {"score": None, "raw": None, "label": None, "interval": None}
OFF = {"text": part(state="off"), "voice": part(state="off"), "face": part(state="off")}


def silent(state):
    return sentiment(state=state, modalities=OFF, **SILENT)


def connected(stream=None):
    watch = Watch(WHERE, stream)
    watch.connected(0)
    watch.status("desk", "online")
    return watch


def test_a_fresh_message_is_shown_without_a_notice():
    watch = connected()
    watch.sentiment(sentiment(), 10 * SECOND)

    view = watch.view(11 * SECOND)

    assert (view.notice, view.mark, view.stream) == (None, "analysing", "desk")
    assert view.sentiment == sentiment()


def test_before_the_first_connection_it_waits_for_the_broker_and_says_why():
    watch = Watch(WHERE)
    watch.disconnected("nobody answers there", 0)

    notice = watch.view(SECOND).notice

    assert notice.headline == "Waiting for the broker"
    assert notice.detail == f"{WHERE}: nobody answers there"


def test_a_broker_that_goes_is_gone_since_then_however_often_it_is_tried_again():
    watch = connected()
    watch.sentiment(sentiment(), SECOND)
    watch.disconnected("keep alive timeout", 2 * SECOND)
    watch.disconnected("nobody answers there", 6 * SECOND)

    view = watch.view(9 * SECOND)

    assert view.notice.headline == "Broker gone"
    assert view.notice.detail == f"{WHERE} for 7 s: nobody answers there"
    assert view.notice.waits
    assert view.mark == "unknown"


def test_a_broker_that_comes_back_is_no_longer_gone():
    watch = connected()
    watch.disconnected("", 2 * SECOND)
    watch.connected(3 * SECOND)
    watch.status("desk", "online")
    watch.sentiment(sentiment(), 3 * SECOND)

    assert watch.view(3 * SECOND).notice is None


def test_an_offline_stream_is_called_offline_even_right_after_its_last_message():
    watch = connected()
    watch.sentiment(sentiment(), SECOND)
    watch.status("desk", "offline")

    view = watch.view(SECOND)

    assert view.notice.headline == "Stream offline"
    assert view.mark == "unknown"


def test_silence_is_counted_in_seconds_and_ends_with_a_message():
    watch = connected()
    watch.sentiment(sentiment(), 0)

    assert watch.view(2 * SECOND).notice is None
    assert watch.view(5 * SECOND).notice.headline == "No message for 5 s"
    watch.sentiment(sentiment(), 6 * SECOND)
    assert watch.view(6 * SECOND).notice is None


def test_before_any_message_it_says_for_whom_it_waits():
    assert connected("cam2").view(0).notice.detail.startswith("for cam2")
    assert "online" in connected().view(0).notice.detail


@pytest.mark.parametrize(
    ("state", "mark", "headline"), [("paused", "paused", "Paused"), ("no_signal", "analysing", "No signal")]
)
def test_pause_and_no_signal_are_told_apart(state, mark, headline):
    watch = connected()
    watch.sentiment(silent(state), 0)

    view = watch.view(0)

    assert (view.mark, view.notice.headline, view.notice.waits) == (mark, headline, False)


def test_it_says_what_is_recorded_while_that_is_known():
    watch = connected()
    watch.sentiment(sentiment(), SECOND)
    assert watch.view(SECOND).recording == ""
    writes = RecordingHealth(bytes=5, dropped=0, writing=True, words=True, media=True)
    for recording, said, failed in (
        (writes, "numbers + words + picture + sound", False),
        (RecordingHealth(bytes=5, dropped=0, writing=True), "numbers", False),
        (writes.model_copy(update={"writing": False}), "numbers + words + picture + sound", True),
    ):
        watch.health("desk", health().model_copy(update={"recording": recording}), SECOND)
        view = watch.view(SECOND)
        assert (view.recording, view.recording_failed) == (said, failed)
    watch.sentiment(sentiment(), 8 * SECOND)
    assert watch.view(8 * SECOND).recording == "", "nobody has said so for seven seconds"
    watch.health("desk", health().model_copy(update={"recording": writes}), 8 * SECOND)
    watch.health("other", health(), 8 * SECOND)
    assert watch.view(8 * SECOND).recording
    watch.status("desk", "offline")
    assert watch.view(8 * SECOND).recording == ""


def test_the_trace_covers_the_last_minute_and_parts_where_there_was_no_score():
    watch = connected()
    for second in range(100):
        watch.sentiment(silent("no_signal") if second == 80 else sentiment(), second * SECOND)

    trace = watch.view(99 * SECOND).trace

    assert [point and point.age_s for point in trace] == [None if age == 19 else age for age in range(TRACE_S, -1, -1)]
    assert (trace[0].score, trace[0].low, trace[0].high) == (1.24, 0.2, 2.1)


def test_the_trace_parts_where_messages_were_missing():
    watch = connected()
    for second in (0, 1, 8, 9):
        watch.sentiment(sentiment(), second * SECOND)

    assert [point is None for point in watch.view(9 * SECOND).trace] == [False, False, True, False, False]


def test_it_stays_with_the_first_stream_until_that_goes_offline():
    watch = connected()
    watch.sentiment(sentiment(), 0)
    watch.sentiment(sentiment(stream="other"), 0)
    assert watch.view(0).stream == "desk"

    watch.status("desk", "offline")
    watch.sentiment(sentiment(stream="other"), 0)

    view = watch.view(0)
    assert (view.stream, view.sentiment.stream, len(view.trace)) == ("other", "other", 1)


def test_a_named_stream_is_the_only_one_shown():
    watch = connected("cam2")
    watch.sentiment(sentiment(), 0)

    assert watch.view(0).sentiment is None


def test_without_qt_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(UsageError, match=r"PySide6.*\.\[overlay\]"):
        check_needs()


def test_without_a_screen_it_says_so_instead_of_aborting(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)

    assert main([]) == 2
    assert "no screen" in capsys.readouterr().err


@pytest.fixture
def publisher(mosquitto):
    client = Subscriber(mosquitto.port)
    yield client
    client.close()


@pytest.fixture
def feed(mosquitto):
    made = Feed(Access("127.0.0.1", mosquitto.port), "agfn", Watch(mosquitto.url))
    made.start()
    wait_for(lambda: made.view().notice.headline == "Waiting", what="connection")
    yield made
    made.close()


@pytest.mark.real
def test_keys_of_a_newer_version_are_ignored(feed, publisher):
    newer = sentiment().to_json().replace('"seq"', '"mood": {"x": 1}, "seq"')

    publisher.say("agfn/desk/sentiment", newer)

    wait_for(lambda: feed.view().sentiment == sentiment(), what="message")


@pytest.mark.real
def test_the_health_messages_tell_it_of_a_recording(feed, publisher):
    publisher.say("agfn/desk/health", b"no JSON")
    publisher.say("agfn/desk/sentiment", sentiment().to_json())
    recording = RecordingHealth(bytes=5, dropped=0, writing=True, media=True)
    publisher.say("agfn/desk/health", health().model_copy(update={"recording": recording}).to_json())

    wait_for(lambda: feed.view().recording == "numbers + picture + sound", what="mark")


@pytest.mark.real
def test_a_message_of_another_schema_is_called_unreadable(feed, publisher):
    publisher.say("agfn/desk/sentiment", '{"schema": "agfn.sentiment/9"}')

    wait_for(lambda: feed.view().notice.headline == "Unreadable message", what="notice")


@pytest.mark.real
def test_pause_sends_the_command_and_resume_after_it(feed, publisher):
    assert not feed.toggle_pause()  # nobody to tell yet
    for state in ("ok", "paused"):
        message = silent("paused") if state == "paused" else sentiment()
        publisher.say("agfn/desk/sentiment", message.payload())
        wait_for(lambda message=message: feed.view().sentiment == message, what="message")
        assert feed.toggle_pause()

    wait_for(lambda: len(publisher.payloads("desk/command")) == 2, what="commands")
    first, second = publisher.payloads("desk/command")
    assert b'"pause"' in first
    assert b'"resume"' in second


@pytest.mark.real
def test_a_killed_broker_is_noticed_and_found_again(feed, mosquitto, publisher):
    mosquitto.kill()
    wait_for(lambda: feed.view().notice.headline == "Broker gone", what="notice")

    mosquitto.start()
    wait_for(lambda: feed.view().notice.headline == "Waiting", what="connection")
    wait_for(publisher.client.is_connected, what="the test's own connection")
    publisher.say("agfn/desk/sentiment", sentiment().payload())

    wait_for(lambda: feed.view().notice is None, what="message")


@pytest.mark.real
def test_a_frozen_broker_is_noticed(feed, mosquitto):
    mosquitto.freeze()

    wait_for(lambda: feed.view().notice.headline == "Broker gone", timeout_s=15, what="notice")


@pytest.mark.real
def test_a_refusal_is_said(tmp_path, request):
    broker = Mosquitto(tmp_path, ("allow_anonymous false",))
    request.addfinalizer(broker.close)
    feed = Feed(Access("127.0.0.1", broker.port, "me", os.urandom(4).hex()), "agfn", Watch(broker.url))
    request.addfinalizer(feed.close)
    feed.start()

    wait_for(lambda: "not authorized" in feed.view().notice.detail, what="refusal")


def test_an_overlay_without_mqtt_is_refused(capsys):
    assert run(["--overlay", "--mqtt", "off", "--no-mic"]) == 2
    assert "--overlay shows what comes over MQTT" in capsys.readouterr().err


def test_an_overlay_without_a_screen_is_refused_before_anything_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)

    assert run(["--overlay", "--no-mic"]) == 2
    assert "no screen" in capsys.readouterr().err
