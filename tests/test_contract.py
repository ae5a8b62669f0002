"""The contract as published: files that follow the code, and a real session in which every message keeps it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from scripts.contract import KINDS, MODELS, chosen, files, kind_of, read_examples, schema_of
from scripts.harness.mosquitto import Mosquitto, Subscriber
from scripts.harness.processes import Program, need, wait_until

DOCS = Path(__file__).parent.parent / "docs"
ASYNCAPI = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
ENVELOPE = {"sentiment", "health"}


def validator(kind):
    """From the committed file, as another person's tool would."""
    schema = json.loads((DOCS / "schema" / f"{kind}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def test_the_committed_files_are_what_the_code_generates():
    generated = files(read_examples(DOCS / "examples" / "messages.jsonl"))

    assert {path.name for path in (DOCS / "schema").iterdir()} == {p.name for p in generated if p.parts[0] == "schema"}
    for path, text in generated.items():
        assert (DOCS / path).read_text() == text, f"{path}: run python -m scripts.contract"


def test_the_command_writes_the_files_and_takes_new_examples(tmp_path):
    lines = tmp_path / "live.jsonl"
    first, *_ = read_examples(DOCS / "examples" / "messages.jsonl")
    lines.write_text(f"{json.dumps({**first, 'seq': 1})}\n{json.dumps({**first, 'seq': 2})}\n")
    command = [sys.executable, "-m", "scripts.contract", "--docs", str(tmp_path), "--examples", str(lines)]
    subprocess.run(command, check=True)

    assert [said["seq"] for said in read_examples(tmp_path / "examples" / "messages.jsonl")] == [2]
    assert (tmp_path / "schema" / "event.json").read_text() == (DOCS / "schema" / "event.json").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_complete_in_itself_and_names_its_version(kind):
    schema = schema_of(kind)
    references = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))

    assert references == set(schema.get("$defs", {}))
    assert schema["$id"] == f"urn:agfn:schema:{kind}:1"
    if kind != "status":
        assert schema["properties"]["schema"]["const"] == f"agfn.{kind}/1"
        # The version rule: later publishers may add keys, but a command with something unknown in it is not obeyed.
        assert (schema.get("additionalProperties") is False) == (kind == "command")


def test_the_examples_are_of_every_kind_and_state_that_matters_and_fit():
    examples = read_examples(DOCS / "examples" / "messages.jsonl")
    for example in examples:
        validator(kind_of(example)).validate(example)
        assert "text" not in example

    assert {kind_of(example) for example in examples} == {"sentiment", "health", "event"}
    assert {"ok", "degraded", "paused"} <= {said["state"] for said in examples if kind_of(said) == "sentiment"}
    assert {"lost", "recovered", "paused", "resumed"} <= {said.get("kind") for said in examples}
    assert chosen(examples) == examples


def test_asyncapi_describes_every_topic_and_its_references_lead_somewhere():
    assert {name: channel["address"] for name, channel in ASYNCAPI["channels"].items()} == {
        kind: f"{{base}}/{{stream}}/{kind}" for kind in KINDS
    }
    for reference in re.findall(r"\$ref: '?([^'\s]+)", (DOCS / "asyncapi.yaml").read_text()):
        file, _, pointer = reference.partition("#")
        found = json.loads((DOCS / file).read_text()) if file else ASYNCAPI
        for part in filter(None, pointer.split("/")):
            found = found[part]
        assert found
    actions = {name: operation["action"] for name, operation in ASYNCAPI["operations"].items()}
    assert actions.pop("takeCommand") == "receive"
    assert set(actions.values()) == {"send"}
    for kind, message in ASYNCAPI["components"]["messages"].items():
        assert message["examples"]
        for example in message["examples"]:
            validator(kind).validate(example["payload"])


