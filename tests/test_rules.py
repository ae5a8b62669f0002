"""Rules: when they begin and end, and that whoever they tell, really or in vain, holds nothing up."""

import itertools
import json
import logging
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_messages import part, sentiment, silent

from realtime.config.combinations import check
from realtime.config.condition import parse_condition
from realtime.config.load import load, to_yaml
from realtime.config.rule import RuleConfig
from realtime.errors import UsageError
from realtime.publish.messages import WindowSpan, Words, label_of
from realtime.publish.outlet import Outlet
from realtime.rules.sink import Rules
from realtime.rules.watch import Watch
from scripts.harness.mosquitto import free_port
from scripts.harness.processes import wait_until

HOP_S = 0.25


def at(number, score=None, **changes):
    """The message of a hop; without a score one that has none."""
    span = WindowSpan(start_s=number * HOP_S, end_s=4 + number * HOP_S)
    if score is None:
        return silent(seq=number, window=span, **changes)
    lies = {"interval": (-3, 3), "label": label_of(score), "raw": score}
    return sentiment(seq=number, window=span, score=score, **lies, **changes)


def rule(**changes):
    return RuleConfig(**{"when": "score < -1", "for_s": 1, "every_s": 0, "command": ["true"], **changes})


def firings(scores, **changes):
    """The numbers of the hops at which a rule begins (or ends: negative) over these scores."""
    watch = Watch(rule(**changes))
    found = [(number, watch.feed(at(number, score))) for number, score in enumerate(scores)]
    return [number if firing.kind == "begin" else -number for number, firing in found if firing is not None]


def test_a_rule_begins_once_it_has_held_long_enough_without_a_break():
    assert firings([-2] * 10) == [4]
    assert firings([-2, -2, -2, 0, -2, -2, -2, -2, -2]) == [8]
    assert firings([-2, -2, -2, -1, -2, -2, -2, -2]) == []
    assert firings([-2], for_s=0) == [0]


def test_it_begins_anew_only_after_it_has_come_back_by_the_hysteresis():
    swinging = [-1.1, -0.9] * 10
    assert firings(swinging, for_s=0, hysteresis=0.5) == [0]
    assert firings(swinging, for_s=0, hysteresis=0.05) == list(range(0, 20, 2))
    assert firings([-1.1, -0.4, -1.1], for_s=0, hysteresis=0.5) == [0, 2]


def test_the_end_is_told_where_it_is_asked_for():
    scores = [-2] * 6 + [-0.9, 0, 0]
    assert firings(scores) == [4]
    assert firings(scores, tell_end=True) == [4, -7]
    watch = Watch(rule(tell_end=True))
    end = [firing for number, score in enumerate(scores) if (firing := watch.feed(at(number, score)))][-1]
    assert (end.kind, end.held_s, end.value) == ("end", 7 * HOP_S, 0)


def test_it_begins_at_most_once_in_its_time_and_late_rather_than_never():
    swinging = [-2, 0] * 20
    assert firings(swinging, for_s=0, every_s=2.5) == [0, 10, 20, 30]
    assert firings([-2, 0, 0] + [-2] * 17, for_s=0, every_s=2.5) == [0, 10]


def test_what_is_missing_fulfils_nothing_and_ends_nothing():
    assert firings([-2, -2, -2, None, -2, -2, -2, -2, -2]) == [8]
    assert firings([-2] * 5 + [None] * 3 + [-2] * 5, tell_end=True) == [4]


def test_a_gap_in_the_windows_proves_nothing():
    watch = Watch(rule(for_s=5))
    assert [watch.feed(at(number, -2)) for number in (0, 40, 41)] == [None] * 3
    assert watch.feed(at(60, -2)) is None  # 19 hops without a word after 41


