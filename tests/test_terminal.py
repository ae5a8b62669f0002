import importlib
import io
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from test_messages import event, health, part, sentiment, silent

from realtime.clock import VirtualClock
from realtime.publish.messages import Origin, RecordingHealth, Words
from realtime.publish.outlet import Outlet
from realtime.system.format import signed
from realtime.terminal.render import ASCII, UNICODE, Snapshot, draw
from realtime.terminal.view import LogView, StreamHistory, TerminalView
from scripts.harness.mosquitto import wait_for

SECOND = 1_000_000_000


def trouble(**changes):
    return sentiment(
        **changes,
        modalities={
            "text": part(0.81, 0.9),
            "voice": part(0.19, 0.4, "noisy", "snr 3 dB"),
            "face": part(state="lost", cause="camera 0: no frame for 2 s"),
        },
    )


def lines(*streams, where="mqtt://127.0.0.1:1883", notes=(), glyphs=UNICODE, width=80, height=50):
    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False)
    console.print(draw(streams, where, notes, glyphs, width, height))
    return console.file.getvalue().splitlines()


def line_of(title, drawn):
    (line,) = [line for line in drawn if line.startswith(title)]
    return line


def test_the_screen_says_without_colour_what_is_lost_and_why():
    drawn = lines(Snapshot("desk", trouble()))

    assert "LOST" in line_of("face", drawn)
    assert "camera 0: no frame for 2 s" in line_of("face", drawn)
    assert "NOISY  snr 3 dB" in line_of("voice", drawn)
    assert "ok" in line_of("text", drawn)
    assert "degraded" in drawn[0]


def test_a_narrow_screen_has_room_for_the_cause():
    drawn = lines(Snapshot("desk", trouble()), width=60)

    assert "NOISY  snr 3 dB" in line_of("voice", drawn)
    assert "camera 0: no frame for 2 s" in line_of("face", drawn)
    assert "+0.20 to +2.10" in line_of("score", drawn)


def test_the_scale_tells_the_band_from_the_whiskers():
    told = {"score": 0.0, "raw": 0.0, "label": "neutral", "interval": (-2.0, 2.0)}
    banded, plain = (lines(Snapshot("desk", sentiment(**told, **more))) for more in ({"band": (-1.0, 1.0)}, {}))
    (scale,), (before,) = ([line for line in drawn if "-3 " in line and " +3" in line] for drawn in (banded, plain))

    assert scale.count(UNICODE.whisker) == pytest.approx(scale.count(UNICODE.range), abs=3)
    assert scale.index(UNICODE.whisker) < scale.index(UNICODE.range) < scale.rindex(UNICODE.range)
    assert scale.rindex(UNICODE.range) < scale.rindex(UNICODE.whisker)
    assert UNICODE.whisker not in before, "an older program gives no band"


def test_on_a_low_screen_the_oldest_events_give_way_and_the_keys_stay():
    events = [event().model_copy(update={"time_s": float(second)}) for second in range(4)]
    shot = Snapshot("desk", trouble(), events=events)
    drawn = {rows: lines(shot, notes=["warning: x"], height=rows) for rows in (24, 17, 10)}

    assert [sum(line.startswith("event") for line in drawn[rows]) for rows in drawn] == [4, 1, 0]
    assert len(drawn[17]) == 17
    assert "3.0 s" in drawn[17][-4]
    assert all("q quit" in shown[-1] for shown in drawn.values())


@pytest.mark.parametrize(("value", "text"), [(-0.004, "+0.00"), (0.0, "+0.00"), (-0.006, "-0.01"), (1.5, "+1.50")])
def test_nothing_has_no_minus(value, text):
    assert signed(value) == text
    assert text in line_of("score", lines(Snapshot("desk", sentiment(score=value))))


def recorded(*healths, width=80, glyphs=UNICODE):
    streams = [Snapshot(f"desk{i}", sentiment(), recording=each) for i, each in enumerate(healths)]
    return lines(*streams, width=width, glyphs=glyphs)[0]


