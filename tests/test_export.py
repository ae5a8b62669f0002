"""Exports: tables that pandas opens, times that ELAN takes, columns that are documented, nothing half written."""

import csv
import itertools
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from test_messages import sentiment

from realtime.clock import VirtualClock
from realtime.export.__main__ import main
from realtime.export.columns import TABLES, described
from realtime.fuse.worker import WEIGHTS, Fuser
from realtime.publish.messages import EventMessage, Health, Sentiment
from realtime.recording.journal import Entry
from realtime.recording.reader import open_recordings
from realtime.recording.writer import Recorder
from scripts.harness.session import SAID, session

DOCS = Path(__file__).resolve().parent.parent / "docs" / "recording.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recorded session with words, its messages, and all its exports."""
    folder = tmp_path_factory.mktemp("export")
    sent = session(folder / "session", Fuser(WEIGHTS, "cpu", VirtualClock()), words=True, further=True)
    options = ["--csv", "--tsv", "--parquet", "--elan"]
    assert main([str(folder / "session"), "-o", str(folder / "out"), *options]) == 0
    return folder, sent


def of(sent, kind):
    return [message for message in sent if isinstance(message, kind)]


def test_every_format_holds_the_same_tables(made):
    folder, _ = made
    assert len(list((folder / "out").iterdir())) == 3 * len(TABLES) + 1
    for table, columns in TABLES.items():
        frames = [
            pd.read_csv(folder / "out" / f"desk.{table}.csv"),
            pd.read_csv(folder / "out" / f"desk.{table}.tsv", sep="\t"),
            pd.read_parquet(folder / "out" / f"desk.{table}.parquet"),
        ]
        assert len(frames[0]) > 0
        for frame in frames:
            assert list(frame.columns) == [column.name for column in columns]
            pd.testing.assert_frame_equal(frame.isna(), frames[0].isna())
            for column in columns:
                if column.kind in {"int", "float"}:
                    pd.testing.assert_series_equal(
                        frame[column.name].astype(float), frames[0][column.name].astype(float)
                    )


def test_scores_are_those_that_were_published(made):
    folder, sent = made
    table = pd.read_parquet(folder / "out" / "desk.sentiment.parquet")
    messages = of(sent, Sentiment)
    assert table["seq"].tolist() == [message.seq for message in messages]
    assert table["end_s"].tolist() == [message.window.end_s for message in messages]
    for row, message in zip(table.to_dict("records"), messages, strict=True):
        assert row["state"] == message.state
        assert (None if pd.isna(row["score"]) else row["score"]) == message.score
        assert (None if pd.isna(row["low"]) else (row["low"], row["high"])) == message.interval
        assert row["face_weight"] == message.modalities["face"].weight
        assert row["latency_total_ms"] == message.latency_ms.total


def test_rows_of_scores_follow_each_other_without_overlap(made):
    table = pd.read_csv(made[0] / "out" / "desk.sentiment.csv")
    assert table["begin_s"][0] == 0
    assert table["begin_s"][1:].tolist() == table["end_s"][:-1].tolist()
    assert (table["window_begin_s"] <= table["begin_s"]).all()
    assert table["end_s"][table["reason"] == "word"].tolist() == [1.44]
    assert ((table["end_s"][table["reason"] == "hop"] / 0.25) % 1 == 0).all()


def test_words_sit_at_their_times_and_appear_once(made):
    table = pd.read_csv(made[0] / "out" / "desk.words.csv")
    assert table["word"].tolist() == SAID
    assert table["begin_s"].tolist() == pytest.approx([0.8 + 0.3 * i for i in range(len(SAID))])
    assert (table["end_s"] - table["begin_s"]).tolist() == pytest.approx([0.25] * len(SAID))
    assert table["committed"].all()


def test_events_and_drops_are_there(made):
    folder, sent = made
    events = pd.read_csv(folder / "out" / "desk.events.csv")
    assert events["kind"].tolist() == [message.kind for message in of(sent, EventMessage)]
    assert {"lost", "paused", "resumed"} <= set(events["kind"])
    health = pd.read_csv(folder / "out" / "desk.health.csv")
    assert (health["recording_dropped"] == 0).all()
    assert health["time_s"].is_monotonic_increasing
    face = pd.read_csv(folder / "out" / "desk.components.csv").iloc[-1]
    assert (face["component"], face["dropped"], face["pending"], bool(face["lost"])) == ("face", 1, 1, False)
    assert face["pushed"] == face["popped"] + face["dropped"] + face["pending"]
    assert not of(sent, Health)


def test_features_keep_their_bits(made):
    folder, _ = made
    [recording] = open_recordings(folder / "session")
    voices = [list(entry.item.values) for entry in recording.entries() if entry.topic == "voice"]
    for name in ("desk.voice.csv", "desk.voice.parquet"):
        table = (pd.read_csv if name.endswith("csv") else pd.read_parquet)(folder / "out" / name)
        assert table.iloc[7, 1:].astype("float32").tolist() == voices[7]


