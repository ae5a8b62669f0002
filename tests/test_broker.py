import logging
import socket
import threading

import pytest
from test_messages import event, sentiment

from realtime.config.schema import MqttConfig
from realtime.publish.broker import EmbeddedBroker
from realtime.publish.mqtt import MqttPublisher
from scripts.harness.mosquitto import Subscriber, free_port, wait_for


@pytest.fixture
def broker():
    broker = EmbeddedBroker(0)
    broker.start()
    yield broker
    broker.close(2)


@pytest.fixture
def publisher():
    publisher = MqttPublisher(MqttConfig(port=0), ["desk"], lambda *_: None)
    publisher.start()
    assert publisher.wait_ready(5)
    yield publisher
    publisher.close()


def port_of(publisher):
    return int(publisher.url.rsplit(":", 1)[1])


def test_it_listens_on_loopback_only(broker):
    with socket.create_connection(("127.0.0.1", broker.port), 2) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, broker.port)) != 0


def test_a_taken_port_is_exchanged_for_a_free_one_and_said(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = EmbeddedBroker(port)
        broker.start()
        broker.close(2)

    assert broker.port not in (0, port)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"port {port} is taken" in warning
    assert str(broker.port) in warning


def test_a_wanted_port_is_kept():
    port = free_port()
    for _ in range(2):  # a second start right after the first must find it free again
        broker = EmbeddedBroker(port)
        broker.start()
        broker.close(2)
        assert broker.port == port


def test_it_leaves_no_thread_behind():
    broker = EmbeddedBroker(0)
    broker.start()
    broker.close(2)

    assert not any(thread.name == "broker" for thread in threading.enumerate())


def test_a_subscriber_of_the_embedded_broker_gets_the_messages(publisher):
    subscriber = Subscriber(port_of(publisher), v5=False)
    publisher.send(sentiment())
    publisher.send(event())
    wait_for(lambda: subscriber.payloads("/sentiment") and subscriber.payloads("/event"))
    wait_for(lambda: b"online" in subscriber.payloads("/status"))
    publisher.close()
    wait_for(lambda: b"offline" in subscriber.payloads("/status"))
    subscriber.close()

    assert subscriber.payloads("/event") == [event().payload()]


def test_garbage_on_the_port_does_no_harm(publisher, caplog):
    for rubbish in (b"GET / HTTP/1.0\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x10\x04\x00\x04MQ"):
        with socket.create_connection(("127.0.0.1", port_of(publisher)), 2) as connection:
            connection.sendall(rubbish)
    subscriber = Subscriber(port_of(publisher), v5=False)
    publisher.send(sentiment())
    wait_for(lambda: subscriber.payloads("/sentiment"))
    subscriber.close()

    assert "Traceback" not in caplog.text