def test_while_it_records_the_screen_says_so_and_how_much():
    writes = RecordingHealth(bytes=1_240_000, dropped=0, writing=True)
    assert "\u25cf REC numbers 1.2 MB" in recorded(writes)
    assert "* REC numbers 1.2 MB" in recorded(writes, glyphs=ASCII)
    assert "REC numbers + words 2.5 MB" in recorded(writes, writes.model_copy(update={"words": True}))
    assert "REC numbers 1.2 MB, 7 dropped" in recorded(RecordingHealth(bytes=1_240_000, dropped=7, writing=True))
    media = writes.model_copy(update={"words": True, "media": True})
    assert "REC numbers + words + picture + sound 1.2 MB" in recorded(media)
    assert "RECORDING FAILED" in recorded(RecordingHealth(bytes=0, dropped=3, writing=False))
    assert "REC" not in recorded(None)
    assert len(recorded(writes, width=60)) <= 60


def test_the_view_learns_of_the_recording_from_the_health_messages():
    memory = StreamHistory("desk")
    memory.health(health().model_copy(update={"recording": RecordingHealth(bytes=5, dropped=0, writing=True)}))
    assert memory.snapshot(0).recording.bytes == 5
    memory.health(health())
    assert memory.snapshot(0).recording is None


def test_the_screen_shows_score_interval_broker_and_that_it_analyses():
    drawn = lines(Snapshot("desk", sentiment()))

    assert "ANALYSING" in drawn[0]
    assert drawn[0].endswith("mqtt://127.0.0.1:1883")
    assert "+1.24  weakly positive" in line_of("score", drawn)
    assert "+0.20 to +2.10" in line_of("score", drawn)
    assert "52 ms" in line_of("lag", drawn)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    words = Words(committed="it was the best of times " * 9, tentative="it was the worst")
    notes = ["warning: " + "x" * 300]
    one = Snapshot("desk", trouble(), 9.0, [1.0] * 60, words, [event()] * 4)

    for drawn in (lines(one, notes=notes, width=width), lines(one, one, notes=notes, width=width)):
        assert max(len(line) for line in drawn) <= width
        assert len(drawn) <= 24


def test_bars_follow_the_weights():
    drawn = lines(Snapshot("desk", trouble()))
    text, voice, face = (line_of(name, drawn).count(UNICODE.full) for name in ("text", "voice", "face"))

    assert text > voice > face == 0


@pytest.mark.parametrize(("score", "place"), [(-3.0, 0.0), (0.0, 0.5), (3.0, 1.0)])
def test_the_mark_stands_where_the_score_is(score, place):
    drawn = lines(Snapshot("desk", sentiment(score=score, interval=(score, score))))
    (scale,) = [line for line in drawn if "-3 " in line and " +3" in line]
    inner = scale[scale.index("-3 ") + 3 : scale.index(" +3")]

    assert inner.index(UNICODE.mark) / (len(inner) - 1) == place


def test_a_second_without_score_leaves_a_gap_in_the_sparkline():
    drawn = lines(Snapshot("desk", sentiment(), history=[-3.0, None, 3.0]))

    assert line_of("last min", drawn).endswith(f"{UNICODE.spark[0]} {UNICODE.spark[-1]}")


def test_without_a_signal_there_is_no_number():
    drawn = lines(Snapshot("desk", silent()))

    assert "NO SIGNAL" in line_of("score", drawn)
    assert UNICODE.mark not in "".join(drawn)


def test_paused_is_said_in_place_of_analysing():
    drawn = lines(Snapshot("desk", silent(state="paused")))

    assert "PAUSED" in drawn[0]
    assert "ANALYSING" not in "".join(drawn)


def test_a_silent_program_is_noticed():
    assert "NO MESSAGE FOR 5 s" in "".join(lines(Snapshot("desk", sentiment(), age_s=5.0)))


def test_the_newest_words_are_kept_whole():
    words = Words(committed="first " + "and then " * 20 + "at last", tentative="perhaps")
    line = line_of("words", lines(Snapshot("desk", sentiment(), words=words)))

    assert line.endswith("at last perhaps")
    assert "first" not in line


def test_words_are_not_shown_unless_handed_over():
    assert "not shown" in line_of("words", lines(Snapshot("desk", sentiment())))


def test_several_streams_share_a_table_with_the_worst_cause_first():
    drawn = lines(Snapshot("desk", trouble()), Snapshot("door", sentiment()), Snapshot("hall"), width=120)

    assert "face lost: camera 0" in line_of("desk", drawn)
    assert "!" in line_of("desk", drawn)  # noisy, also where the cause has no room
    assert "weakly positive" in line_of("door", drawn)
    assert "waiting" in line_of("hall", drawn)


