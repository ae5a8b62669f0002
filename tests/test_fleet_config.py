"""The settings and the commands of a fleet: strict, without secrets, refused in one line."""

import json
import re
import secrets
from pathlib import Path

import pytest

from realtime.config.schema import MetricsConfig
from realtime.errors import UsageError
from realtime.fleet.__main__ import main, parser
from realtime.fleet.config import (
    AsrPoolConfig,
    FleetConfig,
    HostConfig,
    PlacementConfig,
    RayConfig,
    has_local_device,
    read_fleet,
    read_stream,
)
from realtime.fleet.topics import Order, read_order, write_order

BROKER = {"settings": {"mqtt": {"url": "mqtt://127.0.0.1:1883"}}}


def test_the_shipped_file_is_the_defaults_with_an_explanation_of_each_key():
    file = Path("configs/fleet.yaml")
    shipped = read_fleet(file)
    assert shipped == FleetConfig.model_validate(BROKER)
    lines = file.read_text().splitlines()
    for section in (FleetConfig, HostConfig, RayConfig, PlacementConfig, AsrPoolConfig, MetricsConfig):
        for name, field in section.model_fields.items():
            said = f" # {field.description}"
            whole = section is FleetConfig and name in {
                "hosts",
                "ray",
                "placement",
                "asr_pool",
                "metrics",
                "settings",
                "streams",
            }
            assert any(re.match(rf"[ -]*{name}:", line) and (whole or line.endswith(said)) for line in lines), (
                f"{section.__name__}.{name}"
            )


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hots": []}, "hots: Extra inputs"),
        ({"engine": "kubernetes"}, "engine: Input should be 'local' or 'ray'"),
        ({"hosts": [{"name": "a"}, {"name": "a"}]}, "hosts: names must differ, but a is there twice"),
        ({"streams": [{"name": "s", "camera": "0"}]}, "streams.0: a local camera or microphone is on one machine only"),
        (
            {"streams": [{"name": "s", "camera": "rtsp://me:hush@192.0.2.7/x"}]},
            "streams.0: the address of the camera may hold a secret",
        ),
        ({"settings": {"mqtt": {"url": "embedded"}}}, "settings: mqtt.url must name a broker that every host reaches"),
        ({"settings": {}}, "settings: mqtt.url must name a broker"),
        ({"settings": {"streams": []}}, "settings: streams stand beside"),
        ({"settings": {"window": {"hop_s": -1}}}, "settings: window.hop_s: Input should be greater"),
        ({"settings": {"mqtt": {"url": "mqtt://h"}, "record": {"folder": "x"}}}, "settings: record.folder"),
        ({"placement": {"headroom": 0}}, "placement.headroom"),
        ({"name": "a/b"}, "name: String should match"),
        ({"ray": {"address": "a b"}}, "ray.address: String should match"),
        (
            {"engine": "ray", "asr_pool": {"processes": 1}},
            "asr_pool.processes are reached by hosts of engine local only",
        ),
        ({"asr_pool": {"addresses": ["http://h/x"]}}, "asr_pool.addresses.0: String should match"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_key(tmp_path, values, says):
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps(BROKER | values))
    with pytest.raises(UsageError) as refused:
        read_fleet(file)
    said = str(refused.value)
    assert says in said
    assert "hush" not in said
    assert len(said.splitlines()) == 1


def test_a_stream_that_can_run_anywhere_needs_no_labels():
    anywhere = [
        {"camera": "rtsp://192.0.2.7/x"},
        {"camera": "rtsp://viewer@192.0.2.7/x", "mic": None},
        {"source": "/films/talk.mp4"},
    ]
    for values in anywhere:
        assert not has_local_device(read_stream({"name": "s"} | values))
    bound = [{"camera": "0"}, {"camera": None, "mic": "default"}, {"camera": "rtsp://192.0.2.7/x", "mic": "USB"}]
    for values in bound:
        with pytest.raises(UsageError, match="labels"):
            read_stream({"name": "s"} | values)
        stream = read_stream({"name": "s", "labels": {"device": "cam-1"}} | values)
        assert has_local_device(stream)
        assert "labels" not in stream.spec()


def test_a_command_is_read_as_it_was_written_and_anything_else_is_refused():
    sent = Order.model_validate({"id": secrets.token_hex(8), "command": "move", "name": "desk", "host": "h1"})
    assert read_order(write_order(sent)) == sent
    whole = json.loads(write_order(sent))
    for wrong in (
        {"command": "exec"},
        {"id": "../x"},
        {"id": None},
        {"name": "a/b"},
        {"schema": "agfn.fleet.command/2"},
        {"more": 1},
        {"host": None},
        {"command": "add"},
    ):
        with pytest.raises(UsageError, match="refused"):
            read_order(json.dumps(whole | wrong).encode())
    for payload in (b"", b"null", b"down", b"[" * 5000, b"\xff", b" " * 9000):
        with pytest.raises(UsageError, match="refused"):
            read_order(payload)


def test_help_names_each_command_and_wrong_options_are_refused(tmp_path, capsys):
    for command in ("up", "pool", "status", "add", "remove", "drain", "undrain", "move", "down"):
        assert command in parser().format_help()
    file = tmp_path / "fleet.yaml"
    file.write_text(json.dumps(BROKER))
    assert main(["add", "desk", "--config", str(file)]) == 2
    assert "give --camera, --mic or --source" in capsys.readouterr().err
    assert main(["add", "desk", "--camera", "rtsp://192.0.2.7/x", "--label", "site", "--config", str(file)]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
    assert main(["status", "--config", str(tmp_path / "none.yaml")]) == 2
