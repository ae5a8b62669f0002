"""The fleet on the dashboard's page, in a real Chromium: what a placer says of itself at a real broker."""

import json
import re

import pytest
from test_dashboard import HOSTILE
from test_dashboard_beyond import shot, wrong_with
from test_placer import Fleet

from realtime.clock import MonotonicClock
from realtime.config.schema import MqttConfig
from realtime.dashboard.server import Dashboard
from realtime.fleet.control import Control
from realtime.publish.access import access_of
from scripts.harness.browser import Tab, chromium

NOBODY = "\N{EN DASH}"

pytestmark = [pytest.mark.real, pytest.mark.models]


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser, mosquitto):
    """The page, at a broker at which nobody says anything."""
    dashboard = Dashboard(0, "agfn", ("127.0.0.1", mosquitto.port), None)
    made = Tab(browser, dashboard.url)
    made.page.locator("#connection[data-state=connected]").wait_for()
    yield made
    made.close()
    dashboard.close()


def rows(tab, title):
    found = tab.page.get_by_role("region", name=title).locator("tbody tr").all()
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in found]


def test_hosts_streams_without_one_and_moves_are_shown_while_there_is_a_fleet(tab, mosquitto):
    assert tab.page.locator(".fleet").count() == 0
    fleet = Fleet(names=("left", "right"), streams=4, labels={"left": {"site": "berlin"}})
    fleet.placer.want({"name": "attic"}, {"site": "roof"})
    fleet.run(3)
    access = access_of(MqttConfig(url=mosquitto.url))
    control = Control(access, "agfn", "main", lambda _: None, fleet.placer.status, MonotonicClock())
    control.start()
    try:
        tab.page.get_by_role("heading", name="Fleet main").wait_for()
        assert tab.text(".fleet > .faint") == "2 hosts · 5 streams · 1 without a host"
        left, right = rows(tab, "Hosts of fleet main")
        assert left[:3] == ["left", "✓ ready", "2"]
        assert left[5] == "site=berlin"
        assert re.fullmatch(r"\d\.\d\d of 4", right[3])
        assert re.fullmatch(r"\d+ MB", right[4])
        assert tab.text(".homeless") == "attic no host with site=roof"
        moves = rows(tab, "Newest moves of fleet main")
        assert sorted(move[1:] for move in moves) == [
            [f"s{number}", "new stream", NOBODY, host] for number, host in enumerate(["left", "right"] * 2)
        ]
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d", move[0]) for move in moves)

        fleet.engine.hosts["left"].kill()
        fleet.placer.drain("right")
        fleet.run(1)
        tab.page.locator(".fleet > .faint", has_text="2 hosts · 5 streams · 3 without a host").wait_for()
        assert [row[:3] for row in rows(tab, "Hosts of fleet main")] == [
            ["left", "… starting", "0"],
            ["right", "▽ draining", "2"],
        ]
        fleet.placer.drain("right", draining=False)
        fleet.run(1)
        tab.page.locator(".fleet > .faint", has_text="1 without a host").wait_for()
        assert sorted(row[1:] for row in rows(tab, "Newest moves of fleet main")[:2]) == [
            ["s0", "host lost", "left", "right"],
            ["s2", "host lost", "left", "right"],
        ]
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme)
            assert wrong_with(tab) == []
            shot(tab, f"dashboard-fleet-{scheme}")
        assert tab.page.locator(".fleet button").count() == 0, "it only shows"
    finally:
        control.close()
    tab.page.locator(".fleet").wait_for(state="detached")
    assert tab.errors == []


def test_what_a_fleet_sends_is_text_and_what_is_old_or_none_says_so(tab, subscribe):
    publisher = subscribe(topics="agfn/none")
    body = {
        "schema": "agfn.fleet.status/1",
        "state": "up",
        "utc": HOSTILE,
        "hosts": {
            HOSTILE: {"state": HOSTILE, "cores": -1, "used_cores": "x", "labels": {HOSTILE: HOSTILE}},
            "h2": None,
        },
        "streams": {f"{number} {HOSTILE}": {"host": None, "why": HOSTILE} for number in range(2000)},
        "moves": [None, {"ago_s": 1e300, "stream": HOSTILE, "from": HOSTILE, "to": 7, "why": HOSTILE}],
    }
    publisher.say("agfn/_fleet/odd/status", json.dumps(body), retain=True)
    for none in (b"{", b"[]", b"null", json.dumps(body | {"schema": "agfn.fleet.status/2"})):
        publisher.say("agfn/_fleet/odd/status", none)
    tab.page.locator("#unreadable", has_text="could not read: 4").wait_for()
    assert HOSTILE[:64] in tab.text(".rows >> nth=0")
    assert HOSTILE[:20] in tab.text(".rows >> nth=1")
    assert tab.page.locator(".homeless li").count() == 51
    assert tab.page.locator(".homeless li").last.inner_text() == "and 1950 more"
    assert tab.page.locator(".fleet :is(img, script)").count() == 0
    assert tab.page.title() == "AGFN Live"
    tab.page.locator(".fleet .say", has_text="No news from this fleet for 3 s").wait_for()
    assert tab.page.locator(".fleet").get_attribute("data-stale") == "true"
    publisher.say("agfn/_fleet/odd/status", b"", retain=True)
    tab.page.locator(".fleet").wait_for(state="detached")
    assert tab.errors == []
