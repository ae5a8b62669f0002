import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiomqtt import MqttError
from test_messages import event, health, sentiment

from realtime.config.schema import MqttConfig
from realtime.errors import BrokerError, UsageError
from realtime.publish import link
from realtime.publish.access import access_of
from realtime.publish.connection import BoundedClient, LoopThread
from realtime.publish.messages import EventMessage, Sentiment
from realtime.publish.mqtt import MqttPublisher
from scripts.harness.mosquitto import Mosquitto, Subscriber, free_port, wait_for


@pytest.fixture
def publish():
    made = []

    def make(url, streams=("desk",), on_command=lambda *_: None, **options):
        publisher = MqttPublisher(MqttConfig(url=url, **options), streams, on_command)
        made.append(publisher)
        publisher.start()
        return publisher

    yield make
    for publisher in made:
        publisher.close(0.5)


def numbered(number):
    return event().model_copy(update={"id": f"desk-{number}"})


def event_ids(subscriber):
    return [json.loads(payload)["id"] for payload in subscriber.payloads("/event")]


@pytest.mark.real
def test_an_independent_subscriber_gets_what_was_sent(mosquitto, subscribe, publish):
    subscriber = subscribe()
    publisher = publish(mosquitto.url)
    assert publisher.wait_ready(5)

    publisher.send_sentiment(sentiment())
    publisher.send_event(event())
    wait_for(lambda: subscriber.payloads("/sentiment") and subscriber.payloads("/event"))

    assert Sentiment.model_validate_json(subscriber.payloads("/sentiment")[0]) == sentiment()
    assert EventMessage.model_validate_json(subscriber.payloads("/event")[0]) == event()
    assert subscriber.payloads("desk/status") == [b"online"]


@pytest.mark.real
def test_messages_that_are_handed_in_together_wake_the_network_thread_once(mosquitto, subscribe, publish, monkeypatch):
    streams = ("desk", "door", "hall")
    subscriber = subscribe()
    publisher = publish(mosquitto.url, streams)
    assert publisher.wait_ready(5)
    calls, held, call = [], threading.Event(), LoopThread.call
    monkeypatch.setattr(LoopThread, "call", lambda own, *given: (calls.append(given), call(own, *given)))

    for seq in range(2):
        publisher._thread.call(held.wait)  # it is busy meanwhile
        calls.clear()
        for stream in streams:
            publisher.send_sentiment(sentiment(stream=stream, seq=seq))
        assert len(calls) == 1
        held.set()
        wait_for(lambda seq=seq: len(subscriber.payloads("/sentiment")) == len(streams) * (seq + 1))
        held.clear()
    assert [publisher.dropped(stream) for stream in streams] == [0, 0, 0]


@pytest.mark.real
def test_a_broker_that_lives_is_told_from_one_that_does_not_answer(mosquitto):
    async def ask():
        async with BoundedClient(access_of(MqttConfig(url=mosquitto.url)), timeout=0.5) as client:
            await client.probe("agfn/desk/probe")
            mosquitto.freeze()
            with pytest.raises(MqttError, match="timed out"):
                await client.probe("agfn/desk/probe")
            mosquitto.thaw()
            await client.probe("agfn/desk/probe")
            return client._pending_unsubscribes

    assert asyncio.run(ask()) == {}


@pytest.mark.real
def test_mosquitto_sub_prints_the_messages(mosquitto, publish):
    publisher = publish(mosquitto.url)
    publisher.wait_ready(5)
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-t", "agfn/desk/sentiment", "-C", "1", "-W", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        while reader.poll() is None:
            publisher.send_sentiment(sentiment())
            time.sleep(0.05)
        line = reader.stdout.readline()

    assert json.loads(line)["score"] == 1.24


@pytest.mark.real
def test_mqtt_5_carries_content_type_and_expiry(mosquitto, subscribe, publish):
    subscriber = subscribe()
    publisher = publish(mosquitto.url)
    publisher.wait_ready(5)

    publisher.send_sentiment(sentiment())
    wait_for(lambda: subscriber.payloads("/sentiment"))

    (message,) = [message for message in subscriber.messages if message.topic.endswith("/sentiment")]
    assert message.properties.ContentType == "application/json"
    assert message.properties.MessageExpiryInterval <= 2


