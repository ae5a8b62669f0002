"""Hosts in processes of their own: asked, killed, slow, and gone with their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from realtime.fleet.engine import HostError
from realtime.fleet.local_engine import LocalEngine, LocalHost
from scripts.harness.processes import wait_until

FACTORY = "scripts.harness.counting:counting_session"
ANSWER_S = 20.0


def engine_of(*names, **options):
    return LocalEngine([LocalHost(name, 1.0) for name in names], FACTORY, options)


def wait_up(engine, *names):
    wait_until(lambda: all(engine.poll()[name].up for name in names), 60, "the hosts are up")


@pytest.fixture
def engine():
    made = engine_of("h1", "h2", says="what a library prints does not disturb the answers")
    wait_up(made, "h1", "h2")
    yield made
    made.close()


def add(engine, host, name, epoch=1, state=None):
    order = {"spec": {"name": name}, "epoch": epoch, "state": state}
    return engine.ask(host, "add", streams=[order])


def test_hosts_do_what_they_are_asked_and_a_dead_one_says_so_and_comes_back(engine):
    assert add(engine, "h1", "a", 3, {"count": 100}).result(ANSWER_S) == {"failed": {}}
    assert add(engine, "h1", "broken").result(ANSWER_S) == {"failed": {"broken": "it is broken"}}
    report = engine.ask("h1", "report").result(ANSWER_S)
    assert report["streams"]["a"]["epoch"] == 3
    assert report["streams"]["a"]["state"]["count"] >= 100
    assert report["rss_mb"] > 1
    assert add(engine, "h1", "a", 2, {"count": 0}).result(ANSWER_S) == {"failed": {}}
    assert engine.ask("h1", "remove", streams={"a": 2}).result(ANSWER_S) == {"states": {}}, "an older order is void"
    slow = add(engine, "h1", "slow")
    began_s = time.monotonic()
    engine.ask("h1", "report").result(ANSWER_S)
    assert time.monotonic() - began_s < 1.5, "a report does not wait for a slow change"
    assert not slow.done()
    assert slow.result(ANSWER_S) == {"failed": {}}
    states = engine.ask("h1", "remove", streams={"a": 3}).result(ANSWER_S)["states"]
    assert states["a"]["count"] >= 100
    waiting = add(engine, "h1", "slow2")
    os.kill(engine.pids()["h1"], signal.SIGKILL)
    with pytest.raises(HostError):
        waiting.result(ANSWER_S)
    info = engine.poll()
    assert (info["h1"].up, info["h2"].up) == (False, True)
    with pytest.raises(HostError):
        engine.ask("h1", "report").result(ANSWER_S)
    wait_up(engine, "h1")
    assert (engine.poll()["h1"].run, engine.poll()["h2"].run) == (2, 1)
    assert engine.ask("h1", "report").result(ANSWER_S)["streams"] == {}


def test_a_host_that_cannot_start_is_tried_again_with_longer_waits():
    engine = engine_of("h1", fails=True)
    try:
        wait_until(lambda: engine.poll()["h1"].run >= 2, 60, "a second try")
        assert not engine.poll()["h1"].up
    finally:
        engine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of the pipe ends them, if they read it")
def test_hosts_die_with_their_parent_even_one_that_stands_still():
    code = f"""
        import sys, time
        from realtime.fleet.local_engine import LocalEngine, LocalHost
        engine = LocalEngine([LocalHost(name, 1.0) for name in ("h1", "h2")], {FACTORY!r}, {{}})
        while not all(host.up for host in engine.poll().values()):
            time.sleep(0.05)
        print(*engine.pids().values(), flush=True)
        time.sleep(60)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        hosts = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(hosts) == 2
        hosts[0].suspend()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    gone, left = psutil.wait_procs(hosts, timeout=10)
    assert (len(gone), left) == (2, [])
