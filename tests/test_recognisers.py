"""The ASR pool in the status of a fleet, and in its bars."""

import math
import sys

import pytest
from test_asr_pool import Echo, Own, decode, reaching, said, serving

from realtime.fleet.fleet import table
from realtime.fleet.host import StreamHost
from realtime.fleet.recognisers import merged
from scripts.fleeting import bars
from scripts.harness.processes import wait_until


class Session:
    """No streams, and a pool."""

    def __init__(self, remote):
        self.remote = remote

    def report(self):
        return {}

    def about_pool(self):
        return self.remote.about()


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
def test_the_status_shows_each_recogniser_with_who_relies_on_it_and_what_the_hosts_did_themselves(tmp_path):
    with reaching(Own(), tmp_path / "here", tmp_path / "gone", ready=False) as left:
        with serving(Echo(), tmp_path / "here"), reaching(Own(), tmp_path / "here") as right:
            wait_until(lambda: left.links[0].usable, 5, "the connection")
            assert {said(decode(left)), said(decode(left)), said(decode(right))} == {" w0.25"}
            pool = merged(StreamHost(name, Session(each)).report() for name, each in (("l", left), ("r", right)))
            here, gone = (pool["recognisers"][f"unix:{tmp_path / name}"] for name in ("here", "gone"))
            assert here.pop("decode_ms") >= 0
            assert here == {"model": "tiny.en", "hosts": 2, "connected": 2, "relied_on": 2, "decodes": 3}
            assert (gone["hosts"], gone["connected"], gone["relied_on"], gone["decode_ms"]) == (1, 0, 0, None)
        wait_until(lambda: not left.links[0].up, 5, "its end")
        assert said(decode(left)) == " own"
        shown = table({"hosts": {}, "streams": {}, "asr_pool": merged([StreamHost("l", Session(left)).report()])})
    assert shown.count("does not answer") == 2
    assert shown.endswith("decodes that hosts did themselves: 1 (down 1)")
    assert "recogniser" in shown


def test_without_a_pool_the_status_says_nothing_of_one():
    assert merged([{"cores": 1.0}, {"asr_pool": {}}]) == {}
    assert "recogniser" not in table({"hosts": {}, "streams": {}})


@pytest.mark.parametrize(
    ("found", "row"),
    [
        ({}, "not measured |  |"),
        (
            {"pool_p99_ms": 41.0, "pool_words_s": {"halved": 3.8, "killed": 9.9}},
            "p99 41.0 ms; a word spoken after it was halved: after 3.8 s, killed: after 9.9 s | kept |",
        ),
        (
            {"pool_p99_ms": 41.0, "pool_words_s": {"halved": 3.8, "killed": None}},
            "p99 41.0 ms; a word spoken after it was halved: after 3.8 s, killed: not heard any more | not kept |",
        ),
        (
            {"pool_p99_ms": 400.0, "pool_words_s": {"killed": 3.8}},
            "p99 400.0 ms; a word spoken after it was killed: after 3.8 s | not kept |",
        ),
    ],
)
def test_the_bar_of_the_pool_is_kept_when_words_are_back_in_time_and_windows_were_not_late(found, row):
    (line,) = (line for line in bars.table(found).splitlines() if line.startswith("| F7 "))
    assert line.endswith(row)


NODE = {"node_max_s": 2.5, "off_grid": 0, "epoch_steps": "1", "twins": 5, "twins_spoken": 8}
NODE |= {"twin_score_diff_max": 0.01, "twin_score_diff_max_spoken": 0.4, "twin_context_diff_max": 0.0}


@pytest.mark.parametrize(
    ("more", "last"),
    [
        ({}, " kept "),
        ({"twin_score_diff_max": 0.06}, " not kept "),
        ({"twin_context_diff_max": math.inf}, " not kept "),
        ({"twin_score_diff_max": None}, "  "),
    ],
)
def test_the_bar_of_a_lost_node_goes_by_score_and_context_of_the_twins_in_which_nothing_was_said(more, last):
    (line,) = (line for line in bars.table(NODE | more).splitlines() if line.startswith("| F4 "))
    assert line.split("|")[-2] == last
