"""`realtime.client`: typed messages from a real broker, over outages, from later and from foreign publishers."""

import asyncio
import json
import subprocess

import pytest
from test_messages import event, health, sentiment, silent

from realtime.client import MAX_BYTES, WAITING, Client, ContractError
from realtime.config.schema import MqttConfig
from realtime.errors import BrokerError, UsageError
from realtime.publish.mqtt import MqttPublisher
from realtime.publish.outlet import Outlet
from scripts.harness.mosquitto import Mosquitto, Subscriber, free_port, wait_for

pytestmark = pytest.mark.real
TOPIC = "agfn/desk/sentiment"


@pytest.fixture
def say(mosquitto):
    subscriber = Subscriber(mosquitto.port)
    yield subscriber.say
    subscriber.close()


def listen(work, timeout_s=15):
    return asyncio.run(asyncio.wait_for(work(), timeout_s))


def body(**changes):
    return json.dumps({**json.loads(sentiment().to_json()), **changes}).encode()


async def read_all(feed):
    return [said async for said in feed]


def in_thread(call, *arguments, **options):
    return asyncio.get_running_loop().run_in_executor(None, lambda: call(*arguments, **options))


def test_each_kind_of_message_comes_typed_and_of_the_wanted_stream_only(mosquitto):
    publisher = MqttPublisher(MqttConfig(url=mosquitto.url), ["desk", "other"], lambda *_: None)
    publisher.start()
    assert publisher.wait_ready(5)

    async def work():
        async with Client(mosquitto.url) as client:
            mine, all_of_them, events, healths = (
                client.sentiments("desk"),
                client.sentiments(),
                client.events(),
                client.health("desk"),
            )
            outlet = Outlet()
            publisher.subscribe(outlet, words=True)
            for message in (sentiment(stream="other"), silent(seq=2), event(), health()):
                outlet.send(message)
            got = [await anext(all_of_them), await anext(all_of_them)]
            return got, await anext(mine), await anext(events), await anext(healths)

    try:
        got, mine, happened, how = listen(work)
    finally:
        publisher.close()
    assert sorted(said.stream for said in got) == ["desk", "other"]
    assert (mine, happened, how) == (silent(seq=2), event(), health())
    assert mine.modalities["face"].state == "lost"


def test_it_reads_the_embedded_broker_and_its_commands_reach_the_program():
    commands = []
    publisher = MqttPublisher(MqttConfig(port=0), ["desk"], lambda *command: commands.append(command))
    publisher.start()
    assert publisher.wait_ready(5)

    async def work():
        async with Client(publisher.url) as client:
            feed = client.sentiments()
            publisher.send_sentiment(sentiment())
            await client.pause("desk")
            await in_thread(wait_for, lambda: len(commands) == 1)
            await client.resume("desk")
            await in_thread(wait_for, lambda: len(commands) == 2)
            return await anext(feed)

    try:
        assert listen(work) == sentiment()
    finally:
        publisher.close()
    assert [(stream, command.command) for stream, command in commands] == [("desk", "pause"), ("desk", "resume")]


def test_it_comes_back_after_the_broker_died(mosquitto):
    async def work():
        async with Client(mosquitto.url) as client:
            feed = client.sentiments()
            mosquitto.kill()
            await in_thread(wait_for, lambda: not client.connected)
            with pytest.raises(BrokerError, match="not connected"):
                await client.pause("desk")
            await in_thread(mosquitto.start)
            await in_thread(wait_for, lambda: client.connects == 2)
            subscriber = await in_thread(Subscriber, mosquitto.port)
            await in_thread(subscriber.say, TOPIC, body(seq=7))
            said = await anext(feed)
            await in_thread(subscriber.close)
            return said

    assert listen(work, 30).seq == 7


def test_keys_that_it_does_not_know_are_ignored(mosquitto, say):
    parts = {name: {**part, "new": 1} for name, part in json.loads(sentiment().to_json())["modalities"].items()}

    async def work():
        async with Client(mosquitto.url) as client:
            feed = client.sentiments()
            await in_thread(say, TOPIC, body(new={"a": [1]}, modalities=parts))
            return await anext(feed)

    assert listen(work) == sentiment()


