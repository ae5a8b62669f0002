"""What a chaos run counts as a violation, what a restarted broker is told anew, and the metrics of a fleet."""

import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families
from test_placer import Fleet

from realtime.clock import MonotonicClock
from realtime.config.schema import MetricsConfig, MqttConfig
from realtime.errors import UsageError
from realtime.fleet.book import Entry, from_json
from realtime.fleet.control import Control
from realtime.fleet.fleet import metrics_of
from realtime.fleet.metrics import OfHost
from realtime.publish.access import access_of
from scripts.fleeting.arrivals import Heard
from scripts.fleeting.verdict import BACK_S, GHOST_S, SILENT_S, Faults, Wanted, judge
from scripts.harness.mosquitto import wait_for

TOKEN = "a-token-of-a-scraper-0123456789"
END_S = 100.0


def said(seqs, epoch=1, host="h1", at_s=0.0):
    """Windows that arrive a quarter of a second after their end, one a second."""
    return [
        Heard(
            at_s=seq + at_s,
            stream="s",
            seq=seq,
            epoch=epoch,
            host=host,
            end_s=seq - 0.25 + at_s,
            score=None,
            raw=None,
            context=None,
            late_ms=100,
        )
        for seq in seqs
    ]


def verdict(heard, faults=None, wanted=None):
    return judge({"s": heard}, {"s": wanted or Wanted(0.0)}, faults or Faults(), 1.0, END_S)


def test_an_undisturbed_stream_and_one_that_went_to_another_host_break_nothing():
    found = verdict(said(range(50)) + said(range(54, 100), epoch=2, host="h2"), Faults(harms=[50.0]))
    assert (found.violations, found.windows, found.longest_s) == (0, 96, 5.0)


def test_windows_that_one_host_left_out_are_gaps_unless_the_broker_was_gone():
    left_out = said([*range(50), *range(53, 100)])
    assert (verdict(left_out).gaps, verdict(left_out).violations) == (3, 3)
    assert verdict(left_out, Faults(outages=[(50.5, 51.0)])).violations == 0
    assert verdict(left_out, Faults(outages=[(40.0, 49.0 - BACK_S)])).gaps == 3


def test_what_is_said_twice_or_by_two_hosts_of_one_epoch_is_one_that_a_client_would_take():
    assert verdict([*said(range(100)), *said([99])]).twice == 1
    assert verdict([*said(range(50)), *said(range(50, 100), host="h2")]).twice == 1
    old = sorted([*said(range(100), epoch=2), *said([60, 61], at_s=0.5)], key=lambda each: each.at_s)
    assert (verdict(old).rejected, verdict(old).violations) == (2, 0), "a client rejects an older epoch"


def test_a_window_beside_the_grid_is_one():
    assert verdict([*said(range(50)), *said(range(50, 100), at_s=0.2)]).off_grid == 1


def test_a_stream_that_is_silent_for_too_long_is_one_and_a_harm_gives_it_more_time():
    away = [*said(range(50)), *said(range(65, 100), epoch=2)]
    assert verdict(away).silent == 1
    assert verdict(away, Faults(harms=[49.5, 56.0])).silent == 0
    assert verdict(away, Faults(outages=[(50.0, 52.0)])).silent == 0
    assert verdict(said(range(70)), Faults(harms=[70.0 + each for each in range(0, 30, 5)])).silent == 1
    assert verdict([], None).silent == 1
    assert verdict(said(range(int(END_S - SILENT_S) + 1))).silent == 0


def test_a_stream_that_was_removed_may_be_silent_and_must_be_soon():
    wanted = Wanted(0.0)
    wanted.end(30.0)
    assert verdict(said(range(31)), wanted=wanted).violations == 0
    assert verdict(said([*range(31), 30 + int(GHOST_S) + 2]), wanted=wanted).ghosts == 1
    wanted.begin(70.0)
    assert verdict(said(range(31)) + said(range(72, 100), epoch=2), wanted=wanted).violations == 0
    assert wanted.now


@pytest.mark.real
def test_a_broker_that_lost_its_copy_of_the_book_gets_it_again(mosquitto, subscribe):
    control = Control(access_of(MqttConfig(url=mosquitto.url)), "agfn", "main", lambda _: None, dict, MonotonicClock())
    assert control.start() == []
    try:
        entries = {name: Entry({"name": name}, host="h1", epoch=3) for name in ("desk", "door", "gone")}
        for entry in entries.values():
            control.note(entry)
        control.note("gone")
        mosquitto.kill()
        mosquitto.start()
        heard = subscribe(topics="agfn/_fleet/main/entry/+")
        wait_for(lambda: heard.payloads("desk") and heard.payloads("door"), what="the book")
        assert from_json(heard.payloads("desk")[-1]) == entries["desk"]
        assert from_json(heard.payloads("door")[-1]) == entries["door"]
        assert not any(heard.payloads("gone"))
    finally:
        control.close()


def scraped(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_fleet_gives_its_metrics_to_who_has_the_token(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    fleet = Fleet(names=("h1", "h2"), streams=4)
    fleet.placer.want({"name": "attic"}, {"site": "roof"})
    fleet.run(3)
    serve = metrics_of(MetricsConfig(port=0, token_file=str(tmp_path / "token")))
    endpoint = serve(fleet.placer)
    try:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            scraped(endpoint.url)
        assert refusal.value.code == 401
        refusal.value.close()
        found = scraped(endpoint.url, Authorization=f"Bearer {TOKEN}")
    finally:
        endpoint.close()
    assert found["agfn_fleet_streams", "h1"] == found["agfn_fleet_streams", "h2"] == 2
    assert found["agfn_fleet_host_state", "h1", "ready"] == 1
    assert found["agfn_fleet_host_state", "h1", "silent"] == 0
    assert found["agfn_fleet_streams_without_host",] == 1
    assert found["agfn_fleet_placements_total", "new"] == 4
    assert found["agfn_fleet_host_memory_bytes", "h1"] > 1e6


def test_the_metrics_of_a_fleet_do_not_leave_the_machine_without_token_and_tls():
    with pytest.raises(UsageError, match=r"--metrics 0.0.0.0:9109 .* needs a token"):
        metrics_of(MetricsConfig(host="0.0.0.0", port=9109))
    assert metrics_of(MetricsConfig())(None) is None


def test_the_metrics_of_a_host_carry_its_name():
    registry = CollectorRegistry()
    Gauge("agfn_score", "s", ("stream",), registry=registry).labels("desk").set(1.5)
    (family,) = OfHost(registry, "h1").registry.collect()
    assert [sample.labels for sample in family.samples] == [{"stream": "desk", "host": "h1"}]
    assert [sample.value for sample in family.samples] == [1.5]
