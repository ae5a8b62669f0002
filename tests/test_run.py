"""The whole program as a user starts it, on clips, with a real mosquitto and mosquitto_sub as the subscriber."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from realtime.publish.messages import json_schema
from scripts.harness import clips
from scripts.harness.live_program import HOP_S, of_grid
from scripts.harness.mosquitto import Mosquitto
from scripts.harness.processes import need, wait_until

MOSI = "mosi_clips/03bSnISJMiM_12.mp4"
CREMAD = "cremad/1001_DFA_HAP_XX.flv"
WALL_CLOCK = {"utc", "id"}
HOPS_BEHIND = 6


def command(*options):
    return [sys.executable, "-m", "realtime.run", "--no-view", *map(str, options)]


def run(*options, timeout_s=90):
    return subprocess.run(command(*options), capture_output=True, text=True, timeout=timeout_s, check=False)


def lines(text, schema="agfn.sentiment/1"):
    messages = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [message for message in messages if message["schema"] == schema]


def analysed(clip, tmp_path, *options):
    """Run over a clip at full speed and return its sentiment messages."""
    out = tmp_path / f"{clip.stem}.jsonl"
    done = run("--source", clip, "--pace", "fast", "--mqtt", "off", "--output", out, *options)
    assert done.returncode == 0, done.stderr
    return lines(out.read_text())


def mean(messages, name, key):
    values = [message["modalities"][name][key] for message in messages]
    return sum(values) / len(values)


@pytest.mark.real
@pytest.mark.models
@pytest.mark.parametrize("suffix", [".mp4", ".flv"])
def test_a_subscriber_gets_a_message_every_hop_with_words_face_and_gates(suffix, clip, mosquitto, tmp_path):
    path = clip if suffix == clip.suffix else clips.recoded(clip, tmp_path, suffix)
    hears_words_face_and_gates(path, {"best", "times"}, mosquitto, tmp_path)


@pytest.mark.real
@pytest.mark.models
@pytest.mark.corpus
@pytest.mark.parametrize(("name", "words"), [(CREMAD, {"don't", "forget"}), (MOSI, {"really", "awesome"})])
def test_a_subscriber_gets_the_same_of_people_before_their_cameras(name, words, data_dir, mosquitto, tmp_path):
    hears_words_face_and_gates(data_dir / name, words, mosquitto, tmp_path)


def hears_words_face_and_gates(clip, words, mosquitto, tmp_path):
    need("mosquitto_sub")
    heard = tmp_path / "heard.txt"
    with heard.open("w") as file:
        subscriber = subprocess.Popen(
            ["mosquitto_sub", "-p", str(mosquitto.port), "-t", "agfn/#", "-F", "%U %r %t %p"], stdout=file
        )
        try:
            done = run("--source", clip, "--mqtt", mosquitto.url, "--publish-text")
            assert done.returncode == 0, done.stderr
            wait_until(lambda: "offline" in heard.read_text(), 5, "the goodbye on status")
        finally:
            subscriber.terminate()
            subscriber.wait(5)
    got = [line.split(" ", 3) for line in heard.read_text().splitlines()]
    status = [(retained, payload) for _, retained, topic, payload in got if topic == "agfn/desk/status"]
    assert [payload for _, payload in status] == ["online", "offline"]
    arrivals = [(float(t_s), json.loads(payload)) for t_s, _, topic, payload in got if topic == "agfn/desk/sentiment"]
    messages = [message for _, message in arrivals]
    assert len(messages) >= 7
    assert [message["seq"] for message in messages] == list(range(len(messages)))
    gaps = [late - early for (early, _), (late, _) in itertools.pairwise(arrivals)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.25, abs=0.06)
    for message in messages:
        if message["state"] != "no_signal":
            assert sum(part["weight"] for part in message["modalities"].values()) == pytest.approx(1, abs=1e-3)
            assert -3 <= message["interval"][0] <= message["score"] <= message["interval"][1] <= 3
        assert message["latency_ms"]["total"] >= message["latency_ms"]["fuse"] >= 0
    spoken = " ".join(message["text"]["committed"] + " " + message["text"]["tentative"] for message in messages)
    assert words <= set(re.findall(r"[a-z']+", spoken.lower())), spoken
    assert max(message["faces"] for message in messages) >= 1
    assert max(message["modalities"]["face"]["weight"] for message in messages) > 0
    assert max(message["modalities"]["text"]["weight"] for message in messages) > 0


@pytest.mark.models
def test_a_replay_is_the_same_to_the_byte_and_close_to_real_pace(clip, tmp_path):
    one, two = (
        [
            {key: value for key, value in message.items() if key not in WALL_CLOCK}
            for message in analysed(clip, tmp_path)
        ]
        for _ in range(2)
    )
    assert json.dumps(one) == json.dumps(two)
    out = tmp_path / "live.jsonl"
    done = run("--source", clip, "--mqtt", "off", "--output", out)
    assert done.returncode == 0, done.stderr
    # Words come earlier or later there than here, and those windows between two of the grid with them.
    live, fast = (
        {round(message["window"]["end_s"] / HOP_S): message["score"] for message in messages if of_grid(message)}
        for messages in (lines(out.read_text()), one)
    )
    # Words take time to decode here and none there, and a score moves with them: HOPS_BEHIND later, or a hop sooner.
    near = range(-1, HOPS_BEHIND + 1)
    apart = [
        min(abs(score - other) for back in near if (other := fast.get(hop - back)) is not None)
        for hop, score in live.items()
        if score is not None and any(fast.get(hop - back) is not None for back in near)
    ]
    assert len(apart) >= len(fast) // 2
    assert len(live) == pytest.approx(len(fast), abs=1)
    assert sum(apart) / len(apart) <= 0.15


@pytest.mark.models
@pytest.mark.parametrize(
    ("damage", "dead", "says"),
    [(clips.without_sound, ("text", "voice"), "no sound"), (clips.without_picture, ("face",), "no picture")],
)
def test_a_missing_stream_weighs_nothing_and_the_others_go_on(damage, dead, says, clip, tmp_path):
    messages = analysed(damage(clip, tmp_path), tmp_path)
    for name in dead:
        assert mean(messages, name, "weight") == mean(messages, name, "reliability") == 0
        assert {message["modalities"][name]["state"] for message in messages} == {"lost"}
        assert says in messages[-1]["modalities"][name]["cause"]
    assert messages[-1]["state"] == "degraded"
    assert all(abs(message["score"]) <= 3 for message in messages[4:])


@pytest.mark.models
def test_noise_in_the_microphone_lowers_its_gates_and_says_why(clip, tmp_path):
    clean = analysed(clip, tmp_path)
    noisy = analysed(clips.with_noise(clip, tmp_path), tmp_path)
    # The first pause of the reader tells speech from background; after it the ratio is known. Without words, voice and
    # face share what the words had, and still the voice ends well below its clean weight.
    for name, share in (("voice", 0.7), ("text", 0.6)):
        assert mean(noisy[10:], name, "reliability") < mean(clean[10:], name, "reliability") / 2
        assert mean(noisy[10:], name, "weight") < mean(clean[10:], name, "weight") * share
    assert {message["modalities"]["voice"]["state"] for message in noisy[10:]} == {"noisy"}
    assert "snr" in noisy[-1]["modalities"]["voice"]["cause"]
    assert [message["seq"] for message in noisy] == [message["seq"] for message in clean]


@pytest.mark.models
def test_words_stay_inside_unless_they_are_let_out(clip, tmp_path):
    assert all("text" not in message for message in analysed(clip, tmp_path))
    assert all("text" in message for message in analysed(clip, tmp_path, "--publish-text"))


@pytest.mark.models
def test_without_devices_the_program_says_so_stays_up_and_keeps_trying(tmp_path):
    out = tmp_path / "out.jsonl"
    done = run("--camera", "97", "--mic", "no such microphone", "--mqtt", "off", "--duration", "4", "--output", out)
    assert done.returncode == 0, done.stderr
    messages = lines(out.read_text())
    assert len(messages) >= 15
    assert {message["state"] for message in messages} == {"no_signal"}
    assert all(message["score"] is None for message in messages)
    assert "camera 97" in messages[-1]["modalities"]["face"]["cause"]
    assert "no such microphone" in messages[-1]["modalities"]["voice"]["cause"]
    assert "--demo" in done.stderr
    health = lines(out.read_text(), "agfn.health/1")[-1]
    assert health["components"]["camera"]["restarts"] >= 2


@pytest.mark.models
def test_ctrl_c_ends_within_two_seconds_with_a_goodbye(other_clip, mosquitto, tmp_path):
    out = tmp_path / "out.jsonl"
    program = subprocess.Popen(
        command("--source", other_clip, "--mqtt", mosquitto.url, "--output", out),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: out.exists() and "sentiment" in out.read_text(), 60, "the first message")
    begin_s = time.monotonic()
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=10)
    assert time.monotonic() - begin_s < 2.5
    assert program.returncode == 0
    assert "Traceback" not in errors
    got = subprocess.run(
        ["mosquitto_sub", "-p", str(mosquitto.port), "-t", "agfn/desk/status", "-C", "1", "-W", "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert got.stdout.strip() == "offline"


@pytest.mark.parametrize(
    ("options", "code", "names"),
    [
        (["--nonsense"], 2, "--nonsense"),
        (["--set", "windw.hop_s=1"], 2, "windw"),
        (["--set", "window.hop_s=0"], 2, "window.hop_s"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--duration", "-3"], 2, "-3"),
        (["--pace", "fast"], 2, "--source"),
        (["--source", "a.mp4", "--camera", "0"], 2, "--source"),
        (["--source", "nowhere.mp4"], 3, "nowhere.mp4"),
        (["--source", "{empty}"], 3, "empty.mp4"),
        (["--source", "{cut}"], 3, "cut.mp4"),
        (["--source", "{text}"], 3, "words.mp4"),
        (["--source", "{clip}", "--set", "fusion.weights={text}"], 5, "words.mp4"),
        (["--source", "{clip}", "--output", "/nowhere/out.jsonl"], 2, "/nowhere/out.jsonl"),
        (
            ["--source", "{clip}", "--mqtt", "mqtts://127.0.0.1:1", "--set", "mqtt.ca_file=nowhere.pem"],
            2,
            "nowhere.pem",
        ),
    ],
)
def test_bad_input_gets_one_line_that_names_it_and_the_documented_code(options, code, names, clip, tmp_path):
    text = tmp_path / "words.mp4"
    text.write_text("these are words, no media and no weights")
    paths = {"empty": clips.empty(tmp_path), "cut": clips.cut_off(clip, tmp_path), "text": text, "clip": clip}
    mqtt = [] if "--mqtt" in options else ["--mqtt", "off"]
    done = run(*(option.format(**paths) for option in options), *mqtt)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    message = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(message) == 1
    assert names in message[0]


@pytest.mark.models
def test_a_broker_that_refuses_ends_with_its_own_code(clip, tmp_path):
    broker = Mosquitto(tmp_path, lines=("allow_anonymous false",))
    try:
        done = run("--source", clip, "--mqtt", broker.url)
    finally:
        broker.close()
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert str(broker.port) in done.stderr


def test_help_imports_nothing_heavy():
    code = "import sys, realtime.run as r; r.parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pydantic", "cv2", "mediapipe", "faster_whisper"} & set(loaded)


def test_the_schema_can_be_printed():
    done = run("--print-schema")
    assert json.loads(done.stdout) == json_schema()


def test_the_configuration_shows_where_a_value_is_from():
    env = os.environ | {"AGFN_WINDOW__HOP_S": "0.5"}
    done = subprocess.run(
        command("--print-config", "--set", "fusion.device=cpu"), capture_output=True, text=True, check=True, env=env
    )
    assert re.search(r"hop_s: 0.5 +# AGFN_WINDOW__HOP_S", done.stdout)
    assert re.search(r"device: cpu +# --set", done.stdout)


@pytest.mark.models
def test_several_streams_run_in_one_process_each_on_its_own(clip, other_clip, tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text(f"streams: [{{name: left, source: {clip}}}, {{name: right, source: {other_clip}}}]\n")
    out = tmp_path / "out.jsonl"
    done = run("--config", config, "--mqtt", "off", "--output", out)
    assert done.returncode == 0, done.stderr
    messages = lines(out.read_text())
    for name in ("left", "right"):
        own = [message for message in messages if message["stream"] == name]
        assert [message["seq"] for message in own] == list(range(len(own)))
        assert own[-1]["modalities"]["face"]["weight"] > 0
    ended = [event["stream"] for event in lines(out.read_text(), "agfn.event/1") if event["kind"] == "ended"]
    assert sorted(ended) == ["left", "right"]


def test_a_replay_takes_one_file_only(clip, tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text(f"streams: [{{name: a, source: {clip}}}, {{name: b, source: {clip}}}]\n")
    done = run("--config", config, "--pace", "fast")
    assert done.returncode == 2
    assert "--source" in done.stderr
