"""Home Assistant: what it is told against its documented format, and the sink on a real broker."""

import json
import re
import subprocess
import sys

import jsonschema
import pytest
from test_messages import part, sentiment

from realtime.clock import VirtualClock
from realtime.config.schema import HomeAssistantConfig
from realtime.homeassistant.discovery import config_topic, device_id, payload
from realtime.homeassistant.sink import HomeAssistant, remove
from realtime.publish.access import Access
from realtime.publish.messages import LABELS, Origin, Words
from realtime.publish.outlet import Outlet
from scripts.harness import homeassistant
from scripts.harness.mosquitto import Subscriber, wait_for
from scripts.harness.processes import Program

OFF = {name: part(state="off", cause="paused") for name in ("text", "voice", "face")}
NOTHING = {"score": None, "raw": None, "label": None, "interval": None, "modalities": OFF}
ENTITIES = {"score", "label", "state", "problem", "pause"} | {
    f"{name}_{kind}" for name in ("text", "voice", "face") for kind in ("weight", "reliability", "state")
}


@pytest.fixture
def document():
    return homeassistant.check(payload("agfn", "desk"))


def shown(document, message):
    """What each entity shows of a message."""
    return {
        name: homeassistant.render(part["value_template"], message.payload())
        for name, part in document["components"].items()
    }


def test_the_payload_keeps_to_the_documented_format(document):
    assert set(document["components"]) == ENTITIES
    assert document["availability"] == [{"topic": "agfn/desk/status"}]
    ids = [part["unique_id"] for part in document["components"].values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.pop("origin"),
        lambda document: document["device"].pop("identifiers"),
        lambda document: document["components"]["score"].pop("unique_id"),
        lambda document: document["components"]["score"].update(color="red"),
        lambda document: document["components"]["label"].pop("device_class"),
        lambda document: document["components"]["label"].update(unit_of_measurement="%"),
        lambda document: document["components"]["pause"].pop("command_topic"),
        lambda document: document.update(state="x"),
    ],
)
def test_the_check_itself_notices_what_is_wrong(document, spoil):
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        homeassistant.check(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("base", "stream"),
    [("agfn", "desk"), ("agfn", "a.b"), ("house/agfn", "desk"), ("büro", "1"), ("x" * 40, "y" * 64)],
)
def test_the_topic_has_only_the_characters_that_are_allowed(base, stream):
    assert re.fullmatch(homeassistant.TOPIC, config_topic("homeassistant", base, stream))


def test_names_that_look_alike_give_different_devices():
    names = [("agfn", "a.b"), ("agfn", "a_b"), ("agfn/a", "b"), ("agfn_a", "b")]
    assert len({device_id(*name) for name in names}) == len(names)


def test_the_entities_show_what_the_message_says(document):
    values = shown(document, sentiment())

    assert float(values["score"]) == 1.24
    assert values["label"] in document["components"]["label"]["options"] == list(LABELS)
    assert (values["state"], values["problem"], values["pause"]) == ("degraded", "ON", "resume")
    assert (float(values["text_weight"]), float(values["text_reliability"])) == (81, 90)
    assert (values["voice_state"], values["face_state"]) == ("noisy", "lost")
    attributes = homeassistant.render(
        document["components"]["score"]["json_attributes_template"], sentiment().payload()
    )
    assert json.loads(attributes) == {"interval": [0.2, 2.1], "confidence": 0.74}


def test_a_paused_stream_has_an_unknown_score_and_its_switch_is_on(document):
    values = shown(document, sentiment(state="paused", **NOTHING))

    switch = document["components"]["pause"]
    assert values["pause"] == switch["payload_on"]
    assert values["problem"] == "OFF"
    assert (values["score"], values["label"]) == ("None", "None")  # what Home Assistant takes for unknown
    assert float(values["voice_weight"]) == 0


@pytest.fixture
def sink(mosquitto):
    made, clock = [], VirtualClock()

    def start(streams=("desk",), **config):
        access = Access("127.0.0.1", mosquitto.port)
        made.append(HomeAssistant(HomeAssistantConfig(enabled=True, **config), access, "agfn", streams, clock))
        return made[-1]

    start.clock = clock
    yield start
    for each in made:
        each.close()


@pytest.fixture
def home(mosquitto):
    """Home Assistant's side of the broker."""
    subscriber = Subscriber(mosquitto.port, "#")
    yield subscriber
    subscriber.close()


CONFIG = "homeassistant/device/agfn-desk/config"


