"""Streams added, removed and listed while a program runs: requests over MQTT, command, dashboard, a real run."""

import json
import os
import re
import threading
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from realtime import run
from realtime.clock import utc_now
from realtime.config.combinations import check
from realtime.config.load import load
from realtime.config.schema import Config
from realtime.control import __main__ as command
from realtime.control import messages
from realtime.control.link import WAITING, ControlLink
from realtime.control.messages import ForeignError, StreamLine, parse_request, seal, unseal
from realtime.control.service import Control
from realtime.dashboard.server import Dashboard
from realtime.errors import AgfnError, UsageError
from realtime.publish.access import Access
from realtime.publish.broker import EmbeddedBroker
from realtime.system.guard import Guard
from scripts.harness.browser import chromium
from scripts.harness.live_program import Live, breaks_in
from scripts.harness.mosquitto import Subscriber, wait_for
from scripts.harness.processes import wait_until

TOKEN = "a-token-of-somebody-0123456789"
OTHER = "another-token-of-somebody-else"
SECRET = "rtsp://cam.lan/live?user=admin&password=tops3cret"


class Streams:
    """Streams of a program that only notes what it is asked."""

    def __init__(self):
        self.there, self.calls, self.going = {"desk": None}, [], threading.Event()
        self.going.set()

    def add(self, stream, state):
        self.going.wait(10)
        self.calls.append(("add", stream.name, stream.camera, stream.source, state))
        if stream.name in self.there:
            raise UsageError(f"there is a stream {stream.name} already")
        if stream.name == "broken":
            raise RuntimeError("a driver with \x1b[2J in its name")
        self.there[stream.name] = stream

    def remove(self, name):
        self.calls.append(("remove", name))
        if name not in self.there:
            raise AgfnError(f"there is no stream {name}")
        del self.there[name]
        return {"stream": name, "seq": 41}

    def lines(self):
        return [
            StreamLine(name=name, camera="camera", mic=None, source=None, state="ok", epoch=0) for name in self.there
        ]


def request(action, **more):
    return json.dumps({"id": f"request-{time.monotonic_ns()}", "action": action, **more})


def test_what_is_asked_is_done_and_answered_in_one_line():
    streams = Streams()
    control = Control(streams, "cellar")
    assert control.answer(request("add", stream={"name": "hall", "camera": "1"})).error is None
    assert [line.name for line in control.answer(request("list")).streams] == ["desk", "hall"]
    assert control.answer(request("add", stream={"name": "hall"})).error == "there is a stream hall already"
    assert control.answer(request("remove", name="hall")).state is None
    assert control.answer(request("remove", name="desk", keep=True)).state == {"stream": "desk", "seq": 41}
    assert control.answer(request("remove", name="hall")).error == "there is no stream hall"
    answer = control.answer(request("add", stream={"name": "broken"}))
    assert (answer.error, answer.host) == ("it failed: the log of the program says how", "cellar")


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "burn"},
        {"action": "add"},
        {"action": "remove"},
        {"action": "list", "name": "desk"},
        {"action": "list", "state": {}},
        {"action": "add", "stream": {"name": "../etc"}},
        {"action": "add", "stream": {"name": "x" * 65}},
        {"action": "add", "stream": {"name": "hall", "record": "/tmp"}},
        {"action": "remove", "name": "\x1b[2J"},
        {"action": "list", "\x1b[2J": 1},
        {"action": "list", "id": "short"},
        {"action": "list", "schema": "agfn.control/2"},
    ],
)
def test_what_is_no_request_is_refused_in_one_harmless_line(asked):
    streams = Streams()
    answer = Control(streams, None).answer(json.dumps({"id": "request-1", **asked}))
    assert answer.error.startswith("no request")
    assert answer.error.isprintable()
    assert len(answer.error) < 250
    assert not streams.calls


