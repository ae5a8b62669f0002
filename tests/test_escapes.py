"""No text that a device, a recording or a person brings in reaches a terminal as something that it obeys."""

import io
import json
import logging
import sys
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_messages import health, part, sentiment

from realtime.capture import devices
from realtime.errors import SourceError
from realtime.export.__main__ import main as export
from realtime.export.formats import Csv
from realtime.publish.jsonlines import JsonLines
from realtime.publish.messages import EventMessage, RecordingHealth, Words
from realtime.report.__main__ import main as report
from realtime.run import main as run
from realtime.system.logs import JsonFormatter, PlainFormatter, printable_json, say_error
from realtime.terminal.render import ASCII, UNICODE, Snapshot, draw

ATTACKS = (
    "\x1b]52;c;ZXZpbA==\x07",  # sets the clipboard
    "\x1b[2J\x1b[H",
    "\x9b2J",  # the same in one C1 character
    "a\rb\x08\x7f",
    "\u202etxt.exe",  # turns what follows around
    "[link=file:///etc/passwd]x[/link]",  # rich's markup
    "[/nothing]",
)


def obeyed(text):
    return [each for each in text if not each.isprintable() and each != "\n"]


def event(evil):
    noon = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
    return EventMessage(stream=evil, id=evil, utc=noon, time_s=1, component=evil, kind="lost", cause=evil)


@pytest.mark.parametrize("evil", ATTACKS)
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("streams", [1, 2])
def test_the_view_draws_every_text_and_obeys_none(evil, glyphs, streams):
    modalities = {name: part(1.0 if name == "text" else 0.0, 0.5, "noisy", evil) for name in ("text", "voice", "face")}
    said = sentiment(stream=evil, modalities=modalities, text=Words(committed=evil, tentative=evil))
    shot = Snapshot(evil, said, 3.0, [1.0], said.text, [event(evil)], RecordingHealth(bytes=1, dropped=0, writing=True))
    file = io.StringIO()
    console = Console(file=file, width=120, height=40, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(draw([shot] * streams, f"mqtt://{evil}", [f"warning: {evil}"], glyphs, 120, 40))
    assert obeyed(file.getvalue()) == []
    assert "\x1b]8" not in file.getvalue()


@pytest.mark.parametrize("evil", ATTACKS)
@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_a_log_line_is_one_line_and_obeyed_by_no_terminal(evil, formatter):
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "lost: %s\nforged", (evil,), None)
    assert obeyed(formatter.format(record)) == []
    assert "\n" not in formatter.format(record)


def test_a_traceback_keeps_its_lines_and_is_cleaned():
    try:
        json.loads(f"{ATTACKS[0]}").nothing()
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    lines = PlainFormatter().format(record).split("\n")
    assert lines[0] == "ERROR failed"
    assert len(lines) > 3
    assert obeyed("".join(lines)) == []


@given(st.text())
def test_json_lines_keep_their_value_and_lose_their_power(text):
    line = printable_json(json.dumps({"x": text}, ensure_ascii=False))
    assert json.loads(line) == {"x": text}
    assert obeyed(line) == []


@pytest.mark.parametrize("evil", ATTACKS)
def test_messages_on_standard_output_are_cleaned(tmp_path, evil):
    sink = JsonLines(str(tmp_path / "out"))
    sink.send(event(evil))
    sink.send(health())
    sink.close()
    text = (tmp_path / "out").read_text()
    assert obeyed(text) == []
    assert json.loads(text.splitlines()[0])["cause"] == evil


@pytest.mark.parametrize("evil", ATTACKS)
def test_devices_are_listed_by_names_without_escapes(evil, monkeypatch, capsys):
    monkeypatch.setattr(devices, "cameras", lambda: [f"  0  {evil}  640x480"])
    monkeypatch.setattr(devices, "inputs", lambda: [f"  1  {evil}"])
    assert run(["--list-devices"]) == 0
    assert obeyed(capsys.readouterr().out) == []


@pytest.mark.parametrize("evil", ATTACKS)
def test_errors_and_file_names_are_cleaned(evil, tmp_path, capsys):
    say_error(SourceError(evil))
    assert report([str(tmp_path / evil), "-o", str(tmp_path / "x")]) == 3
    assert export([str(tmp_path / evil), "-o", str(tmp_path / evil)]) == 3
    assert run(["--source", evil, "--no-view", f"--{evil}"]) == 2
    assert obeyed(capsys.readouterr().err) == []


@pytest.mark.parametrize("evil", ATTACKS)
def test_a_table_opened_in_a_terminal_is_harmless(evil):
    file = io.BytesIO()
    sheet = Csv(file, ["x"])
    sheet.write([evil])
    sheet.close()
    assert obeyed(file.getvalue().decode()) == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =1", "plain", "1=1"])
def test_formulas_are_quoted_on_request(text):
    for quote in (False, True):
        file = io.BytesIO()
        sheet = Csv(file, ["x"], quote_formulas=quote)
        sheet.write([text])
        sheet.close()
        cell = file.getvalue().decode().splitlines()[1]
        calculated = text.strip()[0] in "=+-@"
        assert cell.startswith("'") == (quote and calculated)