def test_another_major_version_is_refused_in_words_and_other_feeds_go_on(mosquitto, say):
    async def work():
        async with Client(mosquitto.url) as client:
            feed, events = client.sentiments("desk"), client.events("desk")
            await in_thread(say, TOPIC, b'{"schema": "agfn.sentiment/2", "mood": "fine"}')
            await in_thread(say, "agfn/desk/event", event().payload())
            for _ in range(2):
                with pytest.raises(ContractError, match=r"desk publishes agfn.sentiment/2, .* knows agfn.sentiment/1"):
                    await anext(feed)
            assert await anext(events) == event()
            assert client.refused == 0

    listen(work)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"online",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"schema": "agfn.sentiment/1"}',
        b'{"schema": "someone.else/2"}',
        b'{"schema": 2}',
        b'{"schema": "agfn.event/1"}',
        body(score=1e9),
        body(score=float("nan")),
        body(pad="x" * MAX_BYTES),
    ],
    ids=lambda payload: payload[:20],
)
def test_what_is_no_message_is_counted_and_passed_over(mosquitto, say, payload):
    async def work():
        async with Client(mosquitto.url) as client:
            feed = client.sentiments()
            await in_thread(say, TOPIC, payload)
            await in_thread(say, TOPIC, body())
            return await anext(feed), client.refused

    assert listen(work) == (sentiment(), 1)


def test_an_event_that_is_delivered_twice_is_given_out_once(mosquitto, say):
    second = event().model_copy(update={"id": "desk-2"})

    async def work():
        async with Client(mosquitto.url) as client:
            feed = client.events()
            for said in (event(), event(), second):
                await in_thread(say, "agfn/desk/event", said.payload())
            return [await anext(feed), await anext(feed)]

    assert listen(work) == [event(), second]


def test_a_slow_reader_loses_the_oldest_messages(mosquitto, say):
    async def work():
        async with Client(mosquitto.url) as client:
            feed, quick = client.sentiments(), client.sentiments()
            for seq in range(WAITING + 10):
                await in_thread(say, TOPIC, body(seq=seq), qos=0)
                await anext(quick)
            return feed.lost, quick.lost, (await anext(feed)).seq

    assert listen(work, 60) == (10, 0, 10)


def test_a_feed_ends_when_its_client_is_closed(mosquitto):
    async def work():
        async with Client(mosquitto.url) as client:
            feed = client.sentiments()
            reader = asyncio.create_task(read_all(feed))
            await asyncio.sleep(0)
        assert await reader == []
        return await read_all(feed), await read_all(client.events())

    assert listen(work) == ([], [])


def test_nobody_there_is_said_within_the_given_time():
    async def work():
        async with Client(f"mqtt://127.0.0.1:{free_port()}", connect_s=0.5):
            raise AssertionError("there is no broker")

    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:\d+: nobody answers"):
        listen(work)


def test_a_wrong_password_is_said_and_not_repeated(tmp_path, monkeypatch):
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "anna", "right"], check=True)
    broker = Mosquitto(tmp_path, ["allow_anonymous false", f"password_file {passwords}", "user root"])

    async def work():
        async with Client(broker.url, username="anna") as client:
            return client.connected

    try:
        monkeypatch.setenv("AGFN_MQTT_PASSWORD", "wr0ng-secret")
        with pytest.raises(BrokerError, match="wrong user name or password") as refusal:
            listen(work)
        assert "wr0ng" not in str(refusal.value)
        monkeypatch.setenv("AGFN_MQTT_PASSWORD", "right")
        assert listen(work)
    finally:
        broker.close()


@pytest.mark.parametrize("url", ["off", "embedded", "http://host", "mqtt://me:secret@host", "mqtt://host/path", ""])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError) as refusal:
        Client(url)
    assert "secret" not in str(refusal.value)