@pytest.mark.parametrize(
    "address", [SECRET, "rtsp://admin:tops3cret@cam.lan/1", "http://cam.lan/tops3cret=1", "rtsp://cam:1/2@tops3cret"]
)
def test_an_address_with_a_password_is_refused_as_on_the_command_line(address, capsys):
    streams = Streams()
    answer = Control(streams, None).answer(request("add", stream={"name": "hall", "camera": address}))
    assert "may hold a password" in answer.error
    assert "AGFN_CAMERA_PASSWORD" in answer.error
    assert "tops3cret" not in answer.error
    assert not streams.calls
    assert command.main(["add", "hall", "--camera", address]) == 2
    said = capsys.readouterr().err
    assert "may hold a password" in said
    assert "tops3cret" not in said


@given(st.binary(max_size=300))
def test_any_bytes_are_passed_over_or_refused_in_one_line(data):
    with pytest.raises(ForeignError):
        unseal(data, TOKEN, "request", utc_now())
    with pytest.raises(UsageError) as refusal:
        parse_request(data)
    assert str(refusal.value).isprintable()


def test_a_seal_holds_for_its_token_its_purpose_and_half_a_minute():
    sealed, now = seal("said", TOKEN, "request"), utc_now()
    assert unseal(sealed, TOKEN, "request", now) == "said"
    for key, purpose in ((OTHER, "request"), (TOKEN, "answer")):
        with pytest.raises(ForeignError):
            unseal(sealed, key, purpose, now)
    with pytest.raises(ForeignError):
        unseal(sealed.replace(b"said", b"sold"), TOKEN, "request", now)
    for seconds in (-40, 40):
        with pytest.raises(UsageError, match="clocks"):
            unseal(sealed, TOKEN, "request", now + timedelta(seconds=seconds))
    with pytest.raises(UsageError, match="at least 16"):
        seal("said", "short", "request")


class Asker:
    """An independent client that asks, and hears what is answered."""

    def __init__(self, port, key=TOKEN, **options):
        self.key, self.subscriber = key, Subscriber(port, "agfn/_control/#", **options)

    def send(self, text, **more):
        self.subscriber.say("agfn/_control", seal(text, self.key, "request"), **more)
        return json.loads(text)["id"]

    def answers(self):
        sealed = self.subscriber.payloads("_control/answer")
        return [json.loads(unseal(each, TOKEN, "answer", utc_now())) for each in sealed]

    def ask(self, text, **more):
        wanted = self.send(text, **more)
        wait_for(lambda: [each for each in self.answers() if each["id"] == wanted])
        return next(each for each in self.answers() if each["id"] == wanted)


@pytest.fixture
def serve(mosquitto):
    made = []

    def make(streams=None, host=None):
        streams = streams or Streams()
        link = ControlLink(Control(streams, host), Access("127.0.0.1", mosquitto.port), "agfn", TOKEN)
        wait_for(lambda: link.connected)
        made.append(link)
        return streams, link

    yield make
    for each in made:
        each.close()


@pytest.fixture
def asker(mosquitto):
    made = []

    def make(**options):
        made.append(Asker(mosquitto.port, **options))
        return made[-1]

    yield make
    for each in made:
        each.subscriber.close()


@pytest.mark.real
def test_requests_over_mqtt_are_done_in_order_and_each_is_answered_once(serve, asker):
    streams, _ = serve()
    client = asker()
    assert client.ask(request("add", stream={"name": "hall", "source": "talk.mp4"}))["error"] is None
    assert [line["name"] for line in client.ask(request("list"))["streams"]] == ["desk", "hall"]
    assert client.ask(request("remove", name="hall", keep=True))["state"]["seq"] == 41
    assert "no stream hall" in client.ask(request("remove", name="hall"))["error"]
    refused = client.ask(request("add", stream={"name": "hall", "camera": SECRET}))
    assert "may hold a password" in refused["error"]
    assert [call[:2] for call in streams.calls] == [("add", "hall"), ("remove", "hall"), ("remove", "hall")]
    assert len(client.answers()) == 5


