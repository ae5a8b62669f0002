"""The OSC sink, received by python-osc's own server."""

import socket
import threading
from pathlib import Path

import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_packet import OscPacket
from pythonosc.osc_server import ThreadingOSCUDPServer
from test_messages import event, sentiment, silent

from realtime.config.load import load
from realtime.errors import UsageError
from realtime.publish.messages import Words
from realtime.publish.outlet import Outlet
from realtime.sinks.osc import OscSink
from scripts.harness.processes import wait_until


class Listener:
    """A server of python-osc in a thread: what came to which address, in order."""

    def __init__(self):
        self.heard = []
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(lambda address, *values: self.heard.append((address, values)))
        self._server = ThreadingOSCUDPServer(("127.0.0.1", 0), dispatcher)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def of(self, address):
        return [values for found, values in list(self.heard) if found == address]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener():
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def sent(listener):
    """Send messages through a sink with consent to words, and return what came."""
    sink, outlet = OscSink(listener.address, words=True), Outlet()
    sink.subscribe(outlet)

    def send(*messages, last):
        for message in messages:
            outlet.send(message)
        wait_until(lambda: listener.of(last), 10, f"{last} of the last message")
        return listener

    yield send
    sink.close()


def test_a_message_arrives_with_the_documented_addresses(sent):
    heard = sent(sentiment(p_positive=0.87, band=(0.6, 1.9), opinion="final"), last="/agfn/desk/face/state")

    assert heard.of("/agfn/desk/score") == [(pytest.approx(1.24),)]
    assert heard.of("/agfn/desk/interval") == [pytest.approx((0.2, 2.1))]
    assert heard.of("/agfn/desk/label") == [("weakly positive",)]
    assert heard.of("/agfn/desk/text/weight") == [(pytest.approx(0.81),)]
    assert heard.of("/agfn/desk/voice/state") == [("noisy",)]
    documented = Path("docs/osc.md").read_text()
    missing = [each for each, _ in heard.heard if f"`{each.removeprefix('/agfn/desk')}`" not in documented]
    # Those of voice and face are documented by that of the text.
    assert [each for each in missing if not each.startswith(("/agfn/desk/voice", "/agfn/desk/face/"))] == []


def test_a_hop_is_one_bundle():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        sink, outlet = OscSink(f"127.0.0.1:{receiver.getsockname()[1]}", words=False), Outlet()
        sink.subscribe(outlet)
        outlet.send(sentiment())
        packet = OscPacket(receiver.recv(65536))
        assert len(packet.messages) > 10
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(65536)
        assert (sink.sent, sink.dropped) == (1, 0)
        sink.close()


def test_without_a_score_none_is_sent(sent):
    heard = sent(silent(), last="/agfn/desk/face/state")
    assert heard.of("/agfn/desk/state") == [("no_signal",)]
    assert heard.of("/agfn/desk/score") == heard.of("/agfn/desk/interval") == []


def test_events_are_bundles_of_their_own(sent):
    assert sent(event(), last="/agfn/desk/event").of("/agfn/desk/event") == [("camera 0", "lost", "gone")]


def test_words_are_sent_with_consent_only(sent, listener):
    spoken = sentiment(text=Words(committed="so far so good", tentative="is it"))
    heard = sent(spoken, last="/agfn/desk/words/tentative")
    assert heard.of("/agfn/desk/words/new") == heard.of("/agfn/desk/words/committed") == [("so far so good",)]

    listener.heard.clear()
    sink, outlet = OscSink(listener.address, words=False), Outlet()
    sink.subscribe(outlet)
    outlet.send(spoken)
    wait_until(lambda: listener.of("/agfn/desk/face/state"), 10, "the message")
    sink.close()
    assert [address for address, _ in listener.heard if "words" in address] == []


def test_what_the_network_refuses_is_counted_and_said_once(caplog):
    sink, outlet = OscSink("127.0.0.1:9", words=False), Outlet()
    sink.subscribe(outlet)
    sink._socket.close()  # what a network that has gone away comes down to: every send is refused
    outlet.send(sentiment())
    outlet.send(sentiment(seq=2))
    sink.close()

    assert sink.dropped == 2
    assert [record.message for record in caplog.records if "dropped" in record.message] == [
        "OSC: 127.0.0.1:9: Bad file descriptor; bundles are dropped"
    ]
    assert "2 bundles could not be sent" in caplog.text


@pytest.mark.parametrize("address", ["9000", "host:", "host:0", "host:65536", "a b:9", "http://host:9", "::1:9"])
def test_a_wrong_address_is_refused_in_words(address):
    with pytest.raises(UsageError, match=r"osc\.address"):
        load(options={"osc": {"address": address}}, environ={})


def test_a_host_that_is_not_known_is_an_error_that_says_so():
    with pytest.raises(UsageError, match=r"--osc nowhere\.invalid:9: .*HOST:PORT"):
        OscSink("nowhere.invalid:9", words=False)
