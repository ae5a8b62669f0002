import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_messages import event, sentiment

from realtime.errors import UsageError
from realtime.publish.jsonlines import JsonLines

ROOT = Path(__file__).parent.parent


def test_every_message_is_a_line_in_order(tmp_path):
    file = tmp_path / "out.jsonl"
    sink = JsonLines(str(file))
    for seq in range(500):
        sink.send(sentiment(seq=seq))
    sink.send(event())
    sink.close()
    said = [json.loads(line) for line in file.read_bytes().splitlines()]

    assert [message["seq"] for message in said[:-1]] == list(range(500))
    assert said[-1]["schema"] == "agfn.event/1"
    assert sink.stats().dropped == 0


def test_what_comes_after_the_end_is_ignored(tmp_path):
    sink = JsonLines(str(tmp_path / "out.jsonl"))
    sink.close()
    sink.send(sentiment())

    assert sink.stats().pushed == 0


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere/out.jsonl: No such file"):
        JsonLines(str(tmp_path / "nowhere" / "out.jsonl"))


def test_standard_output_carries_the_lines():
    program = (
        ""
        "from test_messages import sentiment; from realtime.publish.jsonlines import JsonLines\n"
        "sink = JsonLines('-'); sink.send(sentiment()); sink.close()"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["tests", "."])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(out.stdout)["seq"] == 1
    assert out.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_is_said_once_and_does_not_raise(caplog):
    sink = JsonLines("/dev/full")
    for _ in range(50):
        sink.send(sentiment())
    sink.close()

    (warning,) = [record.getMessage() for record in caplog.records if "no more lines" in record.getMessage()]
    assert "/dev/full" in warning


def test_a_reader_that_does_not_read_costs_the_oldest_lines_not_the_sender():
    reader, writer = os.pipe()
    sink = JsonLines(f"/dev/fd/{writer}" if sys.platform != "win32" else "-")
    for seq in range(6000):
        sink.send(sentiment(seq=seq))
    stats = sink.stats()
    os.close(reader)
    sink.close()
    os.close(writer)

    assert stats.dropped > 0
    assert stats.pushed == stats.popped + stats.dropped + stats.pending == 6000