@pytest.mark.real
def test_without_the_token_nothing_is_done_and_nothing_answered(serve, asker):
    streams, link = serve()
    stranger, client = asker(key=OTHER), asker()
    stranger.send(request("remove", name="desk"))
    for payload in (b"", request("remove", name="desk"), b"\xff" * 9000, b'{"body": "{}", "mac": ""}'):
        stranger.subscriber.say("agfn/_control", payload)
    client.ask(request("list"))
    assert not streams.calls
    assert len(client.answers()) == 1
    assert link.foreign == 4


@pytest.mark.real
def test_a_request_works_once_and_for_half_a_minute(serve, asker, monkeypatch):
    streams, _ = serve()
    client = asker()
    text = request("remove", name="desk")
    sealed = seal(text, TOKEN, "request")
    for _ in range(2):
        client.subscriber.say("agfn/_control", sealed)
    wait_for(lambda: len(client.answers()) == 2)
    assert sorted(each["error"] or "" for each in client.answers()) == ["", "this request was answered already"]
    retained = client.ask(request("remove", name="desk"), retain=True)  # who listens already can't tell: it is done
    client.subscriber.say("agfn/_control", None, retain=True)
    assert "no stream desk" in retained["error"]
    with monkeypatch.context() as patch:
        patch.setattr(messages, "utc_now", lambda: utc_now() - timedelta(minutes=2))
        old = seal(request("remove", name="desk"), TOKEN, "request")
    client.subscriber.say("agfn/_control", old)
    wait_for(lambda: len(client.answers()) == 4)
    assert "are both clocks right" in client.answers()[-1]["error"]
    assert len(streams.calls) == 2


@pytest.mark.real
def test_a_request_that_is_kept_by_the_broker_is_not_obeyed_at_the_next_start(serve, asker):
    client = asker()
    wanted = client.send(request("remove", name="desk"), retain=True)
    streams, _ = serve()
    wait_for(lambda: [each for each in client.answers() if each["id"] == wanted])
    assert "retained request is refused" in client.answers()[-1]["error"]
    assert not streams.calls


@pytest.mark.real
def test_a_flood_waits_in_a_short_line_and_the_rest_is_told_to_come_again(serve, asker):
    streams, _ = serve()
    client = asker()
    streams.going.clear()
    for number in range(3 * WAITING):
        client.send(request("add", stream={"name": f"guest-{number}"}))
    wait_for(lambda: len(client.answers()) >= 3 * WAITING - WAITING - 1)
    assert {each["error"] for each in client.answers()} == {f"{WAITING} requests wait already; try again"}
    streams.going.set()
    wait_for(lambda: len(client.answers()) == 3 * WAITING)
    assert len(streams.calls) == WAITING + 1


@pytest.mark.real
def test_a_program_that_is_not_meant_keeps_silent(serve, asker):
    cellar, _ = serve(host="cellar")
    attic, _ = serve(host="attic")
    client = asker()
    answer = client.ask(request("remove", name="desk", host="attic"))
    assert (answer["host"], cellar.calls, attic.calls) == ("attic", [], [("remove", "desk")])
    wanted = client.send(request("list"))
    wait_for(lambda: sum(each["id"] == wanted for each in client.answers()) == 2)


@pytest.mark.real
def test_the_token_is_in_no_message(serve, asker, mosquitto):
    everything = Subscriber(mosquitto.port, "#")
    serve()
    asker().ask(request("list"))
    said = b"".join(bytes(message.payload) for message in everything.messages)
    everything.close()
    assert b"answer" not in said
    assert b"list" in said
    assert TOKEN.encode() not in said


