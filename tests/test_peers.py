"""Recognisers side by side: scored alike by their texts, each in a process and an environment of its own."""

import sys
import time

import numpy as np
import pytest

from realtime.types import NS_PER_S, Transcript, Word
from scripts.benchmarks import appeared, lag, live, peer_child, peer_environment, peers, report
from scripts.benchmarks.appeared import Shown
from scripts.benchmarks.peer_environment import PEERS, Peer, PeerError, python_of
from scripts.benchmarks.sound import Clip
from scripts.benchmarks.words import TimedText
from scripts.harness import talking
from scripts.harness.sound import write_wav

SAID = "it was very very good and it was not long"


def spoken(text=SAID, every_s=0.5):
    """A clip whose words take 0.4 s each, one every half second."""
    words = [TimedText(word, every_s * n, every_s * n + 0.4) for n, word in enumerate(text.split())]
    return Clip("made", np.zeros(16000, np.float32), text, tuple(words))


def late(found):
    return [(round(one.tentative_s, 3), round(one.committed_s, 3)) for one in found]


def test_a_word_has_appeared_when_it_is_shown_and_is_committed_when_the_committed_text_has_grown_to_it():
    shown = [
        Shown(0.5, "", "it"),
        Shown(1.0, "", "It was."),
        Shown(1.5, "it", "is very"),
        Shown(3.0, "it was very", "very good"),
        Shown(4.0, "it was very very good", ""),
    ]
    assert late(appeared.lags(spoken("it was very very good"), shown)) == [
        (0.1, 1.1),
        (0.1, 2.1),
        (0.1, 1.6),
        (1.1, 2.1),
        (0.6, 1.6),
    ]


def test_a_word_that_is_said_twice_has_not_appeared_twice_when_it_is_shown_once():
    first = [Shown(2.0, "", "it was very"), Shown(3.0, "it was very very good", "")]
    found = appeared.lags(spoken("it was very very good"), first)
    assert [round(one.tentative_s + one.end_s, 3) for one in found] == [2.0, 2.0, 2.0, 3.0, 3.0]


def test_what_is_wrong_in_the_end_has_no_lag_and_what_is_shown_before_it_is_said_is_no_appearance():
    shown = [Shown(0.2, "", "it was"), Shown(2.0, "it is very very", "good"), Shown(9.0, "it is very very bad", "")]
    found = appeared.lags(spoken("it was very very good"), shown)
    assert [one.end_s for one in found] == pytest.approx([0.4, 1.4, 1.9])
    assert found[0].tentative_s == pytest.approx(-0.2)
    assert appeared.lags(spoken(), []) == []


def test_texts_alone_give_the_same_lags_as_texts_with_times():
    clip = spoken("it was the best of all films that we have seen")
    words = [
        Word(int(one.start_s * NS_PER_S), int(one.end_s * NS_PER_S), one.text, 0.9, committed=True)
        for one in clip.words
    ]
    run = live.Run(5.0, 5.0)
    for count in range(1, len(words) + 1):
        done = max(0, count - 3)
        before = max(0, count - 4)
        update = Transcript(words[count - 1].end_ns, tuple(words[before:done]), tuple(words[done:count]))
        run.updates.append((words[count - 1].end_ns / NS_PER_S + 0.2, update))
    run.updates.append((6.0, Transcript(words[-1].end_ns, tuple(words[-3:]), ())))
    with_times = lag.word_lags(clip, run)
    by_text = appeared.lags(clip, appeared.shown_by(run))
    assert late(by_text) == late(with_times)
    assert {one for one, _ in late(by_text)} == {0.2}


def child(code):
    return [sys.executable, "-c", f"import json, sys, time\ndef say(**o): print(json.dumps(o), flush=True)\n{code}"]


def test_a_recogniser_is_told_when_to_begin_and_its_work_from_then_on_is_counted():
    code = """
end = time.process_time() + 0.3
while time.process_time() < end: pass
say(ready=True)
sys.stdin.readline()
end = time.process_time() + 0.3
while time.process_time() < end: pass
say(at_s=0.5, committed="it was", tentative="very")
say(end=True)
sys.stdin.read()
"""
    shown, usage = peers.hear(child(code), peer_environment.environ("ours"), 1.0)
    assert shown == [Shown(0.5, "it was", "very")]
    assert usage["cores"] == pytest.approx(0.3, abs=0.06)
    assert usage["rss_mb"] > 3


@pytest.mark.parametrize(
    "before", ["", "say(ready=True)\nsys.stdin.readline()\nsay(at_s=1, committed='', tentative='it')\n"]
)
def test_a_recogniser_that_fails_says_why_in_one_line_without_addresses(before):
    code = before + "raise ConnectionError('no model at https://models.example/tiny')"
    with pytest.raises(PeerError) as caught:
        peers.hear(child(code), peer_environment.environ("ours"), 1.0)
    assert str(caught.value) == "does not run: ConnectionError: no model at ..."