def test_parquet_carries_the_meaning_of_each_column(made):
    schema = pyarrow.parquet.read_schema(made[0] / "out" / "desk.sentiment.parquet")
    assert schema.field("score").metadata[b"meaning"].startswith(b"smoothed sentiment")
    assert str(schema.field("seq").type) == "int64"


def test_annotations_never_overlap(made):
    with (made[0] / "out" / "desk.elan.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    tiers = {row["tier"] for row in rows}
    assert tiers == {"score", "label", "text gate", "voice gate", "face gate", "events", "words"}
    for tier in tiers:
        spans = [(float(row["begin_s"]), float(row["end_s"])) for row in rows if row["tier"] == tier]
        assert all(begin < end for begin, end in spans)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert [row["annotation"] for row in rows if row["tier"] == "words"] == SAID
    face = [(row["annotation"], float(row["begin_s"])) for row in rows if row["tier"] == "face gate"]
    assert any(state == "lost" and 1.7 <= begin_s <= 3 for state, begin_s in face)


def test_without_consent_times_are_there_and_words_are_not(tmp_path):
    session(tmp_path / "session", Fuser(WEIGHTS, "cpu", VirtualClock()), 4.0)
    assert main([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--tables", "words", "--csv", "--elan"]) == 0
    table = pd.read_csv(tmp_path / "out" / "desk.words.csv")
    assert len(table) > 3
    assert table["word"].isna().all()
    assert table["sentiment"].notna().all()
    assert "words\t" not in (tmp_path / "out" / "desk.elan.tsv").read_text()


def test_every_stream_of_a_folder_is_exported_and_a_choice_of_tables_is_kept(tmp_path, capsys):
    for name in ("left", "right"):
        session(tmp_path / "session", Fuser(WEIGHTS, "cpu", VirtualClock()), 1.0, name=name)
    assert main([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--tables", "sentiment,events"]) == 0
    names = [f"{name}.{table}.csv" for name in ("left", "right") for table in ("sentiment", "events")]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


def test_a_cut_recording_is_exported_as_far_as_it_goes(made, tmp_path, capsys):
    content = (made[0] / "session" / "desk.mcap").read_bytes()
    (tmp_path / "desk.mcap").write_bytes(content[:-400])
    assert main([str(tmp_path / "desk.mcap"), "-o", str(tmp_path / "out")]) == 0
    assert "warning:" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "out" / "desk.sentiment.csv")) > 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["{session}"], 2, "name the recording and the output"),
        (["{session}", "-o", "{out}"], 2, "there already"),
        (["{session}", "-o", "{tmp}/new", "--tables", "words,letters"], 2, "no table letters"),
        (["{session}", "-o", "{session}/desk.mcap/x"], 2, "Not a directory"),
        (["{tmp}", "-o", "{tmp}/new"], 3, "no recording there"),
        (["{here}", "-o", "{tmp}/new"], 3, "no recording of AGFN Live"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(made, tmp_path, capsys, options, code, said):
    places = {"session": made[0] / "session", "out": made[0] / "out", "tmp": tmp_path, "here": __file__}
    assert main([option.format(**places) for option in options]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "new"])


def damaged(folder, topic, body):
    about = {"stream": "desk", "words": False, "window": {"hop_s": 0.25}}
    recorder = Recorder(folder, "desk", about, words=False, failed=pytest.fail)
    recorder.note(Entry(1, "tick", 1))
    recorder._push(2, topic, json.dumps(body))
    recorder.close()


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("sentiment", {"score": "much"}),
        ("sentiment", {"seq": 1 << 70}),
        ("event", {"time_s": True}),
        ("health", {"components": []}),
        ("face", {"values": 7}),
        ("text", [1]),
        ("begin", {}),
    ],
)
def test_a_damaged_entry_is_said_and_leaves_no_half_files(tmp_path, capsys, topic, body):
    damaged(tmp_path / "session", topic, body)
    assert main([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--parquet", "--csv"]) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "damaged" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_keys_that_are_not_known_yet_are_left_out_and_those_that_came_later_are_empty(tmp_path):
    body = json.loads(sentiment().to_json()) | {"a_later_key": 1}
    del body["context"], body["faces"]  # both were added within version 1
    damaged(tmp_path / "session", "sentiment", body)
    assert main([str(tmp_path / "session"), "-o", str(tmp_path / "out"), "--parquet", "--elan"]) == 0
    [row] = pd.read_parquet(tmp_path / "out" / "desk.sentiment.parquet").to_dict("records")
    assert row["score"] == 1.24
    assert pd.isna(row["context"])


def test_without_pyarrow_parquet_says_how_to_get_it(made, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main([str(made[0] / "session"), "-o", str(tmp_path / "new"), "--parquet"]) == 2
    assert "pip install" in capsys.readouterr().err
    assert main([str(made[0] / "session"), "-o", str(tmp_path / "new"), "--csv"]) == 0


def test_the_columns_are_documented(capsys):
    assert main(["--columns"]) == 0
    assert capsys.readouterr().out.strip() == described().strip()
    assert described().strip() in DOCS.read_text()
