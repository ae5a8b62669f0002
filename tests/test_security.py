"""What docs/security.md promises, attacked: rights at the broker, certificates, floods, sizes, bad configurations."""

import itertools
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from test_messages import event, sentiment
from test_mqtt import certificates, certify, tls_broker  # noqa: F401 - certificates is a fixture

from realtime.config.load import load
from realtime.config.schema import MqttConfig
from realtime.errors import UsageError
from realtime.publish.access import Access
from realtime.publish.commands import BURST
from realtime.publish.mqtt import MqttPublisher
from scripts.harness.mosquitto import Mosquitto, Subscriber, wait_for

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "mosquitto"
USERS = ("publisher", "viewer", "commander")


@pytest.fixture
def guarded(tmp_path):
    """The broker of docs/examples/mosquitto, with the passwords p-publisher and so on."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, f"p-{user}"], check=True)
    lines = [line for line in (EXAMPLE / "mosquitto.conf").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "listener 1883 127.0.0.1"  # the fixture listens on a free port instead
    text = "\n".join(lines[1:]).replace("password_file passwords", f"password_file {passwords}")
    broker = Mosquitto(tmp_path, [text.replace("acl_file acl", f"acl_file {EXAMPLE / 'acl'}"), "user root"])
    yield broker
    broker.close()


@pytest.fixture
def start(monkeypatch):
    made = []

    def make(password="p-publisher", **options):
        monkeypatch.setenv("AGFN_MQTT_PASSWORD", password)
        commands = []
        publisher = MqttPublisher(MqttConfig(**options), ["desk"], lambda *command: commands.append(command[1].command))
        publisher.start()
        made.append(publisher)
        return publisher, commands

    yield make
    for publisher in made:
        publisher.close(0.5)


def as_user(broker, name):
    return Subscriber(broker.port, user=(name, f"p-{name}"))


@pytest.mark.real
def test_with_the_example_rights_only_the_commander_commands_and_only_the_publisher_publishes(guarded, start):
    publisher, commands = start(url=guarded.url, username="publisher")
    assert publisher.wait_ready(5)
    viewer, other, commander = (as_user(guarded, name) for name in ("viewer", "viewer", "commander"))
    try:
        for forger in (viewer, commander):
            for kind in ("sentiment", "event", "health", "status"):
                forger.say(f"agfn/desk/{kind}", b"forged", retain=True)
        viewer.say("agfn/desk/command", b"pause")
        publisher.send_sentiment(sentiment())
        publisher.send_event(event())
        commander.say("agfn/desk/command", b"resume")
        wait_for(lambda: commands)
        wait_for(lambda: all(each.payloads("/sentiment") and each.payloads("/event") for each in (other, commander)))

        assert commands == ["resume"]
        assert publisher.stats("desk").commands_refused == 0
        assert not any(message.payload == b"forged" for each in (other, commander) for message in each.messages)
        late = as_user(guarded, "viewer")
        wait_for(lambda: late.messages)
        assert {message.payload for message in late.messages} == {b"online"}
        late.close()
    finally:
        for each in (viewer, other, commander):
            each.close()


@pytest.mark.real
@pytest.mark.parametrize("user", [None, ("viewer", "wrong"), ("nobody", "p-viewer"), ("viewer", "p-viewer")], ids=repr)
def test_without_the_right_password_nobody_listens(guarded, user):
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(*(user or (None, None)))
    answers = []
    client.on_connect = lambda *arguments: answers.append(arguments[3].is_failure)
    client.connect("127.0.0.1", guarded.port)
    client.loop_start()
    wait_for(lambda: answers)
    client.disconnect()
    client.loop_stop()
    assert answers[0] == (user != ("viewer", "p-viewer"))


@pytest.mark.real
def test_the_example_broker_takes_no_huge_message(guarded):
    commander = as_user(guarded, "commander")
    viewer = as_user(guarded, "viewer")
    commander.client.publish("agfn/desk/command", b"x" * 100_000, qos=0)
    commander.client.publish("agfn/desk/command", b"small", qos=0)
    wait_for(lambda: commander.client.is_connected() is False or viewer.payloads("/command"))
    viewer.close()
    commander.close()
    assert all(len(payload) < 65536 for payload in viewer.payloads("/command"))


@pytest.mark.real
def test_an_expired_client_certificate_is_refused(certificates, start):  # noqa: F811 - the fixture
    certify(certificates, "expired", days="-1")
    broker = tls_broker(certificates, ask=True)
    own = {"cert_file": str(certificates / "expired.crt"), "key_file": str(certificates / "expired.key")}
    url = f"mqtts://127.0.0.1:{broker.port}"
    try:
        publisher, _ = start(url=url, ca_file=str(certificates / "ca.crt"), **own)
        assert not publisher.wait_ready(2)
        assert not publisher.stats("desk").connected
        wait_for(lambda: "expired" in broker.log() or "certificate" in broker.log())
    finally:
        broker.close()


@pytest.mark.real
def test_a_flood_and_huge_commands_on_a_broker_of_3_1_1_change_little(start, caplog):
    publisher, commands = start(url="embedded", port=0)
    assert publisher.wait_ready(5)
    subscriber = Subscriber(int(publisher.url.rsplit(":", 1)[1]), "agfn/desk/sentiment", v5=False)
    begin_s = time.monotonic()
    for number in range(300):
        subscriber.client.publish("agfn/desk/command", (b"pause", b"x" * 15_000, b"\xff")[number % 3], qos=0)
    publisher.send_sentiment(sentiment())
    wait_for(lambda: subscriber.payloads("/sentiment"), 20)
    wait_for(lambda: publisher.stats("desk").commands_refused > 50, 20)
    subscriber.close()

    most = BURST + 2 * (time.monotonic() - begin_s) + 1
    assert len(commands) <= publisher.stats("desk").commands <= most
    assert publisher.stats("desk").connects == 1
    assert sum("refused" in record.getMessage() for record in caplog.records) <= 1 + (time.monotonic() - begin_s) / 5


@pytest.mark.parametrize(
    ("access", "shows"),
    [
        (Access("broker.lan", 1883, "anna", "secret"), True),
        (Access("127.0.0.1", 1883, "anna", "secret"), False),
        (Access("localhost", 1883, "anna", "secret"), False),
        (Access("::1", 1883, "anna", "secret"), False),
        (Access("127.broker.example", 1883, "anna", "secret"), True),
        (Access("broker.lan", 1883), False),
    ],
)
def test_a_password_that_others_can_read_is_warned_of(access, shows):
    assert access.shows_password is shows


def test_the_warning_names_the_broker_and_not_the_password(start, caplog):
    start(url="mqtt://192.0.2.1", username="anna", password="s3cret")

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING][:1]
    assert "mqtt://192.0.2.1:1883: the password crosses the network" in warning
    assert "s3cret" not in caplog.text


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MAPPING_BOMB = "a0: &a0 {x: 1, y: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases"),
        (MAPPING_BOMB, "aliases"),
        ("x: &x [*x]", "aliases"),
        ("window: !!python/object/apply:os.system ['touch pwned']", "tags"),
        ("window: !!python/name:os.system", "tags"),
        ("window: " + "[" * 20_000, "nested too deeply"),
        ("window: " + "{a: " * 20_000, "nested too deeply"),
        ("window: {hop_s: " + "9" * 5000 + "}", "window.hop_s|no YAML"),
        ("fusion: {threads: 0x" + "f" * 50_000 + "}", "fusion.threads = a huge number"),
        ("window: {hop_s: 1e999}", "window.hop_s"),
        ("window: {hop_s: 1:1:1:1:1:1:1:1}", "window.hop_s"),
        ("mqtt: {base: " + "x" * 70_000 + "}", "mqtt.base"),
        ('mqtt: {base: "a\\e]52;c;x\\a"}', "mqtt.base"),
        ('mqtt: {base: "a\\Nb"}', "mqtt.base"),
        ('mqtt: {base: "a\\nb"}', "mqtt.base"),
        ('mqtt: {base: "a\\Lb"}', "mqtt.base"),
        ('homeassistant: {prefix: "a\\tb"}', "homeassistant.prefix"),
        ("streams: [{name: ../../etc}]", "streams.0.name"),
        ("streams: [{name: 'a\\0b'}]", "streams.0.name"),
        ("streams: [{name: '$SYS/+/#'}]", "streams.0.name"),
        ("fusion: {device: 2026-11-23}", "fusion.device = '2026-11-23'"),
        ("record: {folder: !!binary aGVsbG8=}", "tags"),
        ("? [a, b]\n: 1", "no YAML|unknown"),
        ("x" * 300_000, "256 KB"),
        ("\0", "no YAML"),
    ],
    ids=lambda value: value[:24].split("\n")[0],
)
def test_a_malicious_file_is_refused_in_one_short_line(tmp_path, monkeypatch, text, says):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as refusal:
        load(file, environ={})

    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500 + len(str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_a_file_without_end_is_not_read_to_its_end():
    with pytest.raises(UsageError, match="256 KB"):
        load(Path("/dev/zero"), environ={})


@pytest.mark.parametrize(
    "text",
    [
        "mqtt: {password: s3cret}",
        "mqtt: {url: 'mqtt://me:s3cret@host'}",
        "mqtt: {username: [s3cret",
        "password: s3cret\n- x",
        "s3cret: [",
        "s3cret",
    ],
)
def test_no_error_repeats_what_may_be_a_secret(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as refusal:
        load(file, environ={})
    assert "s3cret" not in str(refusal.value)


def test_the_program_answers_a_malicious_file_with_exit_code_2_and_no_traceback(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(BOMB)
    command = [sys.executable, "-m", "realtime.run", "--config", str(file), "--print-config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: config file")
    assert done.stderr.count("\n") == 1


PROMISES = {"security.md": "test_security.py", "privacy.md": "test_privacy.py"}
"""The pages whose tables name the tests of each promise in the last column, and the file of those named without one."""


def promises(page):
    """The rows of a page's table of promises, each as its cells."""
    lines = (EXAMPLE.parents[1] / page).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if re.fullmatch(r"\|.*\| (Shown by|Test) \|", line))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :])
    return [row.strip("|").split(" | ") for row in rows]


def missing(row, own, defined):
    """What a row names that is not there; a test has to stand in a file that the row names, or in the page's own."""
    files = {own, *re.findall(r"\btest_\w+\.py", row)}
    named = re.findall(r"`(test_\w+)`", row)
    return [file for file in files if file not in defined] + [
        test for test in named if not any(test in defined.get(file, ()) for file in files)
    ]


@pytest.mark.parametrize(("page", "own"), PROMISES.items())
def test_every_promise_names_tests_that_are_there(page, own):
    defined = {
        file.name: set(re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE))
        for file in Path(__file__).parent.glob("test_*.py")
    }
    rows = promises(page)
    assert len(rows) > 8
    for *what, shown in rows:
        assert re.search(r"`test_\w+`", shown), f"{page}: no test for {what[0]}"
        assert missing(shown, own, defined) == [], f"{page}: {what[0]}"
    assert missing("`test_that_is_nowhere`, `test_it_is_valid_cyclonedx` (test_nofile.py)", own, defined) == [
        "test_nofile.py",
        "test_that_is_nowhere",
        "test_it_is_valid_cyclonedx",
    ]
