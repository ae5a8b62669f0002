"""The dashboard: its server's defences, and the page in a real Chromium, on made-up and on real streams."""

import http.client
import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from test_messages import health, part, sentiment
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime.config.combinations import check
from realtime.config.schema import Config
from realtime.dashboard.server import MAX_MESSAGE_BYTES, Dashboard
from realtime.errors import UsageError
from realtime.publish.messages import EventMessage, RecordingHealth
from scripts.harness.browser import Tab, chromium
from scripts.harness.camera import child_env
from scripts.harness.mosquitto import Mosquitto, Subscriber, free_port, wait_for
from scripts.harness.processes import Program, wait_until

CONNECT = bytes([16, 13, 0, 4, *b"MQTT", 4, 2, 0, 60, 0, 1, ord("x")])
CONNACK = bytes([32, 2, 0, 0])
WIDTH_AT = """score => {
  const canvas = document.querySelector(".chart"), ratio = window.devicePixelRatio;
  const y = 6 + (3 - score) / 6 * (canvas.clientHeight - 12), x = canvas.clientWidth - 20;
  const row = canvas.getContext("2d").getImageData(x * ratio, Math.round(y * ratio), 20 * ratio, 1).data;
  return [...Array(20).keys()].filter(at => row[4 * at * ratio + 3] > 200).length;
}"""
"""Pixels in the row of a score, in the place of the newest one, that something opaque is drawn on."""
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
OFF = {name: part(state="off", cause="paused") for name in ("text", "voice", "face")}
PAUSED = {"state": "paused", "score": None, "raw": None, "label": None, "interval": None, "modalities": OFF}


@pytest.fixture
def bridged(mosquitto):
    """A dashboard whose websocket leads to a real broker."""
    dashboard = Dashboard(0, "agfn", ("127.0.0.1", mosquitto.port), None)
    yield dashboard
    dashboard.close()


