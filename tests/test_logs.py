import json
import logging
import subprocess
import sys

from realtime.system.logs import JsonFormatter


def line_of(message, *args, **extra):
    record = logging.LogRecord("realtime.x", logging.WARNING, __file__, 1, message, args, extra.get("exc_info"))
    return JsonFormatter().format(record)


def test_a_record_is_one_line_of_json_with_its_time_in_utc():
    line = json.loads(line_of("camera %s lost", "0"))

    assert line["message"] == "camera 0 lost"
    assert (line["level"], line["logger"], line["thread"]) == ("warning", "realtime.x", "MainThread")
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-11-23T18:02:11.250Z")


def test_line_breaks_in_what_is_logged_forge_no_second_record():
    text = line_of("%s", 'a device named "x"\n{"level": "error", "message": "forged"}\r\n')

    assert "\n" not in text
    assert "forged" in json.loads(text)["message"]


def test_an_exception_comes_along_with_its_traceback():
    try:
        int("so")
    except ValueError:
        line = json.loads(line_of("failed", exc_info=sys.exc_info()))

    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("'so'")


def run(*options):
    command = [sys.executable, "-m", "realtime.run", "--log-format", "json", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_says_in_json_too_why_it_ends():
    done = run("--set", "no.such=1")

    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert json.loads(line)["level"] == "error"
    assert "unknown config key no" in json.loads(line)["message"]


def test_a_line_that_is_logged_while_native_code_has_set_standard_error_aside_is_not_lost():
    code = """
import os
from realtime.system import logs
logs.set_up("info", "text")
import logging
aside = os.dup(2)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as sounddevice does while it looks for devices
logging.getLogger("any").warning("plug one in")
os.dup2(aside, 2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING plug one in\n"
