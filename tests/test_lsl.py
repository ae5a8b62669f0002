"""The LSL sink, found and read by programs of its own: an inlet with LSL's default settings, and LabRecorder."""

import itertools
import json
import socket
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_messages import event, sentiment, silent

from realtime.config.schema import LslConfig
from realtime.publish.messages import Latency, Origin, Words
from realtime.publish.outlet import Outlet
from realtime.sinks.lsl import COLUMNS, LslSink
from realtime.sinks.new_words import new_words

INLET = """
import json, sys, pylsl
def inlet(kind):
    found = pylsl.resolve_bypred(f"type='{kind}' and starts-with(name,'AGFN desk')", 1, 20)
    inlet = pylsl.StreamInlet(found[0])
    inlet.open_stream(20)
    return inlet
numbers, markers = inlet("Sentiment"), inlet("Markers")
info = numbers.info()
print("open", flush=True)
samples, said = [], []
while not said or json.loads(said[-1][0][0])["marker"] != "event":
    said.append(markers.pull_sample(20))
while (sample := numbers.pull_sample(1))[0] is not None:
    samples.append(sample)
print(json.dumps({"labels": info.get_channel_labels(), "units": info.get_channel_units(),
    "rate": info.nominal_srate(), "samples": samples, "markers": said, "correction": numbers.time_correction(5)}))
"""
SEARCH = """
import sys, pylsl
pylsl.set_config_content("[multicast]\\nResolveScope = machine\\n[lab]\\nSessionID = " + sys.argv[1] + "\\n")
print(len(pylsl.resolve_byprop("type", "Sentiment", 1, 1)))
"""


def spoken(committed, **changes):
    return sentiment(text=Words(committed=committed, tentative=""), **changes)


@pytest.fixture
def sink():
    """A sink that may pass words on, and its outlet."""
    made, outlet = LslSink(LslConfig(enabled=True), ["desk"], 0.25, words=True), Outlet()
    made.subscribe(outlet)
    yield made, outlet
    made.close()


def heard_of(outlet, messages):
    """What an inlet in a process of its own, with LSL's default settings, reads of these messages."""
    command = [sys.executable, "-c", INLET]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as inlet:
        assert inlet.stdout.readline() == "open\n"
        for message in messages:
            outlet.send(message)
        return json.loads(inlet.stdout.readline())


@pytest.mark.real
def test_an_independent_inlet_reads_numbers_with_units_and_markers_at_the_end_of_their_window(sink):
    import pylsl  # noqa: PLC0415 - the sink has to tell LSL its settings first

    _, outlet = sink
    late = Latency(capture=12, extract=31, fuse=4, total=52, text_lag=480, window=200)
    first = spoken("so far", latency_ms=late)
    second = silent(seq=2, window=first.window.model_copy(update={"start_s": 99.25, "end_s": 103.25}))
    before_s = pylsl.local_clock()
    word = spoken("far so good", seq=3, reason="word")
    heard = heard_of(outlet, [first, second, word, spoken("far so good", seq=4), event()])
    after_s = pylsl.local_clock()

    assert heard["labels"] == [column.label for column in COLUMNS]
    assert dict(zip(heard["labels"], heard["units"], strict=True))["latency"] == "milliseconds"
    assert "" not in heard["units"]
    assert heard["rate"] == 4.0
    assert len(heard["samples"]) == 3, "a message between two hops would break the rate"
    assert abs(heard["correction"]) < 0.5  # one machine, one clock
    values = [dict(zip(heard["labels"], row, strict=True)) for row, _ in heard["samples"]]
    assert [row["score"] for row in values[::2]] == pytest.approx([1.24, 1.24])
    assert values[0]["interval_low"] == pytest.approx(0.2)
    assert values[0]["text_weight"] == pytest.approx(0.81)
    assert values[1]["score"] != values[1]["score"]  # NaN: no score is made up
    assert values[1]["confidence"] == 0
    times = [at_s for _, at_s in heard["samples"]]
    assert before_s - 0.2 <= times[0] <= after_s - 0.2  # the end of the window lies 200 ms before the message
    markers = [(json.loads(text), at_s) for (text,), at_s in heard["markers"]]
    assert [marker for marker, _ in markers] == [
        {"marker": "state", "state": "degraded"},
        {"marker": "words", "words": "so far", "lag_ms": 480},
        {"marker": "state", "state": "no_signal"},
        {"marker": "state", "state": "degraded"},
        {"marker": "words", "words": "far so good", "lag_ms": 480},
        {"marker": "event", "component": "camera 0", "kind": "lost", "cause": "gone"},
    ]
    # The event happened at 4.5 s of the stream; the window of the message before it ended at 103 s.
    assert markers[-1][1] == pytest.approx(times[-1] - 103 + 4.5, abs=0.002)


