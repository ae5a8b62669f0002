"""BIDS and ELAN files of a recording, judged by BIDS's own validator and read by pympi."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path

import pympi
import pytest

from realtime.clock import VirtualClock
from realtime.errors import UsageError
from realtime.export.__main__ import main
from realtime.export.bids import SIGNALS, Bids, dataset, label_of
from realtime.export.columns import SENTIMENT
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import Sentiment
from scripts.harness.session import SAID, session

NAME = "sub-desk/beh/sub-desk_task-live"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the exports of a recorded session with words, and what the session said."""
    folder = tmp_path_factory.mktemp("export")
    sent = session(folder / "session", Fuser(WEIGHTS, "cpu", VirtualClock()), words=True)
    options = ["--format", "bids", "--format", "eaf", "--elan"]
    assert main([str(folder / "session"), "-o", str(folder / "out"), *options]) == 0
    return folder / "out", sent


def errors_in(folder):
    """The codes of the errors that BIDS's validator finds."""
    validator = Path(sysconfig.get_path("scripts")) / "bids-validator-deno"
    env = os.environ | {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    done = subprocess.run([str(validator), "--json", str(folder)], env=env, capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return {issue["code"] for issue in issues if issue["severity"] == "error"}


def test_the_dataset_passes_the_validator_and_a_damaged_one_does_not(made, tmp_path):
    assert errors_in(made[0] / "bids") == set()
    shutil.copytree(made[0] / "bids", tmp_path / "bids")
    about = tmp_path / "bids" / f"{NAME}_physio.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "SamplingFrequency": "often"}))
    assert errors_in(tmp_path / "bids") != set()


def test_the_signals_are_those_that_were_published_on_their_grid(made):
    about = json.loads((made[0] / "bids" / f"{NAME}_physio.json").read_text())
    assert about["SamplingFrequency"] == 4
    assert all({"Description", "Units"} <= about[name].keys() for name in about["Columns"])
    rows = gzip.decompress((made[0] / "bids" / f"{NAME}_physio.tsv.gz").read_bytes()).decode().splitlines()
    values = [dict(zip(about["Columns"], row.split("\t"), strict=True)) for row in rows]
    messages = [message for message in made[1] if isinstance(message, Sentiment) and message.reason == "hop"]
    assert len(rows) == len(messages) == len([each for each in made[1] if isinstance(each, Sentiment)]) - 1
    assert about["StartTime"] == messages[0].window.end_s
    for message in messages:
        row = values[round((message.window.end_s - about["StartTime"]) * about["SamplingFrequency"])]
        wanted = "n/a" if message.score is None else f"{message.score:g}"
        assert (row["score"], row["face_weight"]) == (wanted, f"{message.modalities['face'].weight:g}")


def test_events_and_words_are_in_their_order_with_their_times(made):
    with (made[0] / "bids" / f"{NAME}_events.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [float(row["onset"]) for row in rows] == sorted(float(row["onset"]) for row in rows)
    assert [row["value"] for row in rows if row["trial_type"] == "word"] == list(SAID)
    assert [row["kind"] for row in rows if row["trial_type"] == "event"]
    meanings = json.loads((made[0] / "bids" / f"{NAME}_events.json").read_text())
    assert set(rows[0]) == {"onset", "duration", *meanings}


def test_a_missing_window_is_a_row_without_values():
    bids = Bids(0.25)
    for number in (4, 5, 8):
        row = dict.fromkeys((column.name for column in SENTIMENT), None) | {"end_s": number * 0.25, "score": number / 8}
        row["reason"] = "hop"
        bids.take("sentiment", list(row.values()))
    files = {kind: Sink() for kind in ("physio.tsv.gz", "physio.json", "events.tsv", "events.json")}
    bids.write(files)
    scores = [line.split("\t")[0] for line in gzip.decompress(files["physio.tsv.gz"].content).decode().splitlines()]
    assert scores == ["0.5", "0.625", "n/a", "n/a", "1"]
    assert json.loads(files["physio.json"].content)["StartTime"] == 1


class Sink:
    """A file that keeps its content."""

    def __init__(self):
        self.content = b""

    def write(self, data):
        self.content += data
        return len(data)

    def flush(self):
        pass


def test_names_of_streams_become_labels_and_two_that_would_be_one_are_refused():
    assert label_of("front-desk_2.x") == "frontdesk2x"
    with pytest.raises(UsageError, match="same letters and digits"):
        dataset(["desk-1", "desk1"])
    assert len(SIGNALS) == 17


def test_the_eaf_is_read_back_with_the_annotations_of_the_table(made):
    read = pympi.Eaf(str(made[0] / "desk.eaf"), suppress_version_warning=True)
    with (made[0] / "desk.elan.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert set(read.get_tier_names()) == {row["tier"] for row in rows}
    for tier in read.get_tier_names():
        wanted = [
            (round(float(row["begin_s"]) * 1000), round(float(row["end_s"]) * 1000), row["annotation"])
            for row in rows
            if row["tier"] == tier
        ]
        assert [each[:3] for each in sorted(read.get_annotation_data_for_tier(tier))] == wanted
    assert ET.parse(made[0] / "desk.eaf").getroot().tag == "ANNOTATION_DOCUMENT"


def test_the_files_are_for_their_owner_only_and_never_written_over(made, capsys):
    files = [path for path in made[0].rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o077) for path in files} == {"0o0"}
    assert main([str(made[0].parent / "session"), "-o", str(made[0]), "--bids"]) == 2
    assert "is there already" in capsys.readouterr().err