def test_states_are_compared_as_words():
    watch = Watch(rule(when="face.state = lost", for_s=0, tell_end=True))
    well = {"text": part(0.81, 0.9), "voice": part(0.19, 0.4), "face": part()}
    kinds = [watch.feed(message) for message in (at(0, 1.0), at(1, 1.0, modalities=well))]
    assert [(firing.kind, firing.value) for firing in kinds] == [("begin", "lost"), ("end", "ok")]
    assert Watch(rule(when="state != ok", for_s=0)).feed(at(0, 1.0)).value == "degraded"
    assert Watch(rule(when="text.weight > 0.8", for_s=0)).feed(at(0, 1.0)).value == 0.81


@given(st.lists(st.one_of(st.none(), st.floats(-3, 3)), max_size=80), st.floats(0, 2), st.floats(0, 2), st.floats(0, 5))
def test_of_any_scores_beginnings_are_far_enough_apart_and_each_held(scores, hysteresis, for_s, every_s):
    begun = firings(scores, hysteresis=hysteresis, for_s=for_s, every_s=every_s)
    assert all(later - earlier >= every_s / HOP_S for earlier, later in itertools.pairwise(begun))
    for number in begun:
        held = scores[max(0, number - int(for_s / HOP_S)) : number + 1]
        assert all(score is not None and round(score, 4) < -1 for score in held)


@pytest.mark.parametrize(
    "text", ["score", "score < much", "score = 1", "mood < 1", "state < ok", "state = well", "score < nan"]
)
def test_a_condition_that_is_none_is_refused_with_what_fits(text):
    with pytest.raises(ValueError, match=r"FIELD|known are|compared by"):
        parse_condition(text)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_refused_in_words(text):
    try:
        assert parse_condition(text).field
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("{}", ["rules.low.when", "One comparison"]),
        ("{when: score < -1}", ["rules.low", "a webhook or a command"]),
        ("{when: score < -1, command: [x], webhook: w}", ["rules.low.webhook", "http://"]),
        ("{when: score < -1, command: notify-send}", ["rules.low.command"]),
        ("{when: score < -1, command: []}", ["rules.low.command"]),
        ("{when: moood < -1, command: [x]}", ["rules.low.when", "known are score"]),
        ("{when: score < -1, comand: [x]}", ["rules.low.comand", "did you mean rules.low.command?"]),
        ("{when: score < -1, command: [x], for_s: -1}", ["rules.low.for_s = -1", "0 to 3600", "default 5"]),
    ],
)
def test_a_wrong_rule_is_named_with_what_fits(setting, names):
    with pytest.raises(UsageError) as caught:
        load(sets=[f"rules.low={setting}"], environ={})
    for name in names:
        assert name in str(caught.value)


def test_a_rule_about_a_stream_that_is_not_there_is_refused():
    config, _ = load(sets=["rules.low={when: score < -1, command: [x], streams: [hall]}"], environ={})
    with pytest.raises(UsageError, match=r"rules\.low\.streams: there is no stream hall"):
        check(config)


SECRET = "https://hooks.example.org/T0/s3cret"


