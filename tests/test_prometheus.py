"""The metrics, read back by Prometheus's own parser."""

import http.client
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone

import pytest
from prometheus_client.parser import text_string_to_metric_families
from test_messages import part, sentiment

from realtime.config.combinations import check
from realtime.config.schema import Config
from realtime.errors import UsageError
from realtime.metrics.collector import Metrics
from realtime.metrics.cost import Cost
from realtime.metrics.endpoint import Endpoint
from realtime.publish.messages import ChannelHealth, ComponentHealth, EventMessage, Health, ProcessHealth
from realtime.publish.outlet import Outlet
from realtime.system.guard import guard_of
from scripts.harness.mosquitto import free_port
from scripts.harness.processes import Program, wait_until

TOKEN = "a-token-of-a-scraper-0123456789"
NOW = datetime(2026, 11, 23, 18, tzinfo=timezone.utc)
OFF = {name: part(weight=0, state="off") for name in ("text", "voice", "face")}
NOTHING = {"score": None, "raw": None, "label": None, "interval": None, "modalities": OFF}


def component(cores, dropped=0, restarts=0, *, device=False):
    channel = ChannelHealth(pushed=10 + dropped, popped=10, dropped=dropped, pending=0)
    return ComponentHealth(
        rate_hz=1,
        items=10,
        restarts=restarts,
        left_behind=0,
        delay_ms=20,
        cores=cores,
        lost=False,
        channel=None if device else channel,
    )


def health(stream="desk", uptime_s=1.0, cpu_cores=0.0, **components):
    return Health(
        stream=stream,
        utc=NOW,
        uptime_s=uptime_s,
        state="ok",
        messages=4,
        components=components,
        process=ProcessHealth(rss_mb=1, cpu_cores=cpu_cores, threads=9),
    )


def event(kind, number=1):
    return EventMessage(stream="desk", id=f"desk-{number}", utc=NOW, time_s=1, component="camera", kind=kind)


def get(url, context=None, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5, context=context) as answer:
        return answer.read().decode()


@pytest.fixture
def metrics():
    return Metrics(["desk"])


@pytest.fixture
def read(metrics):
    """Scrape: the value of a sample, or None where there is none."""
    endpoint = Endpoint(metrics.registry, 0)

    def value(name, **labels):
        found = [
            sample.value
            for family in text_string_to_metric_families(get(endpoint.url))
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1, f"{name} comes twice"
        return found[0] if found else None

    value.url = endpoint.url
    yield value
    endpoint.close()


@pytest.fixture
def said(metrics):
    """What the streams say, with the metrics listening."""
    outlet = Outlet()
    metrics.subscribe(outlet)
    return outlet


def test_counters_are_there_from_the_start_at_zero(read):
    assert read("agfn_messages_total", stream="desk") == 0
    assert read("agfn_faults_total", stream="desk") == 0
    assert read("agfn_stage_latency_seconds_count", stream="desk", stage="total") == 0


def test_a_sentiment_gives_score_gates_states_and_latencies(said, read):
    message = sentiment()
    said.send(message)

    assert read("agfn_score", stream="desk") == message.score
    assert read("agfn_interval_width", stream="desk") == pytest.approx(message.interval[1] - message.interval[0])
    for name, gate in message.modalities.items():
        assert read("agfn_gate_weight", stream="desk", modality=name) == gate.weight
        assert read("agfn_reliability", stream="desk", modality=name) == gate.reliability
        assert read("agfn_modality_state", stream="desk", modality=name, state=gate.state) == 1
    assert read("agfn_stream_state", stream="desk", state=message.state) == 1
    assert read("agfn_stream_state", stream="desk", state="paused") == 0
    total_s = read("agfn_stage_latency_seconds_sum", stream="desk", stage="total")
    assert total_s == pytest.approx(message.latency_ms.total / 1000)
    assert read("agfn_text_lag_seconds_count", stream="desk") == 1


def test_without_a_signal_there_is_no_score_to_read(said, read):
    said.send(sentiment())
    said.send(sentiment(state="no_signal", **NOTHING))

    assert read("agfn_score", stream="desk") is None
    assert read("agfn_stream_state", stream="desk", state="no_signal") == 1


def test_a_paused_stream_has_no_latency(said, read):
    said.send(sentiment(state="paused", **NOTHING))

    assert read("agfn_stage_latency_seconds_count", stream="desk", stage="total") == 0
    assert read("agfn_messages_total", stream="desk") == 1


def test_faults_are_counted_and_recoveries_are_not_faults(said, read):
    for number, kind in enumerate(("started", "lost", "recovered", "frozen")):
        said.send(event(kind, number))

    assert read("agfn_faults_total", stream="desk") == 2
    assert read("agfn_events_total", stream="desk", component="camera", kind="recovered") == 1


def test_drops_and_restarts_are_told_per_component(said, read):
    said.send(health(face=component(0.2, dropped=7, restarts=2), voice=component(0.1)))

    assert read("agfn_channel_dropped_total", stream="desk", component="face") == 7
    assert read("agfn_channel_pushed_total", stream="desk", component="face") == 17
    assert read("agfn_component_restarts_total", stream="desk", component="face") == 2
    assert read("agfn_channel_dropped_total", stream="desk", component="voice") == 0
    assert read("agfn_component_delay_seconds", stream="desk", component="voice") == pytest.approx(0.02)


def test_the_streams_share_the_cpu_time_of_the_process_by_their_work():
    cost = Cost()
    for second in (1.0, 2.0, 3.0, 4.0):
        cost.feed(health("busy", second, 1.6, face=component(0.6), camera=component(0.9, device=True)))
        cost.feed(health("idle", second, 1.6, face=component(0.2), camera=component(0.9, device=True)))

    # In the first second the other stream was not known yet.
    assert cost.cpu_s["busy"] == pytest.approx(1.6 + 3 * 1.2)
    assert cost.cpu_s["idle"] == pytest.approx(4 * 0.4)
    assert cost.busy_s["busy", "face"] == pytest.approx(2.4)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "a@127.0.0.1", ""])