@pytest.fixture(scope="module")
def session(clip, tmp_path_factory):
    """A real run over a clip, heard by an independent client and by the two examples."""
    need("mosquitto_sub", "jq")
    folder = tmp_path_factory.mktemp("session")
    broker = Mosquitto(folder)
    subscriber = Subscriber(broker.port)
    env = os.environ | {"PYTHONPATH": str(DOCS.parent), "PYTHONUNBUFFERED": "1"}
    python = Program([sys.executable, str(DOCS / "examples/subscribe.py"), broker.url], folder / "python.txt", env)
    shell = Program([str(DOCS / "examples/watch.sh"), "127.0.0.1", str(broker.port)], folder / "shell.txt", env)
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--source", str(clip), "--mqtt", broker.url]
    program = Program(command, folder / "run.txt", env | {"OMP_NUM_THREADS": "1"})
    try:
        program.process.wait(120)
        assert program.process.returncode == 0, program.text()
        wait_until(lambda: b"offline" in subscriber.payloads("/status"), 10, "the goodbye")
        wait_until(lambda: "stream ended" in python.text(), 10, f"the example to hear the end: {python.text()}")
        yield SimpleNamespace(messages=subscriber.messages, python=python.text(), shell=shell.text())
    finally:
        for each in (program, python, shell):
            each.kill()
        subscriber.close()
        broker.close()


@pytest.mark.real
@pytest.mark.models
def test_every_message_of_a_real_session_fits_the_committed_schema_of_its_topic(session):
    known = {kind: validator(kind) for kind in KINDS}
    seen = dict.fromkeys(KINDS, 0)
    for message in session.messages:
        base, stream, kind = message.topic.split("/")
        assert (base, stream) == ("agfn", "desk")
        text = message.payload.decode()
        known[kind].validate(text if kind == "status" else json.loads(text))
        assert kind == "status" or MODELS[kind].model_validate_json(text).payload() == message.payload
        seen[kind] += 1

    assert seen["sentiment"] >= 12
    assert seen["health"] >= 2
    assert seen["event"] >= 1
    assert seen["status"] >= 2
    assert seen["command"] == 0


@pytest.mark.real
@pytest.mark.models
def test_messages_are_delivered_as_asyncapi_says(session):
    promised = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]: operation["bindings"]["mqtt"]
        for operation in ASYNCAPI["operations"].values()
    }
    for message in session.messages:
        kind = message.topic.rsplit("/", 1)[1]
        assert message.qos == promised[kind]["qos"]
        expiry = getattr(message.properties, "MessageExpiryInterval", None)
        assert (expiry is not None) == (kind in ENVELOPE)
        assert expiry is None or expiry <= promised[kind]["messageExpiryInterval"]
        if kind != "status":
            content = ASYNCAPI["components"]["messages"][kind]["contentType"]
            assert (message.properties.ContentType, message.properties.PayloadFormatIndicator) == (content, 1)


@pytest.mark.real
@pytest.mark.models
def test_the_examples_print_what_was_said(session):
    scores = [
        round(said["score"], 2)
        for said in (json.loads(m.payload) for m in session.messages if m.topic.endswith("/sentiment"))
        if said["score"] is not None
    ]
    printed = re.findall(
        r"desk  ([+-]\d\.\d\d) \[[+-]\d\.\d\d [+-]\d\.\d\d\]  mostly (text|voice|face)", session.python
    )
    assert [float(score) for score, _ in printed] == pytest.approx(scores, abs=0.011)
    assert "desk  stream ended: -" in session.python

    rows = [line.split("\t") for line in session.shell.splitlines()]
    assert [round(float(row[2]), 2) for row in rows if row[2]] == pytest.approx(scores, abs=0.011)
    assert all(
        re.fullmatch(r"(face|voice|text) [\d.]+ (ok|noisy|stale|lost|off)", cell) for r in rows for cell in r[4:]
    )


@pytest.mark.real
def test_retained_messages_are_the_status_only(mosquitto):
    from test_messages import event, health, sentiment  # noqa: PLC0415 - the only one here that makes messages

    from realtime.config.schema import MqttConfig  # noqa: PLC0415
    from realtime.publish.mqtt import MqttPublisher  # noqa: PLC0415

    publisher = MqttPublisher(MqttConfig(url=mosquitto.url), ["desk"], lambda *_: None)
    publisher.start()
    publisher.wait_ready(5)
    publisher.send_sentiment(sentiment())
    publisher.send_event(event())
    publisher.send_health(health())
    publisher.close(5)
    late = Subscriber(mosquitto.port)
    wait_until(lambda: late.messages, 5, "the retained status")
    late.close()
    assert [(m.topic, m.payload, m.retain) for m in late.messages] == [("agfn/desk/status", b"offline", True)]
