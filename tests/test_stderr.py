"""Standard error without what native sound libraries print: nothing else is lost, and nothing hangs."""

import os
import subprocess
import sys

import pytest

from realtime.system.stderr import CHATTER
from scripts.harness.camera import child_env

PORTAUDIO = "Expression 'PaAlsaStream_WaitForFrames( stream, &xrun )' failed in 'src/hostapi/alsa/pa.c', line: 4285"

PRINTS = """
import os, subprocess, sys
from realtime.system.stderr import filtered_stderr
print("before", file=sys.stderr)
with filtered_stderr():
    print("WARNING camera 0: went away", file=sys.stderr)
    os.write(2, b"{portaudio}\\nALSA lib pulse.c:242:(pulse_connect) refused\\nfree(): invalid pointer\\n")
    os.write(2, b"Expression 'no end of line'")
    os.write(2, b", line: none\\n")
    subprocess.run([sys.executable, "-c", "import sys; print('a child', file=sys.stderr)"])
    sys.stderr.write("x" * 300_000 + "\\nlast words without an end of line")
print("after", file=sys.stderr)
"""

LOSES_ITS_MICROPHONE = """
import os, signal, sys, time
from realtime.capture.microphone import Microphone
from realtime.system.stderr import filtered_stderr
from realtime.clock import MonotonicClock
from realtime.config import MicrophoneConfig
from realtime.errors import DeviceError
with filtered_stderr():
    microphone = Microphone("default", MicrophoneConfig(), MonotonicClock())
    microphone.open()
    try:
        while microphone.read():
            print("heard", flush=True)
    except DeviceError as error:
        print(error, file=sys.stderr)
    microphone.close()
    time.sleep(0.5)
"""


def test_everything_else_comes_through_in_its_order():
    done = subprocess.run(
        [sys.executable, "-c", PRINTS.replace("{portaudio}", PORTAUDIO)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    lines = done.stderr.splitlines()
    assert [line[:60] for line in lines] == [
        "before",
        "WARNING camera 0: went away",
        "free(): invalid pointer",
        "Expression 'no end of line', line: none",
        "a child",
        "x" * 60,
        "last words without an end of lineafter",
    ]
    assert len(lines[-2]) == 300_000


@pytest.mark.parametrize(
    "line", ["", "error: x", "INFO Expression 'a' failed in 'b', line: 3", "Expression of the face"]
)
def test_what_others_say_is_no_chatter(line):
    assert CHATTER.match(line.encode()) is None
    assert CHATTER.match(PORTAUDIO.encode())


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="PipeWire is there on Linux only")
def test_a_sound_server_that_dies_is_told_of_in_one_line(sound):
    program = subprocess.Popen(
        [sys.executable, "-c", LOSES_ITS_MICROPHONE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | child_env(sound),
    )
    assert program.stdout.readline() == "heard\n"
    sound.kill()
    _, said = program.communicate(timeout=20)
    assert said == "microphone default: went away; plug it in or restart the sound system\n"