def test_a_name_that_is_not_this_machine_is_refused(read, host):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        get(read.url, Host=host)
    assert refusal.value.code in {400, 403}
    refusal.value.close()


def test_only_get_and_only_metrics(read):
    host, port = read.url.split("/")[2].split(":")
    for method, path, status in (("POST", "/metrics", 405), ("GET", "/etc/passwd", 404), ("GET", "/", 404)):
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request(method, path)
        assert connection.getresponse().status == status
        connection.close()


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(metrics, read):
    port = int(read.url.split(":")[2].split("/")[0])
    with pytest.raises(UsageError, match=f"--metrics {port}: .*choose another port"):
        Endpoint(metrics.registry, port)


@pytest.mark.real
def test_beyond_this_machine_it_takes_a_token_and_tls(metrics, certified):
    with pytest.raises(UsageError, match=r"--metrics 0.0.0.0:9108 .* a token .AGFN_METRICS_TOKEN .* docs/metrics.md"):
        guard_of(host="0.0.0.0", port=9108, token_file=None, cert_file=None, key_file=None, section="metrics")
    environ = {"AGFN_METRICS_TOKEN": TOKEN}
    guard = guard_of(host="0.0.0.0", port=0, token_file=None, section="metrics", environ=environ, **certified)
    endpoint = Endpoint(metrics.registry, 0, guard)
    url = endpoint.url.replace("0.0.0.0", "127.0.0.1")
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        silent = socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])))
        for wrong in ({}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": f"Bearer {guard.watch_token}"}):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                get(url, context=trusting, Host="metrics.lan", **wrong)
            assert refusal.value.code == 401
            assert refusal.value.headers["WWW-Authenticate"] == "Bearer"
            assert b"agfn_" not in refusal.value.read()
        text = get(url, context=trusting, Host="metrics.lan", Authorization=f"Bearer {TOKEN}")
        assert 'agfn_messages_total{stream="desk"} 0.0' in text, "and who says nothing holds nobody up"
        with pytest.raises(OSError, match=r"."):
            get(url.replace("https", "http"), Authorization=f"Bearer {TOKEN}")
        silent.close()
    finally:
        endpoint.close()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"host": "192.0.2.1"}, "needs a token"),
        ({"cert_file": "/nowhere"}, "metrics.cert_file and metrics.key_file belong together"),
        ({"token_file": "/nowhere"}, "metrics.token_file /nowhere: No such file"),
    ],
)
def test_settings_that_would_open_it_or_fail_later_are_refused_at_once(values, says):
    with pytest.raises(UsageError, match=says):
        check(Config.model_validate({"metrics": {"port": 0} | values}))


@pytest.mark.real
@pytest.mark.models
def test_a_real_run_gives_its_metrics_while_it_runs(clip, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", "off", "--metrics", str(port)]
    program = Program([*command, "--source", str(clip)], tmp_path / "log.txt")
    texts = []

    def scraped():
        try:
            text = get(f"http://localhost:{port}/metrics")
        except OSError:
            return False
        if "agfn_stream_cpu_seconds_total{" in text:
            texts.append(text)
        return texts

    try:
        wait_until(scraped, 60, "a scrape with health", 0.1)
    finally:
        program.process.send_signal(subprocess.signal.SIGTERM)
        assert program.process.wait(15) == 0
        program.kill()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(texts[-1])
        for sample in family.samples
    }
    desk = ("stream", "desk")
    assert samples["agfn_messages_total", (desk,)] >= 1
    assert samples["agfn_stream_cpu_seconds_total", (desk,)] > 0
    assert samples["agfn_component_items_total", (("component", "voice"), desk)] > 0
    assert samples["agfn_stage_latency_seconds_count", (("stage", "extract"), desk)] >= 1
    assert samples["process_cpu_seconds_total", ()] > 0