@pytest.mark.real
def test_the_command_lists_adds_and_removes(serve, mosquitto, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("AGFN_CONTROL_TOKEN", raising=False)
    streams, _ = serve(host="cellar")
    token, state = tmp_path / "token", tmp_path / "hall.json"
    token.write_text(f"{TOKEN}\n")
    where = ["--mqtt", mosquitto.url, "--token-file", str(token)]
    film = tmp_path / "talk.mp4"
    film.touch()

    def run(*args):
        code = command.main([*args, *where])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert run("add", "hall", "--source", str(film))[:2] == (0, "hall is added\n")
    assert streams.calls[-1] == ("add", "hall", "0", str(film), None)
    code, listed, _ = run("list")
    assert code == 0
    assert [line.split() for line in listed.splitlines()][1:] == [
        ["desk", "ok", "camera", "-", "cellar"],
        ["hall", "ok", "camera", "-", "cellar"],
    ]
    assert [each["name"] for each in json.loads(run("list", "--json")[1])] == ["desk", "hall"]
    assert run("remove", "hall", "--state", str(state), "--host", "cellar")[0] == 0
    assert json.loads(state.read_text()) == {"stream": "hall", "seq": 41}
    assert state.stat().st_mode & 0o077 == 0
    assert run("remove", "hall", "--state", str(state))[0] == 2
    assert run("add", "hall", "--no-camera", "--state", str(state))[0] == 0
    assert streams.calls[-1] == ("add", "hall", None, None, {"stream": "hall", "seq": 41})
    code, _, said = run("remove", "nobody")
    assert code == 1
    assert "there is no stream nobody" in said
    monkeypatch.setitem(command.ANSWER_S, "list", 0.3)
    token.write_text(OTHER)
    code, _, said = run("list")
    assert code == 4
    assert "nobody answers" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["add", "hall"], "no program of this user runs an embedded broker"),
        (["list", "--mqtt", "mqtt://broker.lan"], "AGFN_CONTROL_TOKEN"),
        (["add", "../hall"], "name"),
        (["add", "hall", "--camera", "1", "--no-camera"], "contradict"),
        (["add", "hall", "--state", "/nowhere"], "No such file"),
        (["burn"], "invalid choice"),
        ([], "required"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(args, said, capsys, monkeypatch):
    monkeypatch.setattr(command, "running", dict)
    monkeypatch.delenv("AGFN_CONTROL_TOKEN", raising=False)
    assert run.main(["streams", *args]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


@pytest.mark.real
def test_the_embedded_broker_lets_only_the_run_s_password_ask_and_the_command_finds_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("AGFN_CONTROL_TOKEN", raising=False)
    broker = EmbeddedBroker(0)
    broker.start()
    streams = Streams()
    link = ControlLink(Control(streams, None), broker.access, "agfn", broker.access.password)
    try:
        wait_for(lambda: link.connected)
        guest = Asker(broker.port, key=broker.access.password, v5=False)
        guest.send(request("remove", name="desk"), qos=0)
        assert command.main(["list"]) == 0
        assert "desk" in capsys.readouterr().out
        guest.subscriber.close()
        assert not streams.calls
        assert link.foreign == 0
        assert command.main(["remove", "desk"]) == 0
        assert streams.calls == [("remove", "desk")]
    finally:
        link.close()
        broker.close(1)
    assert command.main(["list"]) == 2


@pytest.fixture
def guarded(mosquitto):
    made = []

    def make(token, control):
        bridge = ("127.0.0.1", mosquitto.port)
        made.append(Dashboard(0, "agfn", bridge, None, Guard(token=token), lambda text: control.answer(text).to_json()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def page(dashboard, *protocols):
    host = f"127.0.0.1:{dashboard.port}"
    return connect(f"ws://{host}/control", origin=f"http://{host}", subprotocols=["agfn-control", *protocols])


@pytest.mark.real
def test_a_page_without_the_token_or_that_only_watches_reaches_no_control(guarded):
    streams = Streams()
    dashboard, open_one = guarded(TOKEN, Control(streams, None)), guarded(None, Control(streams, None))
    for asked, protocols, status in (
        (dashboard, (), 401),
        (dashboard, (f"token.{OTHER}",), 401),
        (dashboard, (f"token.{Guard(token=TOKEN).watch_token}",), 401),
        (open_one, (), 404),
        (open_one, (f"token.{TOKEN}",), 404),
    ):
        with pytest.raises(InvalidStatus) as refusal, page(asked, *protocols):
            pass
        assert refusal.value.response.status_code == status
    with page(dashboard, f"token.{TOKEN}") as own:
        own.send(request("remove", name="desk"))
        assert json.loads(own.recv(5))["error"] is None
        own.send("nonsense")
        assert "no request" in json.loads(own.recv(5))["error"]
    assert streams.calls == [("remove", "desk")]


@pytest.mark.real
def test_a_person_adds_and_removes_a_stream_on_the_page_which_is_for_everybody(guarded):
    streams = Streams()
    dashboard = guarded(TOKEN, Control(streams, None))
    with chromium() as browser:
        tab = browser.new_page()
        tab.goto(dashboard.url)
        tab.fill("#token", TOKEN)
        tab.click("#ask-token button")
        tab.wait_for_selector("#managed-streams li")
        tab.fill("#add-name", "hall")
        tab.fill("#add-camera", "1")
        tab.click("#add-button")
        tab.wait_for_selector("text=Add hall: done.")
        tab.fill("#add-name", "desk")
        tab.click("#add-button")
        tab.wait_for_selector("text=there is a stream desk already")
        assert [rule["id"] for rule in Axe().run(tab).response["violations"]] == []
        tab.click("button[aria-label='Remove hall']")
        tab.wait_for_selector("text=Remove hall: done.")
    assert [call[:2] for call in streams.calls] == [("add", "hall"), ("add", "desk"), ("remove", "hall")]


def test_a_configuration_without_a_stream_needs_to_be_told_that_others_come(tmp_path, monkeypatch):
    monkeypatch.delenv("AGFN_CONTROL_TOKEN", raising=False)
    file = tmp_path / "empty.yaml"
    file.write_text("streams: []\ncontrol: {stay: true}\n")
    config, _ = load(file)
    check(config)
    assert config.streams == ()
    file.write_text("streams: []\n")
    with pytest.raises(UsageError, match=r"control\.stay"):
        load(file)
    monkeypatch.setenv("AGFN_CONTROL_TOKEN", "short")
    with pytest.raises(UsageError, match="16 to 200") as refusal:
        check(Config())
    assert "short" not in str(refusal.value)


@pytest.mark.real
@pytest.mark.models
def test_a_stream_is_added_to_a_running_program_and_removed_and_the_other_misses_nothing(
    tmp_path, mosquitto, clip, other_clip, capsys, monkeypatch
):
    monkeypatch.setenv("AGFN_CONTROL_TOKEN", TOKEN)
    options = ["--source", str(other_clip), "--set", "control.stay=true", "--set", "asr.reading_model=none"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    live = Live(tmp_path, mosquitto.port, options, env)
    try:
        live.first(lambda _: True, 0.0, "the first window", timeout_s=90)

        def ask(*args):
            code = command.main([*args, "--mqtt", mosquitto.url])
            assert code == 0, live.program.text()
            return capsys.readouterr().out

        process = psutil.Process(live.program.process.pid)
        counts = []
        for _ in range(3):
            began_s = time.monotonic()
            ask("add", "hall", "--source", str(clip))
            live.first(lambda heard: heard.body["seq"] >= 1, began_s, "windows of the new stream", stream="hall")
            assert re.search(rf"hall +\w+ +file {clip.name}", ask("list"))
            ask("remove", "hall")
            wait_until(lambda at=began_s: live.statuses("hall", at)[-1:] == ["offline"], 10, "offline")
            counts.append((process.num_threads(), process.num_fds()))
        # Libraries begin some threads of their own at the first stream, and a stage's thread takes a moment to end.
        wait_until(lambda: process.num_threads() <= counts[1][0] + 1, 10, f"as few threads as before: {counts}")
        wait_until(lambda: process.num_fds() <= counts[1][1] + 1, 10, f"as few descriptors as before: {counts}")
        late = Subscriber(mosquitto.port, "agfn/hall/status")
        wait_for(lambda: late.messages)
        assert (late.messages[0].payload, bool(late.messages[0].retain)) == (b"offline", True)
        late.close()
        assert live.heard("event", "hall")[-1].body["cause"] == "removed"
        assert breaks_in([heard.body for heard in live.heard()]) == []
        assert live.program.process.poll() is None
    finally:
        live.close()
    assert live.program.process.returncode == 0
    assert TOKEN not in live.program.text()
