"""The dashboard beyond this machine: token and TLS or not at all, a link that only watches; an hour; for everybody."""

import contextlib
import http.client
import io
import json
import logging
import os
import ssl
import threading
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_messages import health, sentiment
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from realtime.config.combinations import check
from realtime.config.load import load
from realtime.config.schema import Config
from realtime.dashboard.readonly import LONGEST, ForbiddenError, ReadOnly
from realtime.dashboard.server import Dashboard
from realtime.errors import UsageError
from realtime.run import options, parser
from realtime.system.guard import Guard, guard_of
from scripts.harness.browser import Tab, chromium
from scripts.harness.mosquitto import Mosquitto, Subscriber, free_port, wait_for

TOKEN = "a-token-of-somebody-0123456789"
WATCH = Guard(token=TOKEN).watch_token
CONNECT = bytes([16, 13, 0, 4, *b"MQTT", 4, 2, 0, 60, 0, 1, ord("x")])
CONNACK = bytes([32, 2, 0, 0])
WILL = bytes([16, 19, 0, 4, *b"MQTT", 4, 6, 0, 60, 0, 1, ord("x"), 0, 1, ord("t"), 0, 1, ord("w")])
SUBSCRIBE = bytes([0x82, 8, 0, 1, 0, 3, *b"a/b", 0])
PUBLISH = bytes([0x30, 24, 0, 17, *b"agfn/desk/command", *b"pause"])
PING = bytes([0xC0, 0])


@pytest.fixture
def beyond(mosquitto, certified):
    """A dashboard that listens on every address, with a token and TLS."""
    guard = Guard("0.0.0.0", TOKEN, certified["cert_file"], certified["key_file"])
    dashboard = Dashboard(0, "agfn", ("127.0.0.1", mosquitto.port), None, guard)
    yield dashboard
    dashboard.close()


def unverified():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def get(dashboard, path="/", **headers):
    connection = http.client.HTTPSConnection("127.0.0.1", dashboard.port, timeout=5, context=unverified())
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def websocket(dashboard, token=None, origin=None):
    place = f"127.0.0.1:{dashboard.port}"
    spoken = ["mqtt", *([] if token is None else [f"token.{token}"])]
    return connect(
        f"wss://{place}/mqtt", origin=origin or f"https://{place}", subprotocols=spoken, ssl=unverified(), proxy=None
    )


@pytest.mark.parametrize(
    ("host", "given_", "says"),
    [
        ("0.0.0.0", (), "needs a token .AGFN_DASHBOARD_TOKEN or dashboard.token_file. and TLS .*ssh -L"),
        ("::", ("token",), "needs TLS .dashboard.cert_file and dashboard.key_file.;"),
        ("192.0.2.7", ("tls",), "needs a token .AGFN_DASHBOARD_TOKEN or dashboard.token_file.;"),
        ("dash.lan", (), "--dashboard dash.lan:8080 can be reached from other machines"),
        ("127.0.0.1.evil.example", (), "can be reached"),
    ],
)
@pytest.mark.real
def test_beyond_this_machine_it_takes_a_token_and_tls_and_the_error_says_how(certified, host, given_, says):
    tls = certified if "tls" in given_ else dict.fromkeys(certified)
    environ = {"AGFN_DASHBOARD_TOKEN": TOKEN} if "token" in given_ else {}
    with pytest.raises(UsageError, match=says):
        guard_of(host=host, port=8080, token_file=None, environ=environ, **tls)


