"""From its start to after its exit the program looks up no name and connects to nobody that it was not told of."""

import os
import re
import subprocess
import sys

import pytest

from scripts.harness.processes import need

OUTSIDE = re.compile(
    r"connect\(.*AF_INET|(sendto|sendmsg|sendmmsg)\(.*AF_INET"  # also what a resolver asks
    r"|/etc/(resolv\.conf|hosts)\b|io\.systemd\.Resolve|resolve/.*stub"
)
"""Of a look-up what no other one does: the names of users are asked for by nscd and nsswitch.conf, too."""
FACE = """
import os, sys, time
import numpy as np
from models.zoo import path
from realtime.config import FaceConfig
from realtime.extract.face.extractor import FaceExtractor
from realtime.types import Frame
os.environ["no_proxy"] = "*"
face = FaceExtractor(FaceConfig(), path("face"))
for number in range(3):
    face.feed(Frame(number * 40_000_000, np.zeros((120, 160, 3), np.uint8)))
face.close()
time.sleep(1.5)  # reports leave by a thread of their own
"""


def watched(tmp_path, *command):
    """What a program and its children did that has to do with names and other machines, until the last one ended."""
    need("strace")
    trace = tmp_path / "trace"
    calls = "trace=connect,sendto,sendmsg,sendmmsg,openat"
    line = ["strace", "-f", "-qq", "-s", "200", "-e", calls, "-o", str(trace), sys.executable, *map(str, command)]
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=170, env=env)
    assert done.returncode == 0, done.stderr
    return [each for each in trace.read_text(errors="replace").splitlines() if OUTSIDE.search(each)]


@pytest.mark.real
def test_the_watch_sees_a_look_up_and_a_connection(tmp_path):
    look_up = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('a.invalid', 443)"
    assert watched(tmp_path, "-c", look_up)
    connect = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    assert watched(tmp_path, "-c", connect)


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(180)
def test_the_face_models_report_nothing_when_they_are_closed(tmp_path):
    assert watched(tmp_path, "-c", FACE) == []


@pytest.mark.real
@pytest.mark.models
@pytest.mark.timeout(180)
def test_a_whole_run_reports_nothing_until_after_its_exit(clip, tmp_path):
    options = ["--source", clip, "--pace", "fast", "--mqtt", "off", "--no-view", "--output", tmp_path / "out.jsonl"]
    seen = watched(tmp_path, "-m", "realtime.run", *options)
    assert '"face":{"weight":0.' in (tmp_path / "out.jsonl").read_text()
    assert seen == []


def test_the_users_own_proxy_stays_for_python_and_its_children():
    code = (
        "import os, subprocess, sys, urllib.request\n"
        "from realtime.extract.face.mediapipe_options import refuse_reports\n"
        "refuse_reports()\n"
        "show = 'import os; print(os.environ.get(\"https_proxy\"))'\n"
        "print(urllib.request.getproxies()['https'], flush=True)\n"
        "subprocess.run([sys.executable, '-c', show], env=dict(os.environ), check=True)\n"
    )
    env = os.environ | {"https_proxy": "http://proxy.lan:3128"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["http://proxy.lan:3128"] * 2