def test_a_terminal_without_unicode_gets_ascii():
    drawn = lines(Snapshot("desk", trouble(), history=[0.0]), glyphs=ASCII)

    assert "".join(drawn).isascii()


def test_memory_keeps_one_score_a_second_for_a_minute():
    memory = StreamHistory("desk")
    for quarter in range(4 * 100):
        memory.sentiment(sentiment(score=quarter / 400), quarter * SECOND // 4)
    history = memory.snapshot(100 * SECOND).history

    assert len(history) == 61
    assert history[0] == (40 * 4 + 3) / 400  # the last one of second 40
    assert history[-1] is None  # second 100 has just begun


def test_the_log_gets_a_line_a_second_at_most(caplog):
    clock = VirtualClock()
    with caplog.at_level(logging.INFO):
        view, outlet = LogView(["desk"], None, clock), Outlet()
        view.subscribe(outlet)
        caplog.clear()
        for quarter in range(12):
            clock.advance_to(quarter * SECOND // 4)
            outlet.send(trouble())

    assert len(caplog.records) == 3
    assert "face 0.00 (lost: camera 0: no frame for 2 s)" in caplog.text


def test_the_live_view_draws_gives_the_screen_back_and_ignores_strangers():
    out = io.StringIO()
    view = TerminalView(["desk"], None, lambda: None, Console(file=out, force_terminal=True, width=80, height=24))
    outlet = Outlet()
    view.subscribe(outlet)
    outlet.send(trouble())
    outlet.send(sentiment(stream="stranger"))
    logging.getLogger("camera").warning("camera 0 is gone")
    wait_for(lambda: "camera 0 is gone" in out.getvalue())
    view.close()

    assert "camera 0: no frame" in out.getvalue()
    assert "stranger" not in out.getvalue()
    assert out.getvalue().endswith("\x1b[?1049l")  # back from the alternate screen
    assert not any(type(handler).__name__ == "Notes" for handler in logging.getLogger().handlers)


def test_the_live_view_draws_streams_that_come_and_forgets_those_that_go():
    out = io.StringIO()
    view = TerminalView([], None, lambda: None, Console(file=out, force_terminal=True, width=80, height=24))
    outlet = Outlet()
    view.subscribe(outlet)
    wait_for(lambda: "no stream" in out.getvalue())
    outlet.came("hall", Origin())
    outlet.send(trouble(stream="hall"))
    wait_for(lambda: "camera 0: no frame" in out.getvalue())
    outlet.went("hall")
    outlet.send(trouble(stream="hall"))
    out.truncate(0)
    wait_for(lambda: "no stream" in out.getvalue())
    view.close()
    assert "camera 0: no frame" not in out.getvalue()


@pytest.mark.real
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pseudo-terminal")
def test_in_a_real_terminal_p_pauses_and_q_ends_and_the_terminal_is_restored():
    pty, termios = (importlib.import_module(name) for name in ("pty", "termios"))
    program = (
        "import signal, time\n"
        "from realtime.terminal.view import TerminalView\n"
        "over = []\n"
        "signal.signal(signal.SIGINT, lambda *_: over.append(1))\n"
        "presses = []\n"
        "view = TerminalView(['desk'], None, lambda: presses.append(1))\n"
        "begin = time.monotonic()\n"
        "while not over and time.monotonic() < begin + 20: time.sleep(0.02)\n"
        "view.close()\n"
        "print('pressed', len(presses), 'over', len(over))\n"
    )
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, stderr=slave, cwd=Path(__file__).parent.parent
    ) as process:
        seen = b""

        def until(text):
            nonlocal seen
            deadline = time.monotonic() + 15
            while text not in seen:
                assert time.monotonic() < deadline, seen
                if select.select([master], [], [], 0.2)[0]:
                    seen += os.read(master, 65536)

        try:
            until(b"ANALYSING")
            time.sleep(0.5)  # the keys are read from just after the first picture on
            os.write(master, b"pq")
            until(b"pressed 1 over 1")
        finally:
            process.send_signal(signal.SIGKILL)
    after = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)

    assert after == before
