"""A fleet of processes at a real broker: streams outlive their hosts, and no host that was given up is heard again."""

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from realtime.clock import VirtualClock
from realtime.config.schema import MqttConfig
from realtime.errors import BrokerError, UsageError
from realtime.fleet.control import ask_status, give_order
from realtime.fleet.topics import Order
from realtime.fuse.worker import fuser_of
from realtime.publish.access import access_of
from realtime.session.state import StreamState
from scripts.fleeting.arrivals import gaps, newest_epoch
from scripts.fleeting.loop import Loop
from scripts.fleeting.rig import Rig, local
from scripts.fleeting.twin import difference
from scripts.harness.processes import wait_until

ROOT = Path(__file__).resolve().parent.parent
HOP_S, LEASE_S, START_S = 0.5, 1.5, 120.0

pytestmark = pytest.mark.real


@pytest.fixture
def rig(recording, tmp_path):
    made = Rig(tmp_path, recording, local(["h1", "h2", "h3"]), hop_s=HOP_S, lease_s=LEASE_S)
    try:
        made.wait_ready(3)
        made.grow(9)
        made.wait_speaking()
        yield made
    finally:
        made.close()


def of_host(rig, host):
    return [name for name, (owner, _) in rig.owners().items() if owner == host]


def order(rig, command, **given):
    sent = Order.model_validate({"id": secrets.token_hex(8), "command": command, **given})
    asyncio.run(give_order(access_of(rig.config.mqtt), "agfn", "main", sent))


def check_as_if_nothing_had_happened(rig, streams, recording):
    """Each window stands where its number says, and a full one says what an uninterrupted stream would have said.

    What was said while nobody listened is lost, so only streams in which nothing was are compared; returns how many.
    """
    fuser, loop, silent = fuser_of(rig.config, VirtualClock()), Loop(recording), 0
    for name in streams:
        started = StreamState.of(rig.fleet.state_of(name)).started
        compared = []

        def has_a_full_window(name=name, started=started, compared=compared):
            taken = newest_epoch(rig.heard().sentiments[name])[0]
            found = difference(taken, started, rig.config, loop, fuser)
            compared[:] = [] if found is None else [(taken, found)]
            return compared

        # A host that is back is given streams again: the newest epoch may have begun just now.
        wait_until(has_a_full_window, 30, f"a full window of {name}", step_s=0.5)
        taken, found = compared[0]
        for each in taken:
            assert each.end_s == pytest.approx(started.timestamp() + (each.seq + 1) * HOP_S, abs=0.05)
        if not found.spoken and not found.turned:
            silent += 1
            assert found.raw <= 0.05
            assert found.context <= 0.05
    return silent


def test_streams_outlive_their_hosts_and_a_host_that_was_given_up_is_not_heard_again(rig, recording):
    assert Counter(owner for owner, _ in rig.owners().values()) == {"h1": 3, "h2": 3, "h3": 3}
    heard = rig.heard().sentiments
    assert all(heard[name][-1].host == owner for name, (owner, _) in rig.owners().items())

    # A host is killed.
    lost = of_host(rig, "h1")
    killed_s = rig.harm("h1", signal.SIGKILL)
    wait_until(lambda: all(epoch > 1 for name, (_, epoch) in rig.owners().items() if name in lost), 10, "new hosts")
    rig.wait_speaking(30)
    for name in lost:
        taken, stale = newest_epoch(rig.heard().sentiments[name])
        assert stale == []
        assert next(each.at_s for each in taken if each.epoch == 2) - killed_s < 8
    rig.wait_ready(3, 60)
    time.sleep(rig.config.window.length_s)
    compared = check_as_if_nothing_had_happened(rig, lost, recording)

    # A host stands still for longer than its lease, and goes on.
    victim = Counter(owner for owner, _ in rig.owners().values()).most_common(1)[0][0]
    before = {name: epoch for name, (owner, epoch) in rig.owners().items() if owner == victim}
    rig.harm(victim, signal.SIGSTOP)
    wait_until(lambda: all(rig.owners()[name][1] > epoch for name, epoch in before.items()), 20, "new hosts")
    rig.wait_speaking(30)
    time.sleep(3.0)
    woken_s = rig.harm(victim, signal.SIGCONT)
    time.sleep(6.0)
    for name, epoch in before.items():
        taken, stale = newest_epoch(rig.heard().sentiments[name])
        assert len(stale) <= 2, "a client rejects them by their epoch"
        assert taken[-1].epoch > epoch
        assert taken[-1].at_s > woken_s + 3, "its heir goes on"
        assert gaps(taken) == 0
    assert {each.stream: each.status for each in rig.heard().statuses} == dict.fromkeys(rig.names, "online")
    compared += check_as_if_nothing_had_happened(rig, before, recording)
    assert compared > 0

    # A stream is moved, and a host emptied, by command.
    (name, (source, epoch)) = next(iter(rig.owners().items()))
    target = next(host for host in ("h1", "h2", "h3") if host != source)
    order(rig, "move", name=name, host=target)
    wait_until(lambda: rig.owners()[name] == (target, epoch + 1), 10, "the move")
    # The one with the fewest streams: in a minute no more are moved than a third, one host's part.
    emptied = Counter(owner for owner, _ in rig.owners().values()).most_common()[-1][0]
    order(rig, "drain", host=emptied)
    wait_until(lambda: not of_host(rig, emptied), 30, f"{emptied} to be empty")
    with pytest.raises(UsageError, match="no host h9"):
        order(rig, "drain", host="h9")
    with pytest.raises(UsageError, match="no stream s9999"):
        order(rig, "remove", name="s9999")
    with pytest.raises(UsageError, match="labels"):
        order(rig, "add", stream={"name": "usb", "camera": "0"})
    order(rig, "remove", name=name)
    wait_until(lambda: name not in rig.owners(), 5, "the stream to be gone")
    rig.names.remove(name)
    rig.wait_speaking(20)
    status = lambda: asyncio.run(ask_status(access_of(rig.config.mqtt), "agfn", "main"))  # noqa: E731
    wait_until(lambda: status()["hosts"][emptied]["state"] == "draining", 10, "the status to say so")