@pytest.mark.real
def test_a_broker_of_mqtt_3_1_1_is_spoken_to_in_3_1_1(publish):
    old = publish("embedded", port=0)
    assert old.wait_ready(5)
    password = str(old._broker.password_file)
    publisher = publish(old.url, streams=("other",), username="agfn", password_file=password)
    assert publisher.wait_ready(8)
    subscriber = Subscriber(int(old.url.rsplit(":", 1)[1]), v5=False)

    publisher.send_sentiment(sentiment(stream="other"))
    wait_for(lambda: subscriber.payloads("other/sentiment"))
    subscriber.close()

    assert publisher.stats("other").connects == 1


@pytest.mark.real
def test_goodbye_is_said_after_the_last_event(mosquitto, subscribe, publish):
    subscriber = subscribe()
    publisher = publish(mosquitto.url)
    publisher.wait_ready(5)

    for number in range(20):
        publisher.send_event(numbered(number))
    publisher.close(5)
    wait_for(lambda: b"offline" in subscriber.payloads("/status"))

    assert subscriber.messages[-1].payload == b"offline"
    assert event_ids(subscriber) == [f"desk-{number}" for number in range(20)]
    assert subscribe().payloads("/status") in ([], [b"offline"])


@pytest.mark.real
def test_status_of_every_stream_turns_offline_when_the_process_dies(mosquitto, subscribe):
    program = (
        "import os, sys; from realtime.config import MqttConfig; from realtime.publish.mqtt import MqttPublisher\n"
        "publisher = MqttPublisher(MqttConfig(url=sys.argv[1]), ['one', 'two'], print)\n"
        "publisher.start(); publisher.wait_ready(10); sys.stdin.read()"
    )
    subscriber = subscribe()
    with subprocess.Popen(
        [sys.executable, "-c", program, mosquitto.url],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    ) as process:
        wait_for(lambda: subscriber.payloads("one/status") and subscriber.payloads("two/status"))
        process.kill()
    wait_for(lambda: b"offline" in subscriber.payloads("one/status"))
    wait_for(lambda: b"offline" in subscriber.payloads("two/status"))

    late = subscribe()
    wait_for(lambda: len(late.payloads("/status")) == 2)
    assert all(message.payload == b"offline" and message.retain for message in late.messages)


@pytest.mark.real
def test_after_a_killed_broker_each_event_comes_once_in_order_and_no_stale_sentiment(mosquitto, subscribe, publish):
    publisher = publish(mosquitto.url)
    publisher.wait_ready(5)
    first = subscribe()
    publisher.send_event(numbered(0))
    wait_for(lambda: event_ids(first) == ["desk-0"])

    mosquitto.kill()
    for number in range(1, 41):
        publisher.send_event(numbered(number))
        publisher.send_sentiment(sentiment(seq=number))
        time.sleep(0.1)
    mosquitto.start()
    back = time.monotonic()
    subscriber = subscribe()
    wait_for(lambda: publisher.stats("desk").events_pending == 0, 10, "delivery")
    assert time.monotonic() - back < 5
    publisher.send_sentiment(sentiment(seq=99))
    wait_for(lambda: any(b'"seq":99' in payload for payload in subscriber.payloads("/sentiment")))

    got = event_ids(subscriber)
    assert len(set(got)) == len(got)
    assert [int(name.split("-")[1]) for name in got] == list(range(41 - len(got), 41))
    stats = publisher.stats("desk")
    assert stats.events_sent == 41
    assert stats.stale + stats.queue.dropped > 0
    assert min(json.loads(payload)["seq"] for payload in subscriber.payloads("/sentiment")) > 10
    assert stats.queue.pushed == stats.queue.popped + stats.queue.dropped + stats.queue.pending


@pytest.mark.real
def test_a_subscriber_with_a_session_gets_each_event_exactly_once_over_an_outage(tmp_path, publish):
    keep = ["persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1"]
    broker = Mosquitto(tmp_path, ["allow_anonymous true", "user root", *keep])
    subscriber = Subscriber(broker.port, "agfn/desk/event", session="reader")
    publisher = publish(broker.url)
    publisher.wait_ready(5)
    try:
        for number in range(3):
            publisher.send_event(numbered(number))
        wait_for(lambda: len(event_ids(subscriber)) == 3)
        time.sleep(1.5)  # the broker saves that these were acknowledged; else it gives them out again itself
        broker.kill()
        for number in range(3, 9):
            publisher.send_event(numbered(number))
        broker.start()
        publisher.send_event(numbered(9))
        wait_for(lambda: "desk-9" in event_ids(subscriber))
    finally:
        subscriber.close()
        broker.close()

    assert event_ids(subscriber) == [f"desk-{number}" for number in range(10)]


