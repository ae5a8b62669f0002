"""The soak, for half a minute: that it breaks things, survives, and says so in the promised line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import soak

ROOT = Path(__file__).resolve().parent.parent
KEYS = {
    "minutes",
    "faults",
    "kinds",
    "violations",
    "noticed_p95_s",
    "recovered_p95_s",
    "cadence_gap_max_hops",
    "memory_slope_mb_per_min",
    "threads_growth",
    "fds_growth",
}


def test_growth_is_what_comes_after_the_warm_up():
    usage = soak.Usage()
    for second in range(400):
        warm = min(second, 100)
        own = usage.samples.setdefault(2, [])
        own.append((float(second), 500 + 3.0 * warm + 0.05 * second, 20 + second // 200, 50))
    usage.samples[3] = [(400.0 + second, 9_000.0 * second, 1, 1) for second in range(9)]  # a shorter run
    slope, threads, descriptors = usage.trend()
    assert slope == pytest.approx(3.0, rel=0.05)
    assert (threads, descriptors) == (1, 0)


def test_the_table_has_a_row_per_kind_of_fault():
    outcomes = [soak.Outcome("b", 1.0, 2.0), soak.Outcome("a"), soak.Outcome("b", 3.0, 4.0)]
    first, second = soak.table(outcomes).splitlines()[2:]
    assert first == "| a | 1 | - | - | - | - |"
    assert second == "| b | 2 | 2.00 s | 3.00 s | 3.00 s | 4.00 s |"


@pytest.mark.real
@pytest.mark.models
@pytest.mark.usefixtures("v4l2_library", "sound", "mosquitto")  # says so, and skips, where a part is missing
def test_a_short_soak_breaks_things_and_nothing_else_breaks(clip):
    done = subprocess.run(
        [sys.executable, "-m", "scripts.soak", "--minutes", "0.3", "--chaos", "6", "--clip", str(clip)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() >= KEYS
    assert result["violations"] == 0
    assert result["faults"] >= 2
