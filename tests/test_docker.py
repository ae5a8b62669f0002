"""Dockerfile and compose file: what they promise, and the broker as compose.yaml sets it up, for real."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from realtime.config.load import load
from scripts.harness import dockerfile
from scripts.harness.dockerfile import DOCKERFILE, IGNORE, ROOT, exec_form, in_context, packages, stages
from scripts.harness.mosquitto import Mosquitto, Subscriber, mosquitto_sub, wait_for
from scripts.harness.processes import need

EXAMPLE = ROOT / "docs" / "examples" / "docker"
STAGES = stages(DOCKERFILE.read_text())
COMPOSE = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SECRET = re.compile(r"password|secret|token", re.IGNORECASE)


def setup_packages():
    """RUN_PACKAGES of scripts/_setup.sh."""
    return set(
        re.search(r"^RUN_PACKAGES=\((.*)\)$", (ROOT / "scripts" / "_setup.sh").read_text(), re.MULTILINE)[1].split()
    )


def test_the_image_has_the_libraries_that_the_set_up_installs_and_python():
    base, build, final = STAGES
    assert packages(base) == setup_packages() | {"python3", "ca-certificates"}
    assert packages(build) == {"python3-venv"}
    assert packages(final) == set()
    assert [build.image, final.image] == [base.name, base.name]


def test_what_runs_is_nobody_and_nothing_is_fetched_from_elsewhere():
    *_, final = STAGES
    assert final.all("USER") == ["10001:10001"]
    assert [kind for kind, _ in final.steps[final.steps.index(("USER", "10001:10001")) :] if kind == "RUN"] == []
    assert exec_form(final.all("ENTRYPOINT")[0]) == ["/opt/agfn-live/.venv/bin/agfn-live"]
    assert exec_form(final.all("CMD")[0]) == ["--no-view"]
    text = DOCKERFILE.read_text()
    assert "://" not in text
    assert not any(stage.all("ADD") for stage in STAGES)
    assert re.search(r"^ARG BASE=\S+:(?!latest)\S+$", text, re.MULTILINE), "a tag, and not the one that moves"
    named = [word for stage in STAGES for kind in ("ARG", "ENV") for word in stage.all(kind)]
    assert not any(SECRET.search(word) for word in named)


def test_each_step_is_a_command_that_a_shell_takes_and_cleans_up_after_itself():
    for stage in STAGES:
        for text in stage.all("RUN"):
            assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0, text
            if "apt-get install" in text:
                assert text.startswith("apt-get update &&")
                assert "--yes --no-install-recommends" in text
                assert text.endswith("rm -rf /var/lib/apt/lists/*")
            for pip in re.findall(r"pip install[^&;]*", text):
                assert "--no-cache" in pip


def test_what_the_image_is_made_of_comes_in_and_nothing_else_does():
    rules = IGNORE.read_text()
    for path in (
        "pyproject.toml",
        "constraints.txt",
        "hashes.txt",
        "README.md",
        "scripts/_setup.sh",
        "scripts/hashes.py",
    ):
        assert in_context(path, rules), path
    for folder in ("realtime", "models", "configs"):
        inside = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()]
        lost = {path for path in inside if not in_context(path, rules) and "__pycache__" not in path}
        assert lost == set()
    outside = (
        ".git/config",
        ".venv/bin/python",
        ".env",
        "secrets/mqtt-password",
        "token",
        "rec/desk.mcap",
        "tests/a.py",
    )
    for path in (*outside, "models/__pycache__/zoo.cpython-311.pyc"):
        assert not in_context(path, rules), path


def test_a_dockerfile_is_read_as_docker_reads_it():
    text = 'ARG A=1\nFROM x AS y\n# no\nRUN one \\\n  # not this\n  && apt-get install --yes b \\\n  && c\nCMD ["d"]\n'
    (stage,) = dockerfile.stages(text)
    assert (stage.image, stage.name) == ("x", "y")
    assert stage.steps == [("RUN", "one && apt-get install --yes b && c"), ("CMD", '["d"]')]
    assert packages(stage) == {"b"}
    with pytest.raises(ValueError, match="Expecting"):
        exec_form("d e")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_do_more_than_it_needs(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["healthcheck"]["test"]
    assert service["restart"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), "nothing is published beyond this machine"


def test_passwords_come_as_files_and_stand_nowhere():
    for service in SERVICES.values():
        for secret in service["secrets"]:
            assert COMPOSE["secrets"][secret]["file"].startswith("./secrets/")
        assert not SECRET.search(" ".join(map(str, service.get("command", ()))))
    named = SERVICES["analyzer"]["environment"]
    assert {name: value for name, value in named.items() if SECRET.search(name)} == {
        "AGFN_MQTT__PASSWORD_FILE": "/run/secrets/mqtt-password"
    }
    settings = (EXAMPLE / "agfn.env").read_text().splitlines()
    assert not any(SECRET.search(line) for line in settings if not line.startswith("#"))


def test_its_settings_are_settings_of_the_program():
    lines = [line for line in (EXAMPLE / "agfn.env").read_text().splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines) | SERVICES["analyzer"]["environment"]
    config, origins = load(environ=environ)
    assert (config.mqtt.url, config.mqtt.username) == ("mqtt://127.0.0.1:1883", "publisher")
    assert (config.dashboard.port, config.dashboard.broker) == (8080, "ws://127.0.0.1:9001")
    assert config.streams[0].camera == "rtsp://camera.lan/stream"
    assert len(origins) == len(environ)
    *_, final = STAGES
    assert f"AGFN_CACHE={SERVICES['analyzer']['volumes'][0].partition(':')[2]}" in " ".join(final.all("ENV")).split()


PASSWORD = "a-password"


@pytest.fixture
def broker(tmp_path):
    """The broker of compose.yaml, on a free port of its own."""
    need("mosquitto_passwd")
    users = tmp_path / "mqtt-users"
    users.write_text(f"publisher:{PASSWORD}\nviewer:{PASSWORD}\n")
    assert subprocess.run(["mosquitto_passwd", "-U", str(users)], check=False).returncode == 0
    lines = (EXAMPLE / "mosquitto.conf").read_text().splitlines()
    places = {
        "/run/secrets/mqtt-users": users,
        "/mosquitto/config/acl": ROOT / "docs" / "examples" / "mosquitto" / "acl",
    }
    kept = [line for line in lines if not line.startswith(("listener", "protocol"))]
    for place, here in places.items():
        kept = [line.replace(place, str(here)) for line in kept]
    made = Mosquitto(tmp_path, [*kept, "user root"])
    yield made
    made.close()


@pytest.mark.real
def test_the_broker_lets_in_who_has_a_password_and_is_healthy_by_refusing_others(broker):
    kind, command = SERVICES["broker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    path = os.pathsep.join((str(Path(mosquitto_sub()).parent), os.environ["PATH"]))
    here = command.replace("$$", "$").replace("mosquitto_sub ", f"mosquitto_sub -p {broker.port} ")
    healthy = ["sh", "-c", here]
    assert subprocess.run(healthy, env={"PATH": path}, check=False, timeout=20).returncode == 0
    viewer = Subscriber(broker.port, user=("viewer", PASSWORD))
    publisher = Subscriber(broker.port, "agfn/+/command", user=("publisher", PASSWORD))
    publisher.say("agfn/desk/sentiment", "{}")
    viewer.say("agfn/desk/command", "pause")
    publisher.say("agfn/desk/event", "{}")
    wait_for(lambda: viewer.payloads("event"))
    assert viewer.payloads("sentiment") == [b"{}"]
    assert publisher.payloads("command") == [], "who only watches commands nothing"
    viewer.close()
    publisher.close()
    broker.kill()
    assert subprocess.run(healthy, env={"PATH": path}, check=False, timeout=20).returncode != 0