@pytest.mark.real
@pytest.mark.timeout(240)
def test_after_a_long_outage_a_full_queue_comes_once_in_order_and_only_fresh_sentiment(tmp_path, publish):
    away_s = float(os.environ.get("AGFN_OUTAGE_S", "12"))  # 60 takes a minute; nothing here depends on it
    keep = ["persistence true", f"persistence_location {tmp_path}/", "autosave_on_changes true", "autosave_interval 1"]
    broker = Mosquitto(tmp_path, ["allow_anonymous true", "user root", "max_queued_messages 0", *keep])
    subscriber = Subscriber(broker.port, session="reader")
    publisher = publish(broker.url)
    publisher.wait_ready(5)
    handed_in_s, events = {}, link.EVENTS_WAITING + 200
    try:
        publisher.send_event(numbered(0))
        wait_for(lambda: event_ids(subscriber) == ["desk-0"])
        time.sleep(1.5)  # the broker saves that it was acknowledged
        broker.kill()
        steps = round(away_s / 0.25)
        for step in range(steps):
            for number in range(events * step // steps, events * (step + 1) // steps):
                publisher.send_event(numbered(number + 1))
            handed_in_s[step] = time.monotonic()
            publisher.send_sentiment(sentiment(seq=step))
            time.sleep(0.25)
        broker.start()
        back_s = time.monotonic()
        wait_for(lambda: publisher.stats("desk").connected, 10, "the connection")
        assert time.monotonic() - back_s < 5
        subscriber.wait_subscribed()  # sentiment waits for nobody
        handed_in_s[steps] = time.monotonic()
        publisher.send_sentiment(sentiment(seq=steps))
        wait_for(lambda: publisher.stats("desk").events_pending == 0, 60, "delivery")
        wait_for(lambda: event_ids(subscriber)[-1] == f"desk-{events}", 30, "the last event")
    finally:
        subscriber.close()
        broker.close()

    got = [int(name.removeprefix("desk-")) for name in event_ids(subscriber)]
    dropped = publisher.stats("desk").events_dropped
    assert 200 - 1 <= dropped <= 200  # one may be in hand
    assert got == sorted(set(got))  # once, and in order
    assert len(got) == 1 + events - dropped
    assert got[-1000:] == list(range(events - 999, events + 1))
    ages_s = [
        message.timestamp - handed_in_s[json.loads(message.payload)["seq"]]
        for message in subscriber.messages
        if message.topic.endswith("/sentiment")
    ]
    assert ages_s
    assert max(ages_s) < link.FRESH_S + 1.0  # as old as that when it left, and then on its way


@pytest.mark.real
def test_a_frozen_broker_gets_no_event_twice_and_at_most_one_late_sentiment(mosquitto, subscribe, publish):
    publisher = publish(mosquitto.url, keepalive_s=1)
    publisher.wait_ready(5)
    subscriber = subscribe()

    publisher.send_sentiment(sentiment(seq=0))
    wait_for(lambda: len(subscriber.payloads("/sentiment")) == 1)
    mosquitto.freeze()
    for number in range(1, 61):
        publisher.send_sentiment(sentiment(seq=number))
        if number % 20 == 0:
            publisher.send_event(numbered(number))
        time.sleep(0.1)
    mosquitto.thaw()
    wait_for(lambda: publisher.stats("desk").events_pending == 0, 15, "delivery")
    wait_for(lambda: len(event_ids(subscriber)) >= 3)
    time.sleep(0.5)

    assert event_ids(subscriber) == ["desk-20", "desk-40", "desk-60"]
    seqs = [json.loads(payload)["seq"] for payload in subscriber.payloads("/sentiment")]
    assert [seq for seq in seqs if 1 < seq < 30] == []
    assert subscriber.payloads("/status")[-1] == b"online"


@pytest.mark.real
def test_a_broker_that_comes_later_is_waited_for(tmp_path, publish, caplog):
    broker = Mosquitto(tmp_path)
    broker.kill()
    publisher = publish(broker.url)

    assert not publisher.wait_ready(1.5)
    publisher.send_event(event())
    broker.start()
    assert publisher.wait_ready(6)
    wait_for(lambda: publisher.stats("desk").events_sent == 1)
    broker.close()

    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [str(broker.port) in record.getMessage() for record in warnings[:1]] == [True]
    assert len(warnings) <= 2  # once for the start, once for the final kill


@pytest.mark.real
def test_commands_reach_the_program_and_bad_ones_are_counted(mosquitto, subscribe, publish, caplog):
    got, done = [], threading.Event()

    def obey(stream, command):
        got.append((stream, command.command))
        done.set()

    publisher = publish(mosquitto.url, streams=("one", "two"), on_command=obey)
    publisher.wait_ready(5)
    subscriber = subscribe()
    bad = [b"", b"\xff\x00", b"stop", b"{}", b"x" * 100_000]
    for payload in bad[:4]:
        subscriber.say("agfn/one/command", payload)
    subscriber.say("agfn/two/command", b'{"command": "pause"}')
    assert done.wait(5)
    wait_for(lambda: publisher.stats("one").commands_refused == 4)

    subscriber.say("agfn/two/command", bad[4])
    subscriber.say("agfn/two/command", b"resume")
    wait_for(lambda: len(got) == 2)

    assert got == [("two", "pause"), ("two", "resume")]
    assert "refused" in caplog.text


@pytest.mark.real
def test_a_flood_of_commands_is_cut_off_and_the_messages_go_on(mosquitto, subscribe, publish, caplog):
    publisher = publish(mosquitto.url)
    publisher.wait_ready(5)
    subscriber = subscribe(topics="agfn/desk/sentiment")
    for _ in range(500):
        subscriber.client.publish("agfn/desk/command", b"pause", qos=0)
    publisher.send_sentiment(sentiment())
    wait_for(lambda: subscriber.payloads("/sentiment"))
    subscriber.say("agfn/desk/command", b"pause")
    wait_for(lambda: publisher.stats("desk").commands + publisher.stats("desk").commands_refused > 0)

    assert publisher.stats("desk").commands < 20
    assert sum("refused" in record.getMessage() for record in caplog.records) <= 2


@pytest.mark.real
def test_a_retained_command_is_not_obeyed(mosquitto, subscribe, publish):
    subscribe().say("agfn/desk/command", b"pause", retain=True)
    got = []
    publisher = publish(mosquitto.url, on_command=lambda *command: got.append(command))
    publisher.wait_ready(5)
    wait_for(lambda: publisher.stats("desk").commands_refused == 1)

    assert got == []


@pytest.mark.real
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_a_retained_command_is_not_obeyed_while_it_runs_either(mosquitto, subscribe, versioned, v5):
    got = []
    publisher = versioned(mosquitto, v5, on_command=lambda _, command: got.append(command.command))
    teller = subscribe()

    teller.say("agfn/desk/command", b"pause", retain=True)
    wait_for(lambda: publisher.stats("desk").commands_refused == 1)
    teller.say("agfn/desk/command", b"resume")
    wait_for(lambda: got)

    assert got == ["resume"]
    stats = publisher.stats("desk")
    assert (stats.commands, stats.commands_refused) == (1, 1)


@pytest.mark.real
def test_a_retained_command_is_not_obeyed_by_the_embedded_broker_s_program(publish):
    got = []
    publisher = publish("embedded", port=0, on_command=lambda _, command: got.append(command.command))
    assert publisher.wait_ready(5)
    teller = Subscriber(publisher.access.port, v5=False)

    teller.say("agfn/desk/command", b"pause", retain=True)
    wait_for(lambda: publisher.stats("desk").commands_refused == 1)
    teller.say("agfn/desk/command", b"pause")
    wait_for(lambda: got)
    teller.close()

    assert got == ["pause"]
    assert publisher.stats("desk").commands == 1


@pytest.mark.real
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_nonsense_that_a_stranger_leaves_on_the_topic_stops_no_command(mosquitto, subscribe, versioned, v5):
    got = []
    publisher = versioned(mosquitto, v5, on_command=lambda _, command: got.append(command.command))
    teller = subscribe()

    for number in range(8):
        teller.say("agfn/desk/command", b"w%d" % number, retain=True)
    wait_for(lambda: publisher.stats("desk").commands_refused >= 8)
    teller.say("agfn/desk/command", b"resume")
    wait_for(lambda: got)

    assert got == ["resume"]
    assert publisher.stats("desk").commands == 1


@pytest.fixture
def versioned():
    """Makes a publisher that speaks one version of MQTT only."""
    made = []

    def make(broker, v5, on_command=lambda *_: None):
        publisher = MqttPublisher(MqttConfig(url=broker.url), ["desk"], on_command)
        publisher._access = replace(publisher._access, speaks_v5=v5)
        made.append(publisher)
        publisher.start()
        assert publisher.wait_ready(5)
        return publisher

    yield make
    for publisher in made:
        publisher.close(0.5)


def warnings_of_twins(caplog):
    return [record.getMessage() for record in caplog.records if "another program publishes" in record.getMessage()]


@pytest.mark.real
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_a_twin_is_noticed_on_both_sides_and_its_goodbye_does_not_call_the_other_offline(
    mosquitto, subscribe, versioned, v5, caplog
):
    one, two = versioned(mosquitto, v5), versioned(mosquitto, v5)
    for number in range(3):
        one.send_health(health().model_copy(update={"messages": number}))
        two.send_health(health().model_copy(update={"messages": 100 + number}))
    wait_for(lambda: one.stats("desk").foreign == 3 and two.stats("desk").foreign == 3)
    assert len(warnings_of_twins(caplog)) == 2  # once each, not for every message
    assert "stream desk" in warnings_of_twins(caplog)[0]

    two.close()
    watcher = subscribe(topics="agfn/desk/status")
    wait_for(lambda: watcher.payloads("/status")[-1:] == [b"online"], what="the truth")
    one.close()
    wait_for(lambda: watcher.payloads("/status")[-1:] == [b"offline"], what="the end")
    time.sleep(0.3)
    assert watcher.payloads("/status")[-1] == b"offline"


@pytest.mark.real
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_a_program_does_not_take_itself_for_a_twin(mosquitto, subscribe, versioned, v5, caplog):
    publisher = versioned(mosquitto, v5)
    watcher = subscribe()
    for number in range(100):
        publisher.send_health(health().model_copy(update={"messages": number}))
        time.sleep(0.005)
    wait_for(lambda: len(watcher.payloads("/health")) == 100)
    mosquitto.kill()
    mosquitto.start()
    wait_for(lambda: publisher.stats("desk").connects == 2)
    for number in range(10):
        publisher.send_health(health().model_copy(update={"messages": 200 + number}))
    wait_for(lambda: publisher.stats("desk").sent == 110)
    time.sleep(0.2)

    assert publisher.stats("desk").foreign == 0
    assert warnings_of_twins(caplog) == []


class Flooder:
    """A false broker that greets and then sends one packet of 200 MB."""

    def __init__(self, connack):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port, self.sent, self.hung_up, self._connack = self._server.getsockname()[1], 0, 0, connack
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._server.accept()
                with one:
                    one.recv(1000)
                    self._flood(one)

    def _flood(self, one):
        one.settimeout(5)
        try:
            one.sendall(self._connack + b"\x30\x80\x84\xaf\x5f\x00\x01x")
            for _ in range(200):
                one.sendall(b"x" * 1_000_000)
                self.sent += 1_000_000
        except TimeoutError:
            return
        except OSError:
            self.hung_up += 1

    def close(self):
        self._server.close()


@pytest.mark.parametrize("connack", [b"\x20\x03\x00\x00\x00", b""], ids=["after the greeting", "at once"])
def test_a_false_broker_that_sends_a_huge_packet_is_hung_up_on(publish, connack, caplog):
    false = Flooder(connack)
    publisher = publish(f"mqtt://127.0.0.1:{false.port}")
    try:
        wait_for(lambda: false.hung_up >= 1, 20, "the hang-up")
        assert false.sent < 20_000_000 * false.hung_up  # what the buffers of the system take
    finally:
        publisher.close(0.5)
        false.close()
    assert "sent a packet of 200000000 bytes; hung up" in caplog.text


@pytest.mark.real
def test_a_command_that_fails_leaves_the_connection_alone(mosquitto, subscribe, publish, caplog):
    def fail(*_):
        raise RuntimeError("no such device")

    publisher = publish(mosquitto.url, on_command=fail)
    publisher.wait_ready(5)
    subscriber = subscribe()
    subscriber.say("agfn/desk/command", b"pause")
    wait_for(lambda: "no such device" in caplog.text)
    publisher.send_sentiment(sentiment())
    wait_for(lambda: subscriber.payloads("/sentiment"))

    assert publisher.stats("desk").connects == 1


@pytest.fixture
def guarded(tmp_path):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "anna", "right"], check=True)
    broker = Mosquitto(tmp_path, ["allow_anonymous false", f"password_file {passwords}", "user root"])
    yield broker
    broker.close()