@pytest.mark.real
class TestSink:
    def test_every_stream_is_announced_once_and_for_whoever_comes_later(self, sink, home, mosquitto):
        sink(("desk", "kitchen"))
        wait_for(lambda: len(home.payloads("/config")) == 2, what="the announcements")
        late = Subscriber(mosquitto.port, "homeassistant/#")
        wait_for(lambda: len(late.messages) == 2, what="the retained announcements")
        late.close()
        assert all(message.retain for message in late.messages)
        for message in late.messages:
            homeassistant.check(message.payload)

    def test_a_stream_that_comes_is_announced_and_one_that_has_gone_no_more(self, sink, home):
        said = Outlet()
        sink().subscribe(said)
        wait_for(lambda: len(home.payloads(CONFIG)) == 1, what="the announcement")
        said.came("sofa", Origin())
        wait_for(lambda: len(home.payloads("agfn-sofa/config")) == 1, what="the newcomer's announcement")
        assert len(home.payloads(CONFIG)) == 1
        said.went("sofa")
        home.say("homeassistant/status", b"online")
        wait_for(lambda: len(home.payloads(CONFIG)) == 2, what="the second announcement")
        assert len(home.payloads("agfn-sofa/config")) == 1  # retained: Home Assistant keeps its history

    def test_it_announces_again_when_home_assistant_is_born(self, sink, home):
        sink()
        wait_for(lambda: len(home.payloads(CONFIG)) == 1, what="the announcement")
        home.say("homeassistant/status", b"offline")
        home.say("homeassistant/status", b"online")
        wait_for(lambda: len(home.payloads(CONFIG)) == 2, what="the second announcement")

    def test_it_announces_again_to_a_broker_that_was_away(self, sink, home, mosquitto):
        sink()
        wait_for(lambda: len(home.payloads(CONFIG)) == 1, what="the announcement")
        mosquitto.kill()
        mosquitto.start()
        wait_for(lambda: len(home.payloads(CONFIG)) == 2, what="the second announcement")

    def test_values_come_now_and_then_but_a_new_state_at_once(self, sink, home):
        said = Outlet()
        sink(every_s=5).subscribe(said)
        wait_for(lambda: home.payloads(CONFIG), what="the announcement")
        for seq in range(8):  # 4 s
            said.send(sentiment(seq=seq))
            sink.clock.advance_to(sink.clock.now_ns() + 500_000_000)
        said.send(sentiment(seq=8, state="no_signal", **NOTHING))
        sink.clock.advance_to(sink.clock.now_ns() + 5_000_000_000)
        said.send(sentiment(seq=9, state="no_signal", **NOTHING))
        wait_for(lambda: len(home.payloads("desk/homeassistant")) >= 3, what="the values")
        got = [json.loads(each)["seq"] for each in home.payloads("desk/homeassistant")]
        assert got == [0, 8, 9]

    def test_words_never_go_there(self, sink, home):
        said = Outlet()
        sink().subscribe(said)
        wait_for(lambda: home.payloads(CONFIG), what="the announcement")
        said.send(sentiment(text=Words(committed="a secret", tentative="")))
        wait_for(lambda: home.payloads("desk/homeassistant"), what="the values")
        assert b"secret" not in home.payloads("desk/homeassistant")[0]

    def test_the_announcement_outlives_the_program_and_goes_on_request(self, sink, home, mosquitto):
        made = sink()
        wait_for(lambda: home.payloads(CONFIG), what="the announcement")
        made.close()
        assert b"" not in home.payloads(CONFIG)

        remove(HomeAssistantConfig(), Access("127.0.0.1", mosquitto.port), "agfn", ["desk"])
        wait_for(lambda: b"" in home.payloads(CONFIG), what="the removal")
        late = Subscriber(mosquitto.port, "homeassistant/#")
        late.say("homeassistant/probe", b"x")
        wait_for(lambda: late.messages, what="the probe")
        late.close()
        assert [message.topic for message in late.messages] == ["homeassistant/probe"]


def test_to_remove_needs_a_broker_that_is_there():
    command = [sys.executable, "-m", "realtime.run", "--remove-homeassistant"]
    for options, code, said in (
        ([], 2, "--mqtt mqtt://HOST"),
        (["--mqtt", "mqtt://127.0.0.1:1"], 4, "nothing was removed"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.real
@pytest.mark.models
def test_a_real_run_appears_is_paused_by_its_switch_and_becomes_unavailable(http_camera, home, mosquitto, tmp_path):
    command = [sys.executable, "-m", "realtime.run", "--no-view", "--mqtt", mosquitto.url, "--homeassistant"]
    options = ["--camera", http_camera.url, "--no-mic", "--set", "asr.enabled=false"]
    program = Program([*command, *options], tmp_path / "log.txt")
    try:
        wait_for(lambda: home.payloads("desk/homeassistant"), 60, "a value")
        document = homeassistant.check(home.payloads(CONFIG)[0])
        switch = document["components"]["pause"]

        def position():
            return homeassistant.render(switch["value_template"], home.payloads("desk/homeassistant")[-1])

        assert document["availability"][0]["topic"] == "agfn/desk/status"
        assert home.payloads("desk/status")[-1] == b"online"
        for wanted in (switch["payload_on"], switch["payload_off"]):
            home.say(switch["command_topic"], wanted, qos=switch["qos"], retain=switch["retain"])
            wait_for(lambda wanted=wanted: position() == wanted, what=f"the switch at {wanted}")
        program.kill()  # as a crash would
        wait_for(lambda: home.payloads("desk/status")[-1] == b"offline", what="the last will")
    finally:
        program.kill()