def get(dashboard, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def websocket(dashboard, origin, **options):
    return connect(f"ws://127.0.0.1:{dashboard.port}/mqtt", origin=origin, subprotocols=["mqtt"], proxy=None, **options)


def origin_of(dashboard):
    return f"http://127.0.0.1:{dashboard.port}"


@pytest.mark.models
class TestServer:
    pytestmark = pytest.mark.real

    def test_the_page_and_its_parts_are_served_with_a_policy_that_lets_nothing_else_in(self, bridged):
        for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/mqtt.min.js", "text/javascript")):
            answer, body = get(bridged, path)
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith(kind)
            assert len(body) > 500
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_the_page_names_nothing_of_another_host(self, bridged):
        own = [f"/{name}.js" for name in ("main", "link", "card", "charts", "messages", "stream", "overlay")]
        for path in ("/", "/overlay.html", "/style.css", "/overlay.css", *own):
            body = get(bridged, path)[1].decode()
            for harmless in ("http://www.w3.org", "${scheme}//${location.host}", "// "):
                body = body.replace(harmless, "")
            assert "//" not in body
            assert "innerHTML" not in body

    @pytest.mark.parametrize(
        "path", ["/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/page/", "/.git/config", "/main.js/../x", "/x"]
    )
    def test_nothing_else_is_a_page_and_no_folder_is_listed(self, bridged, path):
        answer, body = get(bridged, path)
        assert answer.status == 404
        assert b"import" not in body

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
    def test_a_page_by_another_name_is_refused_for_it_may_be_dns_rebinding(self, bridged, host):
        assert get(bridged, "/settings.json", Host=host)[0].status in {400, 403}

    def test_only_the_own_page_may_open_the_websocket(self, bridged):
        for origin in (
            None,
            "null",
            "http://evil.example",
            f"http://127.0.0.1:{bridged.port + 1}",
            "https://127.0.0.1",
        ):
            with pytest.raises(InvalidStatus) as refusal:
                websocket(bridged, origin)
            assert refusal.value.response.status_code == 403

    def test_the_websocket_leads_to_the_broker(self, bridged):
        with websocket(bridged, origin_of(bridged)) as page:
            page.send(CONNECT)
            assert page.recv(5) == CONNACK
            assert page.subprotocol == "mqtt"

    def test_text_and_huge_messages_end_the_connection(self, bridged):
        for message in ("text", bytes(MAX_MESSAGE_BYTES + 1)):
            with websocket(bridged, origin_of(bridged)) as page:
                page.send(message)
                with pytest.raises(ConnectionClosed):
                    page.recv(5)

    def test_without_a_broker_the_page_is_told_to_try_again(self, bridged, mosquitto):
        mosquitto.kill()
        with websocket(bridged, origin_of(bridged)) as page, pytest.raises(ConnectionClosed) as end:
            page.recv(5)
        assert end.value.rcvd.code == 1013

    def test_a_page_that_keeps_knocking_does_not_fill_the_log(self, bridged, caplog):
        caplog.set_level(logging.WARNING)
        bridged._refusals_due_s = 0.0
        for _ in range(40):
            with pytest.raises(InvalidStatus):
                websocket(bridged, "http://evil.example")
        assert len([each for each in caplog.records if "another origin" in each.getMessage()]) == 1

    def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(self, bridged):
        with pytest.raises(UsageError, match=f"--dashboard {bridged.port}: .*choose another port"):
            Dashboard(bridged.port, "agfn", None, None)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mqtt": {"url": "off"}, "dashboard": {"port": 0}}, "leave out --mqtt off"),
        ({"mqtt": {"url": "mqtt://h"}, "dashboard": {"port": 0}}, "--dashboard-broker ws://HOST:PORT"),
        ({"dashboard": {"port": 0, "broker": "ws://h"}}, "for your own broker"),
        ({"dashboard": {"broker": "ws://h"}}, "add --dashboard PORT"),
        ({"mqtt": {"url": "off"}, "homeassistant": {"enabled": True}}, "leave out --mqtt off"),
    ],
)
def test_options_that_contradict_each_other_are_refused(values, said):
    with pytest.raises(UsageError, match=said):
        check(Config.model_validate(values))


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def stage(tmp_path, browser):
    """A broker of the user's own with a websocket listener, a publisher, and the page on it in a browser."""

    class Stage:
        def __init__(self):
            self.ws_port = free_port()
            lines = [f"listener {self.ws_port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
            self.broker = Mosquitto(tmp_path, lines)
            self.publisher = Subscriber(self.broker.port, "agfn/+/command")
            self.dashboard = Dashboard(0, "agfn", None, f"ws://127.0.0.1:{self.ws_port}")
            self.tab = Tab(browser, self.dashboard.url)
            self.page = self.tab.page
            self.tab.wait("document.querySelector('#connection').dataset.state === 'connected'")

        def say(self, message, stream="desk"):
            kind = message.schema_.split(".")[1].split("/")[0]
            self.publisher.say(f"agfn/{stream}/{kind}", message.payload())

        def card(self, name="desk"):
            return self.page.locator(".card", has=self.page.get_by_role("heading", name=name, exact=True))

    made = Stage()
    yield made
    made.tab.close()
    made.dashboard.close()
    made.publisher.close()
    made.broker.close()


@pytest.mark.real
@pytest.mark.models
class TestPage:
    def test_it_shows_score_interval_gates_states_and_causes(self, stage):
        stage.say(sentiment())
        card = stage.card()
        card.locator(".score", has_text="+1.24").wait_for()

        assert "90 %: +0.20 to +2.10, confidence 74 %" in card.inner_text()
        assert "68 %" not in card.locator(".now").inner_text(), "an older program gives no band"
        assert card.locator("[data-gate=text] .share").inner_text() == "81 %"
        assert "noisy" in card.locator("[data-gate=voice] .pill").inner_text()
        assert "snr 3 dB" in card.locator("[data-gate=voice] .why").inner_text()
        assert card.locator("[data-gate=face]").get_attribute("data-state") == "lost"
        drawn = "[...document.querySelector('.chart').getContext('2d').getImageData(0, 0, 800, 150).data].some(v => v)"
        stage.tab.wait(drawn)
        assert stage.tab.errors == []

    def test_the_newest_score_has_its_band_and_its_whiskers(self, stage):
        """Down the middle of the place of the newest score: how wide what is drawn is at a score."""
        stage.say(sentiment(score=0.0, raw=0.0, label="neutral", interval=(-2.0, 2.0), band=(-1.0, 1.0)))
        stage.card().locator(".now", has_text=re.compile("90 %: .2.00 to .2.00.*68 %: .1.00 to .1.00")).wait_for()
        widths = {2.5: (0, 0), 1.5: (1, 3), 0.6: (6, 9), 0.0: (10, 14), -1.5: (1, 3), -2.5: (0, 0)}
        for score, (least, most) in widths.items():
            stage.tab.wait(f"({WIDTH_AT})({score}) >= {least}")
            assert stage.page.evaluate(f"({WIDTH_AT})({score})") <= most, score
        assert stage.tab.errors == []

    def test_a_band_that_is_none_is_not_drawn(self, stage):
        body = json.loads(sentiment().payload()) | {"band": [2, -9]}
        stage.publisher.say("agfn/desk/sentiment", json.dumps(body))
        card = stage.card()
        card.locator(".score", has_text="+1.24").wait_for()
        assert "68 %" not in card.locator(".now").inner_text()

    def test_a_recording_has_its_mark_and_says_what_is_kept(self, stage):
        def told(recording):
            stage.say(sentiment())
            stage.say(health().model_copy(update={"recording": recording}))

        kept = RecordingHealth(bytes=5, dropped=0, writing=True, words=True, media=True)
        told(kept)
        mark = stage.card().locator(".rec")
        mark.filter(has_text="REC numbers + words + picture + sound").wait_for()
        if "AGFN_SCREENSHOTS" in os.environ:
            stage.page.screenshot(path=f"{os.environ['AGFN_SCREENSHOTS']}/dashboard-recording.png")
        told(kept.model_copy(update={"writing": False}))
        mark.filter(has_text="recording failed").wait_for()
        told(None)
        mark.wait_for(state="hidden")
        told(RecordingHealth(bytes=5, dropped=0, writing=True))
        mark.wait_for()
        assert mark.inner_text() == "REC numbers"
        mark.wait_for(state="hidden", timeout=15_000)  # nobody says so any more
        assert stage.tab.errors == []

    def test_what_a_broker_sends_is_text_and_never_markup(self, stage):
        hostile = {name: part(1 / 3, 0.5, "noisy", HOSTILE) for name in ("text", "voice", "face")}
        body = json.loads(sentiment(modalities=hostile).payload()) | {"label": HOSTILE, "state": "degraded"}
        stage.publisher.say(f"agfn/{HOSTILE.replace('/', '_')}/sentiment", json.dumps(body))
        event = EventMessage(
            stream="desk",
            id=HOSTILE,
            utc=datetime.now(timezone.utc),
            time_s=1,
            component=HOSTILE,
            kind="lost",
            cause=HOSTILE,
        )
        stage.say(event)
        stage.page.locator("#events li").wait_for()
        stage.page.locator(".card").wait_for()

        assert HOSTILE in stage.page.locator("#events li").inner_text()
        assert stage.page.locator("img, main script").count() == 0
        assert stage.page.title() == "AGFN Live"
        assert (
            stage.page.evaluate("try { document.body.innerHTML = '<b>'; 'open' } catch (e) { e.name }") == "TypeError"
        )

    def test_what_it_cannot_read_is_counted_and_harmless(self, stage):
        payloads = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": "agfn.sentiment/2"}', b"x" * 20000]
        for payload in payloads:
            stage.publisher.say("agfn/desk/sentiment", payload)
        stage.page.locator("#unreadable", has_text=f"could not read: {len(payloads)}").wait_for()
        stage.say(sentiment())
        stage.card().locator(".score", has_text="+1.24").wait_for()
        assert stage.tab.errors == []

    def test_numbers_out_of_range_are_not_shown(self, stage):
        body = json.loads(sentiment().payload()) | {"score": 1e9, "interval": ["a", None]}
        stage.publisher.say("agfn/desk/sentiment", json.dumps(body))
        stage.card().locator(".score", has_text="\N{EN DASH}").wait_for()

    def test_old_data_is_marked_and_a_lost_broker_is_said_until_it_is_back(self, stage):
        stage.publisher.say("agfn/desk/status", b"online", retain=True)
        stage.say(sentiment())
        stage.card().locator(".say", has_text="No message for 3 s").wait_for()
        assert stage.card().get_attribute("data-stale") == "true"
        assert stage.card().get_by_role("button").is_disabled()

        stage.broker.kill()
        stage.page.locator("#connection", has_text="broker gone").wait_for()
        stage.card().locator(".say", has_text="Broker gone").wait_for()

        stage.broker.start()
        stage.page.locator("#connection[data-state=connected]").wait_for()
        wait_for(stage.publisher.client.is_connected, what="the publisher's return")
        stage.say(sentiment())
        stage.page.locator(".card[data-stale=false]").wait_for()

    def test_pause_asks_by_command_and_shows_what_came_of_it(self, stage):
        stage.say(sentiment())
        button = stage.card().get_by_role("button")
        button.click()
        wait_for(lambda: stage.publisher.payloads("command") == [b"pause"], what="the command")
        assert not stage.publisher.messages[0].retain
        assert button.inner_text() == "Pause…"

        stage.say(sentiment(**PAUSED))
        stage.card().locator(".say", has_text="Paused").wait_for()
        button.click()
        wait_for(lambda: stage.publisher.payloads("command")[1:] == [b"resume"], what="the second command")

    def test_many_streams_each_have_a_card_on_a_phone_too(self, stage):
        names = [f"seat-{number:02}" for number in range(20)]
        for name in names:
            stage.say(sentiment(stream=name), name)
        stage.tab.wait("document.querySelectorAll('.card').length === 20")
        assert stage.page.locator(".card h2").all_inner_texts() == names

        stage.page.set_viewport_size({"width": 360, "height": 740})
        assert stage.page.evaluate("document.documentElement.scrollWidth") <= 360

    def test_an_event_that_comes_twice_is_shown_once(self, stage):
        at = datetime.now(timezone.utc) - timedelta(seconds=5)
        lost = EventMessage(stream="desk", id="desk-1", utc=at, time_s=1, component="camera", kind="lost", cause="gone")
        for _ in range(2):
            stage.say(lost)
        stage.say(lost.model_copy(update={"id": "desk-2", "kind": "recovered", "cause": None}))
        stage.tab.wait("document.querySelectorAll('#events li').length >= 2")
        kinds = stage.page.locator("#events .kind").all_inner_texts()
        assert kinds == ["recovered", "lost"]


@pytest.mark.real
@pytest.mark.models
def test_a_broker_that_asks_for_a_password_gets_it_from_the_person(tmp_path, browser):
    passwords, ws_port = tmp_path / "passwords", free_port()
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "viewer", "secret"], check=True, capture_output=True)
    lines = [f"listener {ws_port} 127.0.0.1", "protocol websockets", f"password_file {passwords}", "user root"]
    broker = Mosquitto(tmp_path, lines)
    dashboard = Dashboard(0, "agfn", None, f"ws://127.0.0.1:{ws_port}")
    tab = Tab(browser, dashboard.url)
    try:
        tab.page.locator("#login").wait_for()
        for password, state in (("wrong", "waiting"), ("secret", "connected")):
            tab.page.get_by_label("User").fill("viewer")
            tab.page.get_by_label("Password").fill(password)
            tab.page.get_by_role("button", name="Connect").click()
            tab.page.locator(f"#connection[data-state={state}]").wait_for()
            assert tab.page.get_by_label("Password").input_value() == ""
            if state == "waiting":
                tab.page.locator("#login").wait_for()
    finally:
        tab.close()
        dashboard.close()
        broker.close()