@pytest.mark.real
def test_a_wrong_password_ends_with_a_clear_error(guarded, publish, monkeypatch, caplog):
    monkeypatch.setenv("AGFN_MQTT_PASSWORD", "wr0ng-secret")
    publisher = publish(guarded.url, username="anna")
    with pytest.raises(BrokerError, match=rf"127.0.0.1:{guarded.port}.*(password|authori)") as refusal:
        publisher.wait_ready(5)

    assert "wr0ng-secret" not in str(refusal.value) + caplog.text
    assert "\n" not in str(refusal.value)


@pytest.mark.real
def test_the_password_comes_from_a_file_or_the_environment(guarded, publish, monkeypatch, tmp_path):
    file = tmp_path / "secret"
    file.write_text("right\n")
    assert publish(guarded.url, streams=("one",), username="anna", password_file=str(file)).wait_ready(5)
    monkeypatch.setenv("AGFN_MQTT_PASSWORD", "right")
    assert publish(guarded.url, streams=("two",), username="anna").wait_ready(5)


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder, name, *, days="2"):
    openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
        "-subj",
        f"/CN={name}",
    )
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        f"{name}.crt",
        "-days",
        days,
        "-extfile",
        "san",
    )


@pytest.fixture
def certificates(tmp_path):
    openssl(
        tmp_path,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
    )
    certify(tmp_path, "server")
    certify(tmp_path, "visitor")
    return tmp_path