@pytest.mark.real
def test_what_is_needed_lets_it_listen_anywhere_and_this_machine_needs_nothing(certified, tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    guard = guard_of(host="0.0.0.0", port=1, token_file=str(file), environ={}, **certified)
    assert (guard.role(TOKEN), guard.role(WATCH), guard.role("x"), guard.role(None)) == ("control", "watch", None, None)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert guard_of(host=host, port=1, token_file=None, cert_file=None, key_file=None, environ={}).role(None)


@pytest.mark.parametrize("token", ["short", "", "with spaces in it, alas", "x" * 300, "t\u00f6ken-mit-umlaut-1234"])
def test_a_token_that_is_none_is_refused_and_not_repeated(tmp_path, token):
    file = tmp_path / "token"
    file.write_text(token)
    with pytest.raises(UsageError, match="16 to 200 letters") as caught:
        guard_of(host="127.0.0.1", port=1, token_file=str(file), cert_file=None, key_file=None, environ={})
    assert not token or token not in str(caught.value)


@pytest.mark.real
def test_a_certificate_that_is_none_is_said_before_anything_slow(certified, tmp_path):
    (tmp_path / "odd.pem").write_text("no certificate")
    for cert, key, says in (
        (str(tmp_path / "odd.pem"), certified["key_file"], "dashboard.cert_file"),
        (str(tmp_path / "gone"), certified["key_file"], "No such file"),
        (certified["cert_file"], None, "belong together"),
    ):
        values = {"dashboard": {"port": 0, "cert_file": cert, "key_file": key}}
        with pytest.raises(UsageError, match=says):
            check(Config.model_validate(values))


@pytest.mark.parametrize(
    ("text", "host", "port"), [("8080", "127.0.0.1", 8080), ("0.0.0.0:1", "0.0.0.0", 1), ("[::1]:2", "::1", 2)]
)
def test_the_option_takes_a_port_or_a_place(text, host, port):
    config, _ = load(options=options(parser().parse_args(["--dashboard", text])))
    assert (config.dashboard.host, config.dashboard.port) == (host, port)


@pytest.mark.parametrize("text", [":8080", "host:", "host:x", "", "a b:1", "[]:1"])
def test_a_place_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        load(options=options(parser().parse_args(["--dashboard", text])))


@pytest.mark.real
@pytest.mark.models
class TestServer:
    def test_the_page_is_for_all_and_what_it_is_about_for_who_has_the_token(self, beyond):
        assert beyond.url.startswith("https://")
        assert get(beyond, "/", Host="dash.lan:8080")[0].status == 200
        policy = get(beyond, "/")[0].headers["Content-Security-Policy"]
        assert f"wss://127.0.0.1:{beyond.port}" in policy
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}):
            answer, body = get(beyond, "/settings.json", **wrong)
            assert answer.status == 401
            assert b"agfn" not in body
        assert json.loads(get(beyond, "/settings.json", Authorization=f"Bearer {TOKEN}")[1])["watch"] == WATCH
        assert json.loads(get(beyond, "/settings.json", Authorization=f"Bearer {WATCH}")[1])["watch"] is None

    def test_a_host_that_could_write_a_header_is_refused(self, beyond):
        assert get(beyond, "/", Host="dash.lan; script-src *")[0].status in {400, 403}

    def test_without_tls_nobody_is_answered(self, beyond):
        connection = http.client.HTTPConnection("127.0.0.1", beyond.port, timeout=5)
        connection.request("GET", "/")
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()
        connection.close()

    @pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1], f"{TOKEN}x", ""])
    def test_without_the_token_nobody_reaches_the_broker(self, beyond, token, caplog):
        caplog.set_level(logging.DEBUG)
        with pytest.raises(InvalidStatus) as refusal:
            websocket(beyond, token)
        assert refusal.value.response.status_code == 401
        assert not [record for record in caplog.records if TOKEN in record.getMessage()]

    def test_a_page_of_another_site_needs_more_than_the_token(self, beyond):
        with pytest.raises(InvalidStatus) as refusal:
            websocket(beyond, TOKEN, "https://evil.example")
        assert refusal.value.response.status_code == 403

    def test_with_the_token_a_page_may_command(self, beyond, mosquitto):
        heard = Subscriber(mosquitto.port, "agfn/+/command")
        with websocket(beyond, TOKEN) as page:
            page.send(CONNECT + PUBLISH)
            assert page.recv(5) == CONNACK
            wait_for(lambda: heard.payloads("command") == [b"pause"], what="the command")
        heard.close()

    @pytest.mark.parametrize("forbidden", [PUBLISH, PUBLISH[:7], WILL])
    def test_a_page_that_watches_is_cut_off_when_it_commands(self, beyond, mosquitto, forbidden):
        heard = Subscriber(mosquitto.port, "#")
        with websocket(beyond, WATCH) as page:
            if forbidden is not WILL:
                page.send(CONNECT + SUBSCRIBE)
                assert page.recv(5).startswith(CONNACK)
            page.send(forbidden)
            if forbidden == PUBLISH[:7]:
                page.send(PUBLISH[7:])
            with pytest.raises(ConnectionClosed):
                [page.recv(5) for _ in range(3)]
        heard.say("over", b"1")
        wait_for(lambda: heard.messages, what="a message")
        assert [message.topic for message in heard.messages] == ["over"]
        heard.close()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_what_a_watching_page_may_say_passes_in_any_pieces(sizes):
    said, only, passed = CONNECT + SUBSCRIBE + PING * 3, ReadOnly(), b""
    rest = said
    for size in [*sizes, len(said)]:
        passed += only.feed(rest[:size])
        rest = rest[size:]
    assert passed == said