@pytest.mark.real
@pytest.mark.models
def test_the_page_on_a_real_run_pauses_it_and_shows_a_camera_that_is_lost(http_camera, browser, tmp_path):
    port, output = free_port(), tmp_path / "out.jsonl"
    options = ["--camera", http_camera.url, "--no-mic", "--set", "mqtt.port=0", "--set", "asr.enabled=false"]
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--output", str(output), "--dashboard", str(port)]
    program = Program([*command, *options], tmp_path / "log.txt", child_env())

    def serves():
        assert program.process.poll() is None, program.text()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def states():
        lines = [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]
        return [line["state"] for line in lines if line["schema"] == "agfn.sentiment/1"]

    try:
        wait_until(serves, 60, "the dashboard")
        tab = Tab(browser, f"http://localhost:{port}/")
        card = tab.page.locator(".card")
        card.locator("[data-gate=face][data-state=ok]").wait_for(timeout=60_000)
        assert card.get_attribute("data-mark") == "analysing"
        assert re.fullmatch(r"[+\u2212][0-3]\.[0-9]{2}", tab.text(".score"))
        tab.page.locator(".vitals", has_text="camera").wait_for()

        card.get_by_role("button").click()
        card.locator(".say", has_text="camera and microphone are released").wait_for()
        assert states()[-1] == "paused"
        assert tab.page.locator("#events", has_text="paused").count() == 1

        card.get_by_role("button", name="Resume desk").click()
        tab.page.locator(".card[data-mark=analysing]").wait_for()
        card.locator("[data-gate=face][data-state=ok]").wait_for()

        http_camera.kill()
        card.locator("[data-gate=face][data-state=lost]").wait_for()
        tab.page.locator("#events li[data-fault=true]", has_text="camera").first.wait_for()
        assert tab.errors == []

        program.process.terminate()
        assert program.process.wait(15) == 0
        tab.page.locator("#connection", has_text="broker gone").wait_for()
        tab.close()
    finally:
        program.kill()