def tls_broker(folder, *, name="server", ask=False):
    listener = [f"cafile {folder}/ca.crt", f"certfile {folder}/{name}.crt", f"keyfile {folder}/{name}.key"]
    return Mosquitto(
        folder, ["allow_anonymous true", "user root"], [*listener, f"require_certificate {str(ask).lower()}"]
    )


@pytest.mark.real
def test_mqtts_with_a_certificate_on_both_sides(certificates, publish):
    broker = tls_broker(certificates, ask=True)
    own = {"cert_file": str(certificates / "visitor.crt"), "key_file": str(certificates / "visitor.key")}
    publisher = publish(f"mqtts://127.0.0.1:{broker.port}", ca_file=str(certificates / "ca.crt"), **own)
    assert publisher.wait_ready(5)
    publisher.send_event(event())
    wait_for(lambda: publisher.stats("desk").events_sent == 1)
    broker.close()


@pytest.mark.real
def test_a_broker_of_an_unknown_authority_is_refused(certificates, publish):
    broker = tls_broker(certificates)
    publisher = publish(f"mqtts://127.0.0.1:{broker.port}")
    with pytest.raises(BrokerError, match="certificate is not trusted"):
        publisher.wait_ready(5)
    broker.close()


@pytest.mark.real
def test_an_expired_certificate_is_refused(certificates, publish):
    certify(certificates, "expired", days="-1")
    broker = tls_broker(certificates, name="expired")
    publisher = publish(f"mqtts://127.0.0.1:{broker.port}", ca_file=str(certificates / "ca.crt"))
    with pytest.raises(BrokerError, match="expired"):
        publisher.wait_ready(5)
    broker.close()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "mqtt://host:99999"}, "port"),
        ({"url": "mqtt://host/path"}, "host/path"),
        ({"url": "mqtt://host", "password_file": "/nonexistent/secret", "username": "anna"}, "/nonexistent/secret"),
        ({"url": "mqtt://host", "ca_file": "ca.crt"}, "ca_file"),
        ({"url": "mqtts://host", "ca_file": "/nonexistent/ca.crt"}, "/nonexistent/ca.crt"),
        ({"url": "mqtts://host", "key_file": "x"}, "cert_file"),
    ],
    ids=repr,
)
def test_a_wrong_address_or_file_is_named(options, named):
    with pytest.raises(UsageError, match=named):
        access_of(MqttConfig(**options), {})


def test_the_address_that_is_shown_holds_no_secret():
    access = access_of(MqttConfig(url="mqtts://anna@host"), {"AGFN_MQTT_PASSWORD": "secret"})

    assert access.url == "mqtts://host:8883"
    assert access.password == "secret"
    assert "secret" not in repr(access)


def test_a_dead_host_does_not_hold_up_the_end(publish):
    publisher = publish(f"mqtt://127.0.0.1:{free_port()}")
    publisher.send_event(event())
    publisher.close(1.0)

    assert publisher.stats("desk").events_pending == 1
    assert not any(thread.name == "mqtt" for thread in threading.enumerate())