def test_the_address_of_a_webhook_is_shown_by_its_host_and_taken_from_no_option(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text(f"rules:\n  low: {{when: score < -1, webhook: '{SECRET}'}}\n")
    shown = to_yaml(*load(file, environ={}))
    assert "https://hooks.example.org " in shown
    assert "s3cret" not in shown
    for wrong in (f"rules.low.webhook={SECRET}", f"rules.low={{webhook: '{SECRET}'}}"):
        with pytest.raises(UsageError, match="--config FILE") as caught:
            load(sets=[wrong], environ={})
        assert "s3cret" not in str(caught.value)
    file.write_text(f"rules:\n  low: {{when: score < -1, webhook: 'ftp{SECRET}'}}\n")
    with pytest.raises(UsageError, match="http:// or https://") as caught:
        load(file, environ={})
    assert "s3cret" not in str(caught.value)
    config, _ = load(environ={"AGFN_RULES__LOW__WEBHOOK": SECRET, "AGFN_RULES__LOW__WHEN": "score < -1"})
    assert config.rules["low"].webhook == SECRET


def test_what_print_config_shows_of_rules_can_be_read_back(tmp_path):
    config, origins = load(sets=["rules.low={when: score < -1, command: [a, b c], streams: [desk]}"], environ={})
    file = tmp_path / "shown.yaml"
    file.write_text(to_yaml(config, origins))
    assert load(file, environ={})[0] == config


class Hook:
    """A web server that keeps what was posted; `status` is its answer, and it gives none before `go`."""

    def __init__(self):
        self.bodies, self.status, self.go = [], 204, threading.Event()
        self.go.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                hook.go.wait(20)
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/secret-path"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook():
    made = Hook()
    yield made
    made.close()


@pytest.fixture
def started():
    """Start rules on an outlet: `started(low=rule(...))`."""
    running = []

    def start(**rules):
        outlet = Outlet()
        running.append(Rules(rules, ["desk", "hall"]))
        running[-1].subscribe(outlet)
        return outlet, running[-1]

    yield start
    for each in running:
        each.close()


ALWAYS = {"when": "score < 3", "for_s": 0, "hysteresis": 0, "every_s": 0}
SPOKEN = Words(committed="a secret", tentative="it is")


def alternate(outlet, times, **changes):
    """Send messages that fulfil `score < 3` and end it again."""
    for number in range(times):
        outlet.send(at(number, -1.5 if number % 2 == 0 else 3.0, **changes))


def hooked(url, **changes):
    return RuleConfig(**ALWAYS, webhook=url, **changes)


@pytest.mark.real
def test_a_webhook_gets_name_stream_and_values_and_never_words(hook, started):
    outlet, _ = started(low=hooked(hook.url), open=hooked(hook.url, words=True))
    outlet.send(at(0, -1.5, text=SPOKEN))
    wait_until(lambda: len(hook.bodies) == 2, 10, "both posts")

    bodies = {body["rule"]: body for body in hook.bodies}
    assert bodies["open"].pop("text") == {"committed": "a secret", "tentative": "it is", "reading": None}
    assert "secret" not in json.dumps(bodies)
    low = bodies["low"]
    assert (low["schema"], low["stream"], low["kind"], low["value"]) == ("agfn.rule/1", "desk", "begin", -1.5)
    assert low["utc"] == "2026-11-23T12:00:00.250Z"
    assert low["values"]["face_state"] == "lost"
    assert low["values"]["text_weight"] == 0.81


@pytest.mark.real
def test_streams_that_a_rule_is_not_about_are_left_alone(hook, started):
    outlet, _ = started(low=hooked(hook.url, streams=("hall",)))
    outlet.send(at(0, -1.5))
    outlet.send(at(0, -1.5, stream="hall"))
    wait_until(lambda: hook.bodies, 10, "the post")
    assert [body["stream"] for body in hook.bodies] == ["hall"]


@pytest.mark.real
def test_a_webhook_that_does_not_answer_holds_nothing_up(hook, started, caplog):
    hook.go.clear()
    outlet, rules = started(stuck=hooked(hook.url), other=RuleConfig(**ALWAYS, command=["true"]))
    alternate(outlet, 100)  # all are taken while nobody answers
    stuck, other = rules._rules
    wait_until(lambda: other.told + other.failed >= 16, 20, "the other rule")
    assert (stuck.told, stuck.failed, other.failed) == (0, 0, 0)
    assert stuck.begun == other.begun == 50
    assert stuck._waiting.stats().pending <= 16
    caplog.set_level(logging.INFO)
    rules.close()
    assert "rule stuck: told 0, failed 0, not told in time 50" in caplog.text


@pytest.mark.real
@pytest.mark.parametrize(("status", "cause"), [(500, "it answered 500"), (302, "it answered 302")])
def test_a_webhook_that_refuses_is_counted_and_said_once_an_outage(hook, started, caplog, status, cause):
    caplog.set_level(logging.INFO)
    hook.status = status
    outlet, rules = started(low=hooked(hook.url))
    alternate(outlet, 6)
    (low,) = rules._rules
    wait_until(lambda: low.failed == 3, 10, "three failures")
    hook.status = 200
    outlet.send(at(6, -1.5))
    wait_until(lambda: low.told == 1, 10, "one that works")
    # A rule of the test before may still be telling its own hook's end.
    said = [record.message for record in caplog.records if record.message.startswith("rule low: http")]
    assert said == [f"rule low: {hook.url.rpartition('/')[0]} was not told: {cause}", said[1]]
    assert "is told again" in said[1]
    assert "secret-path" not in caplog.text


def test_a_webhook_that_is_not_there_is_counted(started, caplog):
    outlet, rules = started(low=hooked(f"http://127.0.0.1:{free_port()}/"))
    alternate(outlet, 4)
    (low,) = rules._rules
    wait_until(lambda: low.failed == 2, 10, "both failures")
    assert caplog.text.count("Connection refused") == 1


def test_a_command_gets_the_values_in_its_environment_and_none_of_our_secrets(started, tmp_path, monkeypatch):
    monkeypatch.setenv("AGFN_MQTT_PASSWORD", "hunter2")
    out = tmp_path / "env.json"
    code = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[2], 'w'))"
    outlet, rules = started(low=RuleConfig(**ALWAYS, command=[sys.executable, "-c", code, "$HOME; x", str(out)]))
    outlet.send(at(0, -1.5, text=SPOKEN))
    wait_until(lambda: rules._rules[0].told, 20, "the command")

    argv, env = json.loads(out.read_text())
    assert argv[0] == "$HOME; x"  # no shell
    told = {name: env[f"AGFN_{name}"] for name in ("RULE", "KIND", "STREAM", "SCORE", "FACE_STATE")}
    assert told == {"RULE": "low", "KIND": "begin", "STREAM": "desk", "SCORE": "-1.5", "FACE_STATE": "lost"}
    assert json.loads(env["AGFN_JSON"])["value"] == -1.5
    assert "hunter2" not in json.dumps(env)
    assert "secret" not in json.dumps({name: value for name, value in env.items() if name.startswith("AGFN_")})


