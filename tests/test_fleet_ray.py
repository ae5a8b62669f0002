"""A fleet on a Ray cluster of two nodes on this machine: a node dies, and its streams go on elsewhere."""

import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from realtime.errors import UsageError
from realtime.fleet import ray_engine
from realtime.fleet.config import RayConfig
from scripts.fleeting.arrivals import newest_epoch
from scripts.fleeting.rays import Cluster
from scripts.fleeting.rig import Rig
from scripts.harness.processes import wait_until

ROOT = Path(__file__).resolve().parent.parent
RAY_FILE = Path("realtime/fleet/ray_engine.py")
PERIOD = "RAY_health_check_period_ms"
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra fleet is not installed")


def test_one_file_of_the_program_imports_ray_and_only_where_it_is_asked_for():
    importing = {
        path.relative_to(ROOT)
        for path in (ROOT / "realtime").rglob("*.py")
        if "import ray" in path.read_text(encoding="utf-8") or "from ray" in path.read_text(encoding="utf-8")
    }
    assert importing == {RAY_FILE}
    code = "import sys, realtime.app, realtime.fleet.fleet, realtime.fleet.live, realtime.fleet.ray_engine\n"
    code += "sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_the_extra_its_engine_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"agfn-live\[fleet\]"):
        ray_engine.import_ray()


def test_authentication_is_on_and_reports_to_others_are_off_unless_the_user_says_otherwise(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(PERIOD, "9000")
    ray_engine.ray_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ[PERIOD] == "9000"


def test_a_head_that_is_gone_holds_up_nobody_and_its_nodes_are_taken_to_be_as_they_were(monkeypatch, caplog):
    gone, back = threading.Event(), threading.Event()

    def nodes():
        if gone.is_set():
            back.wait(10)
            raise RuntimeError("the head is gone")
        return [{"Alive": True, "Resources": {"CPU": 2.0}, "Labels": {"agfn.host": "left"}, "NodeID": "1"}]

    ray = MagicMock()
    ray.is_initialized.return_value = True
    ray.nodes.side_effect = nodes
    monkeypatch.setattr(ray_engine, "import_ray", lambda **_: ray)
    monkeypatch.setattr(ray_engine, "NODES_EVERY_S", 0.01)
    engine = ray_engine.RayEngine(RayConfig(), "module:factory", {})
    try:
        wait_until(engine.poll, 5, "the host")
        asked = ray.nodes.call_count
        gone.set()
        wait_until(lambda: ray.nodes.call_count > asked, 5, "the question that waits")
        assert set(engine.poll()) == {"left"}, "and does not wait"
        back.set()
        wait_until(lambda: "does not answer: the head is gone" in caplog.text, 5, "the warning")
        assert set(engine.poll()) == {"left"}
        gone.clear()
        wait_until(lambda: "answers again" in caplog.text, 5, "the end of it")
        assert caplog.text.count("does not answer") == 1
    finally:
        back.set()
        engine.close()


@needs_ray
@pytest.mark.real
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_the_streams_of_a_node_that_dies_go_on_elsewhere_by_the_next_epoch(recording, tmp_path):
    with Cluster(2) as cluster:
        rig = Rig(tmp_path, recording, cluster.engine, hop_s=0.5, streams=6)
        try:
            rig.wait_ready(2)
            rig.wait_speaking()
            assert cluster.listens_at() <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
            assert {host["labels"]["site"] for host in rig.hosts().values()} == {"here"}
            node = cluster.a_node(rig)
            lost = [name for name, (host, _) in rig.owners().items() if host == node.host]
            assert lost
            died_s = time.time()
            node.kill()
            wait_until(lambda: all(rig.owners()[name][0] not in {None, node.host} for name in lost), 20, "new hosts")
            rig.wait_speaking(30)
            for name in lost:
                taken, _ = newest_epoch(rig.heard().sentiments[name])
                assert {each.epoch for each in taken} == {1, 2}
                assert next(each.at_s for each in taken if each.epoch == 2) - died_s < 10
        finally:
            rig.close()
