"""The systemd unit of docs/examples: strict by systemd's own measure, and the program runs within it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models import zoo
from realtime.config.load import load
from scripts.harness.processes import need
from scripts.harness.service import UNIT, Service, confined

MOST_EXPOSED = 3.0


def told(command, timeout_s):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def service():
    return Service.read()


@pytest.fixture
def analyze():
    need("systemd-analyze")

    return lambda *arguments: told(["systemd-analyze", "--no-pager", *map(str, arguments)], 60)


def test_it_is_a_unit_that_systemd_takes(analyze, tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/agfn-live/.venv/bin/python", os.path.realpath(sys.executable)))
    done = analyze("verify", copy)
    assert (done.returncode, [line for line in done.stderr.splitlines() if copy.name in line]) == (0, [])
    copy.write_text(copy.read_text().replace("DynamicUser=yes", "DynamicUser=perhaps"))
    assert analyze("verify", copy).returncode != 0, "what is wrong is noticed"


def test_it_is_exposed_little_by_systemds_own_measure(analyze):
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", UNIT)
    assert done.returncode == 0, done.stdout
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1]) <= MOST_EXPOSED


def test_only_a_camera_and_a_microphone_may_be_opened_and_only_this_machine_be_reached(service):
    assert service.one("DevicePolicy") == "closed"
    assert sorted(service.values["DeviceAllow"]) == ["char-alsa rw", "char-video4linux rw"]
    assert (service.one("IPAddressDeny"), service.one("IPAddressAllow")) == ("any", "localhost")
    assert service.one("DynamicUser") == "yes"
    assert service.one("MemoryMax")


def test_its_password_is_a_credential_and_its_variables_are_settings(service, tmp_path):
    places = {"%d": tmp_path, "%S": tmp_path, "%t": tmp_path}
    (tmp_path / "mqtt-password").write_text("secret\n")
    environ = service.environment(places)
    config, _ = load(environ=environ | {"AGFN_MQTT__URL": "mqtt://127.0.0.1"})
    named = {credential.partition(":")[0] for credential in service.values["LoadCredential"]}
    assert config.mqtt.password_file == str(tmp_path / "mqtt-password")
    assert {"mqtt-password", "config"} == named
    assert not re.search(r"password=", service.one("ExecStart"), re.IGNORECASE)


def test_codes_that_mean_nothing_will_change_start_nothing_again(service):
    assert service.one("RestartPreventExitStatus").split() == ["2", "3", "4", "5"]


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may confine others")
def test_the_program_runs_within_its_restrictions(service, tmp_path, clip):
    """No systemd runs here: user, file system, system calls, addresses and credentials are restricted without it."""
    need("bwrap")
    need("systemd-analyze")
    zoo.path("face")
    _, *arguments = service.one("ExecStart").split()
    command = [sys.executable, *(word.replace("${CREDENTIALS_DIRECTORY}", "/run/credentials") for word in arguments)]
    command += ["--source", str(clip), "--pace", "fast", "--output", "-"]
    credentials = {"config": "mqtt: {url: embedded}\n", "mqtt-password": "secret\n"}
    shell = confined(service, command, tmp_path, zoo.cache().parent, credentials, [clip])
    done = told(shell, 500)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [json.loads(line) for line in done.stdout.splitlines()]
    scores = [message["score"] for message in said if message["schema"].startswith("agfn.sentiment/")]
    assert any(score is not None for score in scores)
    assert "Traceback" not in done.stderr


ATTEMPTS = """
import os, socket
def tried(what, do):
    try:
        do()
    except OSError as error:
        print(what, "refused")
    else:
        print(what, "DONE")
tried("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
tried("loopback", lambda: socket.socket(socket.AF_INET))
tried("chroot", lambda: os.chroot("/tmp"))
tried("root", lambda: os.setuid(0))
tried("program", lambda: open("PLACE", "w"))
tried("etc", lambda: open("/etc/agfn", "w"))
tried("state", lambda: open("/var/lib/agfn-live/file", "w"))
tried("home", lambda: os.listdir("/root/.ssh"))
print(os.environ["AGFN_CACHE"], oct(os.stat("/var/lib/agfn-live/file").st_mode & 0o777), os.getuid() > 0)
"""


@pytest.mark.real
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may confine others")
def test_what_the_unit_forbids_is_refused_there(service, tmp_path):
    need("bwrap")
    need("systemd-analyze")
    attempts = ATTEMPTS.replace("PLACE", str(Path(zoo.__file__).resolve()))
    shell = confined(service, [sys.executable, "-c", attempts], tmp_path, zoo.cache().parent, {"config": ""})
    done = told(shell, 60)
    assert done.returncode == 0, done.stderr
    results = dict(line.split() for line in done.stdout.splitlines()[:-1])
    allowed = {what for what, result in results.items() if result == "DONE"}
    assert allowed == {"loopback", "state"}
    assert done.stdout.splitlines()[-1] == "/var/lib/agfn-live 0o600 True"