def test_a_command_that_takes_too_long_is_killed_with_its_children(started, tmp_path):
    pid = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 300 & echo $! > {pid}; wait"]
    outlet, rules = started(low=RuleConfig(**ALWAYS, command=command, timeout_s=0.5))
    outlet.send(at(0, -1.5))
    wait_until(lambda: rules._rules[0].failed, 20, "the command to be given up")
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid.read_text().strip()], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip()[:1] in {"", "Z"}


@pytest.mark.parametrize(("command", "cause"), [(["false"], "code 1"), (["/nowhere/x"], "can't be started")])
def test_a_command_that_fails_is_counted_and_said(started, caplog, command, cause):
    outlet, rules = started(low=RuleConfig(**ALWAYS, command=command))
    outlet.send(at(0, -1.5))
    wait_until(lambda: rules._rules[0].failed, 20, "the failure")
    assert cause in caplog.text


@pytest.mark.parametrize(
    ("webhook", "in_the_clear"),
    [
        ("http://127.0.0.1:9/x", False),
        ("http://localhost/x", False),
        ("http://[::1]:9/x", False),
        ("https://hooks.example/x", False),
        ("http://hooks.example/x", True),
        ("http://localhost.example/x", True),
        ("http://127.0.0.1.example/x", True),
    ],
)
def test_values_that_others_can_read_on_the_way_are_warned_of(started, caplog, webhook, in_the_clear):
    started(low=hooked(webhook))
    assert ("in the clear" in caplog.text) == in_the_clear