@given(st.binary(max_size=64), st.integers(1, 64))
def test_whatever_is_sent_no_message_and_no_will_passes(noise, cut):
    only, passed = ReadOnly(), b""
    try:
        for part in (noise[:cut], noise[cut:]):
            passed += only.feed(part)
    except ForbiddenError:
        return
    assert passed == noise[: len(passed)]
    assert not passed or passed[0] >> 4 not in {0, 2, 3, 9, 11, 13, 15}


def test_a_packet_that_never_ends_is_refused():
    with pytest.raises(ForbiddenError):
        ReadOnly().feed(bytes([0x82, 0xFF, 0xFF, 0x7F]) + bytes(LONGEST))
    with pytest.raises(ForbiddenError):
        ReadOnly().feed(bytes([0x82, 0xFF, 0xFF, 0xFF, 0xFF]))


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


class Stage:
    """A broker, a publisher, and the page in a browser that gives a token."""

    def __init__(self, browser, dashboard, mosquitto):
        self.browser, self.dashboard = browser, dashboard
        self.publisher = Subscriber(mosquitto.port, "agfn/+/command")
        self.url = f"{dashboard._guard.scheme}://127.0.0.1:{dashboard.port}/"
        self.tabs = []
        self.tab = self.open("")
        self.page = self.tab.page

    def open(self, path, **options_):
        self.tabs.append(Tab(self.browser, self.url + path, any_certificate=True, **options_))
        return self.tabs[-1]

    def say(self, message, stream="desk"):
        kind = message.schema_.split(".")[1].split("/")[0]
        self.publisher.say(f"agfn/{stream}/{kind}", message.payload())

    @contextlib.contextmanager
    def talking(self, *streams):
        """Messages of streams, as often as the program sends them."""
        over = threading.Event()

        def talk():
            while not over.wait(0.25):
                for stream in streams or ("desk",):
                    self.say(sentiment(stream=stream), stream)
                    self.say(health(), stream)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self):
        for tab in self.tabs:
            tab.close()
        self.publisher.close()


@pytest.fixture
def guarded(browser, beyond, mosquitto):
    made = Stage(browser, beyond, mosquitto)
    yield made
    made.close()


@pytest.fixture
def local(browser, mosquitto):
    dashboard = Dashboard(0, "agfn", ("127.0.0.1", mosquitto.port), None)
    made = Stage(browser, dashboard, mosquitto)
    made.page.locator("#connection[data-state=connected]").wait_for()
    yield made
    made.close()
    dashboard.close()


def shot(tab, name):
    """Keep a picture of the page where a person asked for them; return its pixels, (H, W, 4)."""
    png = tab.page.screenshot(omit_background=True)
    if "AGFN_SCREENSHOTS" in os.environ:
        (Path(os.environ["AGFN_SCREENSHOTS"]) / f"{name}.png").write_bytes(png)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def wrong_with(tab):
    return [
        (rule["id"], [node["html"] for node in rule["nodes"]]) for rule in Axe().run(tab.page).response["violations"]
    ]