def test_a_peer_is_asked_in_the_environment_of_the_user_without_what_we_set_for_our_own(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert "OPENBLAS_NUM_THREADS" not in peer_environment.environ("moonshine")
    assert peer_environment.environ("ours")["OPENBLAS_NUM_THREADS"] == "1"
    assert peer_environment.environ("moonshine")["HF_HUB_OFFLINE"] == "1"


def test_an_environment_is_made_once_below_the_cache_of_wheels_alone_and_anew_for_other_versions(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("AGFN_CACHE", str(tmp_path))
    ran = []

    def run(command):
        ran.append(command)
        if "venv" in command:
            python = peer_environment.folder_of("moonshine") / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        return "moonshine-voice==0.1.0\n"

    monkeypatch.setattr(peer_environment, "_run", run)
    python = python_of("moonshine")
    assert tmp_path in python.parents
    assert [len(command) for command in ran] == [4, 11, 8]
    install = ran[1]
    assert install[0] == str(python)
    assert {"--only-binary", ":all:", *PEERS["moonshine"].requires} <= set(install)
    assert all("==" in one for peer in PEERS.values() for one in peer.requires)
    assert "moonshine-voice==0.1.0" in capsys.readouterr().out
    python_of("moonshine")
    assert len(ran) == 3
    monkeypatch.setitem(PEERS, "moonshine", Peer("another", ("moonshine-voice==0.1.1",)))
    python_of("moonshine")
    assert len(ran) == 6
    monkeypatch.setitem(PEERS, "moonshine", Peer("another", ("numpy==2.0.0",), bare=("asks-for-too-much==1.0",)))
    python_of("moonshine")
    assert ran[-2][-2:] == ["--no-deps", "asks-for-too-much==1.0"]


def test_a_package_that_cannot_be_had_is_said_in_one_line():
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--isolated", "--only-binary", ":all:"]
    with pytest.raises(PeerError, match=r"^not installed: ERROR: No matching distribution found for agfn-no-such"):
        peer_environment._run([*command, "agfn-no-such==1.0"])


def test_sound_comes_at_its_own_pace_and_all_of_it(tmp_path):
    clip = Clip("made", np.linspace(-1, 1, 4800, dtype=np.float32), "")
    recording = peer_child.Recording(str(write_wav(tmp_path / "sound.wav", clip.sound)))
    recording.begin()
    begin_s = time.monotonic()
    pieces = [recording.next(0.1)]
    assert time.monotonic() - begin_s >= 0.099
    time.sleep(0.15)  # busy meanwhile: the next piece has all that has come
    while piece := recording.next(0.1):
        pieces.append(piece)
    assert time.monotonic() - begin_s >= 0.29
    assert len(pieces[1]) >= 0.15 * 32000
    assert b"".join(pieces) == recording.pcm
    assert peer_child.floats(recording.pcm) == pytest.approx(clip.sound, abs=1e-4)


@pytest.mark.models
def test_ours_hears_a_recording_as_the_others_do(tmp_path):
    class Heard:
        def __init__(self):
            self.lines = []

        def ready(self):
            self.lines.append({"ready": True})

        def say(self, **line):
            self.lines.append(line)

    heard = Heard()
    clip = Clip("best", talking.sound(talking.BEST)[:32000], "it was the best of times")
    peer_child.ours(peer_child.Recording(str(write_wav(tmp_path / "sound.wav", clip.sound))), "", heard)
    first, *shown = heard.lines
    assert "ready" in first
    assert shown[-1]["committed"].casefold().startswith("it was the best of")
    assert all(one["committed"] == "" or one["at_s"] > 0.5 for one in shown)
    assert any(one["tentative"] for one in shown)


def test_the_page_has_ratios_to_ours_and_says_what_could_not_be_measured():
    ours = {"first_p50_s": 0.5, "first_p95_s": 1, "committed_p50_s": 1, "committed_p95_s": 2, "wer": 0.2, "cores": 0.4}
    row = {key: 3 * value for key, value in ours.items()} | {"others": 1.5}
    ours["others"] = 0.5
    found = {
        "ours": ours | {"label": "AGFN Live"},
        "a": row | {"label": "A 1.0"},
        "b": {"label": "B", "missing": "why"},
    }
    text = report.tables({"machine": "m", "peers": found, "peers_sound_s": 120.4, "peers_words": 300})
    assert "| AGFN Live | 0.50 / 1.00 | 1.00 / 2.00 | 0.20 | 0.40 | 0.50 |" in text
    assert (
        "| A 1.0 | 1.50 / 3.00 (x 3.0 / 3.0) | 3.00 / 6.00 (x 3.0 / 3.0) | 0.60 (x 3.0) | 1.20 (x 3.0) | 1.50 |" in text
    )
    assert "| B | why | | | | |\n" in text


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("", "no word of why"),
        ("a\nb\n\n", "b"),
        ("Traceback\nOSError: gone\nINFO bye", "OSError: gone"),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError: x\nwarning",
            "huggingface_hub.errors.LocalEntryNotFoundError: x",
        ),
    ],
)
def test_a_reason_is_the_last_error_of_a_log(log, why):
    assert peer_environment.reason(log) == why