@pytest.mark.real
def test_without_consent_words_are_no_markers():
    sink, outlet = LslSink(LslConfig(enabled=True), ["desk"], 0.25, words=False), Outlet()
    sink.subscribe(outlet)
    heard = heard_of(outlet, [spoken("a secret"), spoken("a secret indeed", seq=2), event()])
    sink.close()

    assert "secret" not in json.dumps(heard)
    assert [json.loads(text)["marker"] for (text,), _ in heard["markers"]] == ["state", "event"]


@pytest.mark.real
@pytest.mark.usefixtures("sink")
def test_discovery_listens_on_loopback_and_in_its_session_only():
    bound = {each.laddr.ip for each in psutil.Process().net_connections("udp") if each.laddr.port == 16571}
    assert bound == {"127.0.0.1"}
    found = {
        session: int(subprocess.run([sys.executable, "-c", SEARCH, session], capture_output=True, check=True).stdout)
        for session in ("default", "another")
    }
    assert found == {"default": 1, "another": 0}


def addresses():
    """The addresses of this machine that others may use, and loopback first."""
    every = [each for name in psutil.net_if_addrs().values() for each in name if each.family == socket.AF_INET]
    return sorted({each.address for each in every}, key=lambda address: not address.startswith("127."))


@pytest.mark.real
@pytest.mark.usefixtures("sink")
def test_no_data_port_answers_another_machine():
    ports = {each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"}
    assert ports
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), 2):
            pass
        for address in addresses()[1:]:  # a packet to an address of our own comes from that address
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                socket.create_connection((address, port), 0.5)


LATER = """
import sys, pylsl
for line in sys.stdin:
    print(sorted(found.name() for found in pylsl.resolve_byprop("type", "Sentiment", 2, float(line))), flush=True)
"""


@pytest.mark.real
def test_outlets_of_a_stream_that_comes_are_closed_to_others_too_and_go_with_it(sink):
    _, outlet = sink
    before = {each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"}
    outlet.came("sofa", Origin())
    ports = {each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"} - before
    assert ports
    for port, address in itertools.product(ports, addresses()[1:2]):
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            socket.create_connection((address, port), 0.5)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", LATER], **pipes) as searcher:

        def found(seconds):
            searcher.stdin.write(f"{seconds}\n")
            searcher.stdin.flush()
            return searcher.stdout.readline().strip()

        assert found(20) == "['AGFN desk Sentiment', 'AGFN sofa Sentiment']"
        outlet.went("sofa")
        assert found(0.7) == "['AGFN desk Sentiment']"
        searcher.stdin.close()


def test_of_a_window_that_slides_only_the_new_words_are_told():
    said = ["", "I really", "I really really", "really really like", "like it", "", "it was"]
    told = [new_words(before, now) for before, now in itertools.pairwise(said)]
    assert told == ["I really", "really", "like", "it", "", "it was"]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30, unique=True), st.integers(0, 5), st.integers(0, 5))
def test_what_slides_out_is_never_told_again(words, gone, come):
    length = max(len(words) - come, 0)
    before, now = words[:length], words[min(gone, length) :]
    assert new_words(" ".join(before), " ".join(now)).split() == words[length:]