def test_up_status_and_down_work_from_the_command_line_and_a_fleet_goes_on_from_what_the_broker_keeps(
    mosquitto, tmp_path
):
    config = tmp_path / "fleet.yaml"
    settings = {"mqtt": {"url": mosquitto.url}, "asr": {"enabled": False}}
    hosts = [{"name": "left", "cores": 4.0, "labels": {"site": "here"}}]
    config.write_text(yaml.safe_dump({"hosts": hosts, "settings": settings}))

    def fleet(*options, check=True):
        command = [sys.executable, "-m", "realtime.fleet", options[0], "--config", str(config), *options[1:]]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=check)

    def up():
        command = [sys.executable, "-m", "realtime.fleet", "up", "--config", str(config)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def status():
        return asyncio.run(ask_status(access_of(MqttConfig(url=mosquitto.url)), "agfn", "main"))

    first = up()
    try:
        wait_until(lambda: _is_up(status), START_S, "the fleet is up", step_s=0.5)
        # Nobody listens at this address: the stream is lost, and yet a stream.
        fleet("add", "door", "--camera", "rtsp://127.0.0.1:9/door", "--label", "site=here")
        fleet("add", "attic", "--camera", "rtsp://127.0.0.1:9/attic", "--label", "site=there")
        wait_until(lambda: _spoke(mosquitto, "door"), START_S, "the stream speaks", step_s=0.5)
        # What the broker keeps is up to a second old.
        wait_until(lambda: "no host with site=there" in fleet("status").stdout, 10, "attic is said to have no host")
        refused = fleet("add", "hall", "--camera", "rtsp://me:secret@127.0.0.1/hall", check=False)
        assert refused.returncode == 2
        assert "secret@" not in refused.stderr
        fleet("down")
        _, said = first.communicate(timeout=30)
        assert first.returncode == 0, said
        assert "Traceback" not in said
        assert status()["state"] == "down"
    finally:
        first.kill()
    second = up()
    try:
        wait_until(lambda: _has(status(), "door"), START_S, "the fleet goes on", step_s=0.5)
        assert set(status()["streams"]) == {"door", "attic"}
        second.send_signal(signal.SIGTERM)
        _, said = second.communicate(timeout=30)
        assert second.returncode == 0, said
    finally:
        second.kill()


def _is_up(status):
    try:
        return status()["hosts"]["left"]["state"] == "ready"
    except (BrokerError, KeyError):
        return False


def _has(status, stream):
    """Whether a stream of an earlier run was given to a host again, by the next epoch."""
    held = status["streams"].get(stream, {})
    return status["state"] == "up" and (held.get("host"), held.get("epoch")) == ("left", 2)


def _spoke(mosquitto, stream):
    command = ["mosquitto_sub", "-p", str(mosquitto.port), "-t", f"agfn/{stream}/sentiment", "-C", "1", "-W", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout and json.loads(done.stdout)["epoch"] == 1
