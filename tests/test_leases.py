"""Who speaks for a stream that is given from one program to another, on a real mosquitto."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from test_messages import event, health, sentiment

from realtime.client import LEASE_S, Client, Leases
from realtime.config.schema import MqttConfig
from realtime.publish import link
from realtime.publish.messages import Origin
from realtime.publish.mqtt import MqttPublisher
from scripts.harness.mosquitto import Subscriber, wait_for


class Holder:
    """A program that has a stream by a lease, and notes when it loses it."""

    def __init__(self, url, epoch, *, v5=True, streams=()):
        self.lost, self.epoch = [], epoch
        self.publisher = MqttPublisher(
            MqttConfig(url=url), streams, lambda *_: None, on_taken=lambda *why: self.lost.append(why)
        )
        self.publisher._access = replace(self.publisher._access, speaks_v5=v5)
        self.publisher.start()
        self.publisher.stream_came("desk", Origin(epoch, f"host-{epoch}"))
        self.link = self.publisher._links["desk"]

    def connected(self, times=1):
        wait_for(lambda: self.link.connects >= times, what=f"connection {times} of epoch {self.epoch}")
        return self

    def says(self, number=0):
        self.publisher.send_sentiment(sentiment(seq=number, epoch=self.epoch))
        self.publisher.send_health(health().model_copy(update={"epoch": self.epoch, "messages": number}))


@pytest.fixture
def holder(mosquitto):
    made = []

    def make(epoch, **options):
        made.append(Holder(mosquitto.url, epoch, **options))
        return made[-1]

    yield make
    for each in made:
        each.publisher.close(0.5)


def speaks_until(holder, condition, *others):
    """Have holders speak, as they do all the time, until something has come."""
    deadline, number = time.monotonic() + 10, 100
    while not condition():
        assert time.monotonic() < deadline
        number += 1
        for each in (holder, *others):
            each.says(number)
        time.sleep(0.1)


def epochs(subscriber):
    return [json.loads(payload)["epoch"] for payload in subscriber.payloads("/sentiment")]


@pytest.mark.real
def test_a_stream_comes_and_goes_and_its_status_stays_behind(subscribe, holder):
    subscriber = subscribe()
    program = holder(0, streams=("sofa",)).connected()
    program.says(1)
    wait_for(lambda: subscriber.payloads("desk/sentiment"))
    program.publisher.send_event(event())
    program.publisher.stream_went("desk")
    program.says(2)
    wait_for(lambda: subscriber.payloads("desk/status") == [b"online", b"offline"])

    assert len(subscriber.payloads("desk/event")) == 1
    assert len(subscriber.payloads("desk/sentiment")) == 1
    late = subscribe(topics="agfn/+/status")
    wait_for(lambda: len(late.messages) == 2)
    assert {each.topic: each.payload for each in late.messages} == {
        "agfn/desk/status": b"offline",
        "agfn/sofa/status": b"online",
    }
    program.publisher.stream_came("desk", Origin())
    wait_for(lambda: subscriber.payloads("desk/status")[-1:] == [b"online"])


@pytest.mark.real
def test_the_embedded_broker_takes_commands_of_a_stream_for_as_long_as_it_is_there():
    got = []
    publisher = MqttPublisher(
        MqttConfig(port=0), ["desk"], lambda stream, command: got.append((stream, command.command))
    )
    publisher.start()
    guest = Subscriber(int(publisher.url.rsplit(":", 1)[1]), v5=False)
    try:
        publisher.stream_came("sofa", Origin())
        wait_for(lambda: publisher.stats("sofa").connected)
        wait_for(lambda: guest.payloads("sofa/status") == [b"online"])
        guest.client.publish("agfn/sofa/command", b"pause", 1)
        guest.client.publish("agfn/hall/command", b"pause", 1)
        wait_for(lambda: got == [("sofa", "pause")])
        publisher.stream_went("sofa")
        wait_for(lambda: guest.payloads("sofa/status")[-1] == b"offline")
        time.sleep(1)  # the broker reads its rights when it comes to it
        guest.client.publish("agfn/sofa/command", b"resume", 1)
        guest.client.publish("agfn/desk/command", b"resume", 1)
        wait_for(lambda: ("desk", "resume") in got)
        assert guest.payloads("/command") == [b"pause", b"resume"]
    finally:
        guest.close()
        publisher.close(1)


@pytest.mark.real
def test_the_heir_cuts_the_old_holder_off_and_nobody_reads_offline(subscribe, holder):
    subscriber = subscribe()
    old = holder(1).connected()
    old.says(1)
    wait_for(lambda: epochs(subscriber) == [1])
    heir = holder(2).connected()
    speaks_until(heir, lambda: old.lost)

    (taken,) = old.lost
    assert taken[0] == "desk"
    assert "epoch 2" in taken[1]
    assert old.link.fenced is not None
    old.says(99)
    time.sleep(0.3)
    assert epochs(subscriber)[0] == 1
    assert set(epochs(subscriber)[1:]) == {2}
    assert heir.lost == []
    assert heir.link.connects == 1
    assert old.link.connects == 1
    assert b"offline" not in subscriber.payloads("desk/status")


@pytest.mark.real
def test_an_old_holder_that_comes_back_throws_the_heir_out_for_a_moment_only(subscribe, holder):
    subscriber = subscribe()
    heir = holder(2).connected()
    zombie = holder(1).connected()  # it stood still, its connection was lost, and it has just come back
    wait_for(lambda: heir.link._looks or heir.link.connects > 1, what="the heir thrown out")
    speaks_until(zombie, lambda: zombie.lost, heir)
    assert heir.lost == []
    assert heir.link.fenced is None
    heir.connected(2)
    heir.says(500)
    wait_for(lambda: epochs(subscriber)[-1:] == [2])
    assert subscriber.payloads("desk/status")[-1] == b"online"


@pytest.mark.real
def test_the_stronger_of_two_with_the_same_epoch_is_the_later_one(holder):
    first = holder(5).connected()
    second = holder(5).connected()
    speaks_until(second, lambda: first.lost)
    assert second.lost == []


@pytest.mark.real
def test_who_was_thrown_out_by_nobody_that_speaks_takes_its_place_again(monkeypatch, mosquitto, subscribe, holder):
    monkeypatch.setattr(link, "LOOK_S", 0.3)
    one = holder(3).connected()
    other = paho.Client(CallbackAPIVersion.VERSION2, f"agfn-{one.link._name}", protocol=paho.MQTTv5)
    other.connect("127.0.0.1", mosquitto.port)
    other.loop_start()
    wait_for(other.is_connected)
    other.disconnect()
    other.loop_stop()
    one.connected(2)
    subscriber = subscribe()
    one.says(7)
    wait_for(lambda: epochs(subscriber) == [3])
    assert one.lost == []


@pytest.mark.real
def test_without_reason_codes_a_newer_epoch_is_what_stops_the_old_holder(subscribe, holder):
    subscriber = subscribe()
    old, heir = holder(1, v5=False).connected(), holder(2, v5=False).connected()
    speaks_until(old, lambda: old.lost, heir)
    assert "newer epoch 2" in old.lost[0][1]
    assert heir.lost == []
    wait_for(lambda: subscriber.payloads("desk/status")[-1:] == [b"online"])
    time.sleep(0.3)
    assert subscriber.payloads("desk/status")[-1] == b"online"


LONE = """
import sys
from realtime.config.schema import MqttConfig
from realtime.publish import link
from realtime.publish.messages import Origin
from realtime.publish.mqtt import MqttPublisher
link.WILL_DELAY_S = 1
publisher = MqttPublisher(MqttConfig(url=sys.argv[1]), [], print)
publisher.start()
publisher.stream_came("sofa", Origin(1))
publisher.stream_came("desk", Origin(1))
sys.stdin.read()
"""


@pytest.mark.real
def test_a_killed_holder_is_called_offline_only_where_nobody_follows(mosquitto, subscribe, holder):
    subscriber = subscribe(topics="agfn/+/status")
    root = Path(__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", LONE, mosquitto.url], stdin=subprocess.PIPE, cwd=root) as lone:
        wait_for(lambda: subscriber.payloads("desk/status") and subscriber.payloads("sofa/status"), 20)
        lone.kill()
    holder(2).connected()
    wait_for(lambda: subscriber.payloads("sofa/status") == [b"online", b"offline"])
    assert subscriber.payloads("desk/status") == [b"online", b"online"]


@pytest.mark.real
def test_a_client_leaves_out_what_an_older_holder_still_says(mosquitto, subscribe):
    teller = subscribe()

    def say(epoch, number):
        teller.say("agfn/desk/sentiment", sentiment(seq=number, epoch=epoch).payload())

    async def work():
        async with Client(mosquitto.url) as client:
            feed, loop = client.sentiments(), asyncio.get_running_loop()
            for number, epoch in enumerate([0, 2, 1, 0, 2, 3, 2]):
                await loop.run_in_executor(None, say, epoch, number)
            got = [await anext(feed) for _ in range(4)]
            await loop.run_in_executor(None, wait_for, lambda: client.fenced == 3)
            return [(said.epoch, said.seq) for said in got], client.fenced, client.refused

    assert asyncio.run(asyncio.wait_for(work(), 15)) == ([(0, 0), (2, 1), (2, 4), (3, 5)], 3, 0)


def test_a_lease_that_nobody_uses_any_more_is_over():
    leases = Leases()
    assert leases.holds("desk", 4, 0.0)
    assert leases.holds("sofa", 1, 0.0)
    assert not leases.holds("desk", 3, LEASE_S - 1)
    assert leases.holds("desk", 4, LEASE_S - 1)
    assert not leases.holds("desk", 3, LEASE_S + 1)
    assert leases.holds("desk", 0, 2 * LEASE_S)