@pytest.mark.real
@pytest.mark.models
class TestPage:
    def test_a_person_gives_the_token_and_gets_a_link_that_only_watches(self, guarded):
        page = guarded.page
        for token, words in (("wrong", "the token is wrong"), (TOKEN, "connected")):
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Open").click()
            page.locator("#connection", has_text=words).wait_for()
            shot(guarded.tab, f"dashboard-token-{words.split()[-1]}")
        assert TOKEN not in page.content()
        href = page.locator("#watch").get_attribute("href")
        assert href == f"overlay.html#token={WATCH}"

        overlay = guarded.open(href)
        with guarded.talking():
            overlay.page.locator(".panel .score", has_text="+1.24").wait_for()
            page.get_by_role("button", name="Pause desk").click()
        wait_for(lambda: guarded.publisher.payloads("command") == [b"pause"], what="the command")
        assert guarded.open("overlay.html#token=wrong").text("#say").startswith("Open this page by the link")
        assert not [line for line in overlay.errors if "401" not in line]

    def test_the_overlay_for_obs_is_transparent_but_for_its_panels(self, local):
        overlay = local.open("overlay.html?stream=desk", width=800, height=400)
        panel = overlay.page.locator(".panel")
        with local.talking("desk", "other"):
            overlay.page.locator(".panel[data-stale=false] .score", has_text="+1.24").wait_for()
            pixels = shot(overlay, "overlay-obs")
        assert overlay.page.locator(".panel h2").all_inner_texts() == ["desk"]
        box = panel.bounding_box()
        inside = pixels[int(box["y"]) + 4, int(box["x"] + box["width"] / 2), 3]
        assert inside > 150
        outside = pixels.copy()
        outside[: int(box["y"] + box["height"]) + 1, : int(box["x"] + box["width"]) + 1] = 0
        assert not outside.any()
        assert overlay.page.get_by_role("button").count() == 0
        assert overlay.errors == []

    def test_an_hour_is_kept_in_as_many_points_as_a_quarter_of_it(self, local):
        kept = local.page.evaluate(
            """async () => {
                const { Stream } = await import("/stream.js");
                const stream = new Stream("desk");
                const gates = { text: { weight: 0.5 }, voice: { weight: 0.25 }, face: { weight: 0.25 } };
                for (let tick = 0; tick < 4 * 7200; tick += 1) {
                    const t = tick / 4;
                    const away = t > 5000 && t < 5030;
                    const score = away ? null : Math.sin(t / 100);
                    const range = away ? null : { low: -1, high: 2 };
                    stream.hear({ state: "ok", score, interval: range, band: t > 4000 ? range : null, gates }, t);
                }
                return stream.past;
            }"""
        )
        assert len(kept) <= 3610
        times = np.array([point["t"] for point in kept])
        assert (times[0], times[-1]) == (pytest.approx(7200 - 3600, abs=2), 7199.75)
        apart = np.diff(times)
        assert apart.min() > 0
        assert apart.max() < 2, "no hole in the line"
        assert np.allclose(apart[times[1:] > 7200 - 299], 0.25)
        scored = [point for point in kept if point["score"] is not None]
        assert max(abs(point["score"] - np.sin(point["t"] / 100)) for point in scored) < 0.01
        away = [point["t"] for point in kept if point["score"] is None]
        assert (min(away), max(away)) == (pytest.approx(5000, abs=2), pytest.approx(5030, abs=2))
        assert all(point["interval"] == {"low": -1, "high": 2} for point in scored)
        assert {point["t"] > 4000 for point in scored if point["band"] is None} == {False}
        assert all(sum(point["weights"]) == pytest.approx(1) for point in kept)

    def test_an_hour_can_be_chosen_and_is_drawn(self, local):
        local.say(sentiment())
        local.page.locator(".card .score", has_text="+1.24").wait_for()
        local.page.get_by_label("Show the last").select_option("hour")
        local.page.locator(".caption", has_text="60 minutes ago").wait_for()
        assert local.tab.errors == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_wrong_with_the_dashboard(self, local, scheme):
        tab = local.tab
        tab.page.emulate_media(color_scheme=scheme)
        with local.talking():
            tab.page.locator(".card[data-stale=false] .score", has_text="+1.24").wait_for()
            assert wrong_with(tab) == []
            shot(tab, f"dashboard-{scheme}")

    def test_axe_finds_nothing_wrong_with_the_overlay_and_the_question_for_the_token(self, guarded):
        guarded.page.get_by_label("Token").wait_for()
        assert wrong_with(guarded.tab) == []
        guarded.page.goto(f"{guarded.url}overlay.html#token={WATCH}")
        with guarded.talking():
            guarded.page.locator(".panel[data-stale=false] .score", has_text="+1.24").wait_for()
            assert wrong_with(guarded.tab) == []

    def test_all_can_be_done_by_keyboard_and_the_focus_is_seen(self, local):
        reached = []
        with local.talking():
            local.page.locator("#pause-all:enabled").wait_for()
            local.page.get_by_label("Pause desk").and_(local.page.locator(":enabled")).wait_for()
            for _ in range(5):
                local.page.keyboard.press("Tab")
                focus = "(({id, ariaLabel}) => id || ariaLabel)(document.activeElement)"
                reached.append(local.page.evaluate(focus))
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert local.page.evaluate(outline) != "none", reached
            assert reached == ["span", "pause-all", "Pause desk", "events", "watch"]
            local.page.keyboard.press("Shift+Tab")
            local.page.keyboard.press("Shift+Tab")
            local.page.keyboard.press("Enter")
        wait_for(lambda: local.publisher.payloads("command") == [b"pause"], what="the command")


@pytest.mark.real
@pytest.mark.models
def test_where_a_broker_of_ones_own_is_needs_the_token(certified, tmp_path):
    port = free_port()
    broker = Mosquitto(tmp_path, [f"listener {port} 127.0.0.1", "protocol websockets", "allow_anonymous true"])
    guard = Guard("0.0.0.0", TOKEN, certified["cert_file"], certified["key_file"])
    dashboard = Dashboard(0, "agfn", None, f"ws://127.0.0.1:{port}", guard)
    try:
        answer, body = get(dashboard, "/settings.json", Authorization=f"Bearer {TOKEN}")
        assert json.loads(body)["broker"] == f"ws://127.0.0.1:{port}"
        assert f"ws://127.0.0.1:{port}" in answer.headers["Content-Security-Policy"]
    finally:
        dashboard.close()
        broker.close()
