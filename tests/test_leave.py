"""The end of the process: a thread that is left behind in native code does not turn a clean end into an abort."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import threading, time
from realtime.system.threads import leave
{thread}
print("said", end="")
leave({code})
"""


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("thread", ["", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"])
def test_the_exit_code_and_what_was_printed_survive(thread, code):
    program = PROGRAM.format(thread=thread, code=code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "said", "")


def test_a_thread_left_in_native_code_is_not_unwound():
    # At its normal end this Python calls threading's exit functions; leaving at once does not.
    program = PROGRAM.format(
        thread="threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "import atexit; atexit.register(print, 'unwound')",
        code=0,
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "said"
