"""What was freed goes back to the system, measured in a process of its own."""

import subprocess
import sys

import pytest

from realtime.system.malloc import return_freed

WORK = """
import sys, threading
import numpy as np, psutil
from realtime.system.malloc import return_freed
assert not {ours} or return_freed()
rng, kept = np.random.default_rng(0), []
def work():
    for _ in range(60):  # buffers of changing size, as a decoder has them, with something small kept in between
        buffers = [np.ones(int(size)) for size in rng.integers(50_000, 2_000_000, 8)]
        kept.append(np.ones(3000))
        del buffers
for _ in range(6):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(psutil.Process().memory_info().rss - sum(each.nbytes for each in kept))
"""


def megabytes_after(*, ours):
    code = WORK.replace("{ours}", str(ours))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_buffers_of_changing_size_leave_less_behind():
    # About 45 and 205 MB with glibc 2.36.
    assert megabytes_after(ours=True) < 0.6 * megabytes_after(ours=False)


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert return_freed() is False


HOLES = """
import psutil
from realtime.system.malloc import trim
blocks = [bytes(2000) for _ in range(50_000)]
pin = bytes(2000)  # above all of them: without trimming nothing below it goes back
rss = psutil.Process().memory_info
full = rss().rss
del blocks
before = rss().rss
trim()
print(full - before, full - rss().rss, len(pin))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_holes_go_back_when_they_are_trimmed():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    by_itself, trimmed, _ = map(int, done.stdout.split())
    assert by_itself < 50e6 < trimmed
