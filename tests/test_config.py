import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from realtime.config import strictyaml
from realtime.config.combinations import MOST_PICTURES, check
from realtime.config.load import load, to_yaml
from realtime.config.schema import Config
from realtime.errors import UsageError
from realtime.fuse.collate import MAX_STEPS
from scripts.default_config import commented


def test_later_layers_win_and_every_value_knows_its_origin(tmp_path):
    file = tmp_path / "agfn.yaml"
    file.write_text("window: {hop_s: 0.5, length_s: 3}\nfusion: {threads: 2}\n")
    config, origins = load(
        file, ["window.hop_s=1.0"], {"fusion": {"device": "cpu"}}, {"AGFN_WINDOW__HOP_S": "0.75", "AGFN_CACHE": "x"}
    )
    assert (config.window.hop_s, config.window.length_s, config.fusion.device) == (1.0, 3.0, "cpu")
    assert origins == {
        "window.hop_s": "--set",
        "window.length_s": f"{file}:1",
        "fusion.threads": f"{file}:2",
        "fusion.device": "command line",
    }
    assert load(file, environ={"AGFN_WINDOW__HOP_S": "0.75"})[0].window.hop_s == 0.75


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("windw.hop_s=1", ["windw", "--print-config"]),
        ("window.hopp=1", ["window.hopp", "--set"]),
        ("window.hop_s=abc", ["window.hop_s", "'abc'", "number"]),
        ("window.hop_s=99", ["window.hop_s", "99", "10"]),
        ("window=3", ["window"]),
        ("asr.buffer_s=12", ["asr", "context_s"]),
        ("window.hopp_s=1", ["window.hopp_s", "did you mean window.hop_s?"]),
        ("window.hop_s=99", ["0.05 to 10", "default 0.25"]),
        ("camera.max_fps=0", ["camera.max_fps = 0", "more than 0 to 120", "default 15"]),
        ("fusion.threads=yes", ["fusion.threads = True", "1 to 64"]),
        ("record.text=maybe", ["record.text = 'maybe'", "true or false, default false"]),
        ("streams=[{camra: 0}]", ["streams.0.camra", "did you mean streams.0.camera?"]),
        ("streams.1.name=b", ["streams", "without a gap"]),
        ("streams={name: b}", ["streams", "list"]),
        ("streams.0.name.first.of.all=b", ["unknown", "streams.0.name"]),
        ("streams=[{name: a}, {name: a}]", ["streams", "differ"]),
        ("streams=[]", ["streams"]),
        ("streams=[{name: 'a/b'}]", ["streams.0.name", "a/b"]),
        ("fusion.device=gpu", ["fusion.device", "gpu"]),
        ("nonsense", ["KEY=VALUE"]),
        ("=1", ["KEY=VALUE"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_place(setting, names):
    with pytest.raises(UsageError) as caught:
        load(sets=[setting], environ={})
    message = str(caught.value)
    assert "\n" not in message
    for name in names:
        assert name in message


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        load(sets=["mqtt.url=mqtt://me:secret@host"], environ={})
    assert "AGFN_MQTT_PASSWORD" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "a: [", "just words", "\xff\xfe"])
def test_a_file_that_is_no_configuration_gets_one_line(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"bad\.yaml"):
        load(file, environ={})


def numbers():
    for section, found in Config.model_fields.items():
        for key, inner in getattr(type(found.default), "model_fields", {}).items():
            if isinstance(inner.default, int | float) and not isinstance(inner.default, bool):
                yield f"{section}.{key}"


@pytest.mark.parametrize("key", list(numbers()))
def test_every_number_has_a_range_that_its_error_names(key):
    for wrong in (-1e300, 1e300, ".nan", ".inf", "true", "ten"):
        with pytest.raises(UsageError, match=rf"{key} = .*\(from --set\): .*; valid: .* to .*, default ") as caught:
            load(sets=[f"{key}={wrong}"], environ={})
        assert len(str(caught.value)) < 300


def test_an_error_in_a_file_names_its_line(tmp_path):
    file = tmp_path / "agfn.yaml"
    file.write_text("# mine\nwindow:\n  length_s: 3\n  hop_s: 99\nstreams:\n  - name: a\n  - {name: b, camera: 7}\n")
    with pytest.raises(UsageError, match=r"window\.hop_s = 99 \(from .*agfn\.yaml:4\)"):
        load(file, environ={})
    with pytest.raises(UsageError, match=r"streams\.1\.name = '/' \(from --set\)"):
        load(file, ["window.hop_s=1", "streams.1.name=/"], environ={})
    assert load(file, ["window.hop_s=1"], environ={})[1]["streams.1.camera"] == f"{file}:7"


def test_a_key_that_stands_twice_is_refused(tmp_path):
    file = tmp_path / "agfn.yaml"
    file.write_text("window:\n  hop_s: 1\n  hop_s: 2\n")
    with pytest.raises(UsageError, match=r"window\.hop_s stands there twice \(first on line 2\) on line 3"):
        load(file, environ={})


def test_a_section_whose_keys_are_all_commented_out_means_its_defaults(tmp_path):
    file = tmp_path / "agfn.yaml"
    file.write_text("window:\n  # hop_s: 1\nstreams:\n")
    assert load(file, environ={})[0] == Config()


def test_a_misspelt_variable_is_refused_and_those_of_others_are_left_alone():
    with pytest.raises(UsageError, match=r"windw\.hop_s \(from AGFN_WINDW__HOP_S\); did you mean window|windw"):
        load(environ={"AGFN_WINDW__HOP_S": "1"})
    assert load(environ={"AGFN_MQTT_PASSWORD": "x", "AGFN_DATA": "/data", "OTHER__THING": "1"})[0] == Config()


TWO = "streams:\n  - name: left\n    camera: 0\n  - name: right\n    camera: 1\n    mic: 2\n"


def test_several_streams_come_from_one_file_and_a_later_layer_changes_one_of_them(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(TWO)
    config, origins = load(file, ["streams.1.mic=null"], environ={"AGFN_STREAMS__0__CAMERA": "/dev/video4"})

    assert [(stream.name, stream.camera, stream.mic) for stream in config.streams] == [
        ("left", "/dev/video4", "auto"),
        ("right", "1", None),
    ]
    assert origins["streams.0.camera"] == "AGFN_STREAMS__0__CAMERA"
    assert (origins["streams.1.mic"], origins["streams.1.name"]) == ("--set", f"{file}:4")


def test_the_example_of_two_streams_is_taken_as_it_is():
    config, _ = load(Path("docs/examples/two-streams.yaml"), environ={})
    assert [(stream.name, stream.mic) for stream in config.streams] == [("left", "USB Audio"), ("right", None)]


def test_a_later_list_replaces_all_streams(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(TWO)
    for sets, environ in ((["streams=[{name: one}]"], {}), ([], {"AGFN_STREAMS": "[{name: one}]"})):
        config, origins = load(file, sets, environ=environ)
        assert [stream.name for stream in config.streams] == ["one"]
        assert "streams.1.name" not in origins


def test_an_option_changes_the_only_stream_and_is_refused_with_several(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text("streams:\n  - {name: kitchen, camera: 2, source: old.mp4}\n")
    config, _ = load(file, options={"streams": [{"mic": "3"}]}, environ={})
    assert config.streams[0].model_dump() == {"name": "kitchen", "camera": "2", "mic": "3", "source": None}

    file.write_text(TWO)
    with pytest.raises(UsageError, match="the configuration has 2"):
        load(file, options={"streams": [{"camera": "1"}]}, environ={})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml", environ={})


def test_an_empty_file_means_the_defaults(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load(file, environ={})[0] == Config()


@given(st.text())
def test_any_setting_is_taken_or_refused_in_words(text):
    try:
        load(sets=[text], environ={})
    except UsageError as error:
        assert str(error)


def test_what_print_config_shows_can_be_read_back():
    config, origins = load(sets=["window.hop_s=0.5", "streams=[{name: a}, {name: b}]"], environ={})
    shown = to_yaml(config, origins)
    assert Config.model_validate(yaml.safe_load(shown)) == config
    assert [line.split("# ")[1] for line in shown.splitlines() if "hop_s" in line or "name: b" in line] == ["--set"] * 2
    assert all(" # " in line for line in shown.splitlines() if not line.endswith(":"))


def test_the_commented_file_is_the_defaults():
    file = Path("configs/default.yaml")
    assert file.read_text() == commented()
    assert load(file, environ={})[0] == Config()


def test_thousands_of_streams_are_refused_before_they_are_all_read(tmp_path, monkeypatch):
    file = tmp_path / "many.yaml"
    file.write_text("streams:\n" + "".join(f"  - {{name: s{n}, camera: '{n}', mic: null}}\n" for n in range(5000)))
    composed = []
    real = strictyaml._Loader.compose_node
    monkeypatch.setattr(
        strictyaml._Loader, "compose_node", lambda *args: composed.append(1) or real(*args), raising=True
    )
    with pytest.raises(UsageError, match=f"more than {strictyaml.MOST_NODES} keys and values"):
        load(file, environ={})
    assert len(composed) <= strictyaml.MOST_NODES + 1


def test_more_streams_than_any_machine_analyses_are_refused(tmp_path):
    file = tmp_path / "many.yaml"
    file.write_text("streams:\n" + "".join(f"  - {{name: s{n}}}\n" for n in range(65)))
    with pytest.raises(UsageError, match="at most 64"):
        load(file, environ={})


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\nb", "a\x9bb", "a\x7f", "\x07"])
@pytest.mark.parametrize("key", ["mqtt.base", "homeassistant.prefix"])
def test_a_topic_holds_no_control_characters(key, evil):
    with pytest.raises(UsageError, match=key) as refused:
        load(environ={f"AGFN_{key.upper().replace('.', '__')}": json.dumps(evil)})
    assert str(refused.value).isprintable()


def test_off_needs_no_quotes(tmp_path):
    file = tmp_path / "quiet.yaml"
    file.write_text("mqtt:\n  url: off\n")
    assert load(file)[0].mqtt.url == "off"
    assert load(sets=["mqtt.url=off"])[0].mqtt.url == "off"


def test_a_stream_of_nothing_is_refused_in_words():
    config, _ = load(sets=["streams.0.camera=null", "streams.0.mic=null"])
    with pytest.raises(UsageError, match="neither camera nor microphone"):
        check(config)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("camera.max_fps=30", "at most 16.0 a second"),
        ("camera.max_fps=1.5", "at least 2.5, got 1.5"),
        ("camera.idle_fps=1", "at least 2.5, got 1"),
        ("window.length_s=20", "1.25 to 4.8 s"),
        ("window.length_s=1", "1.25 to 4.8 s"),
    ],
)
def test_a_setting_that_would_hide_a_modality_is_refused(setting, says):
    with pytest.raises(UsageError, match=says):
        check(load(sets=[setting])[0])


def test_the_shipped_configurations_fit_what_the_network_sees():
    assert MAX_STEPS["face"] == MOST_PICTURES
    for file in sorted(Path("configs").glob("*.yaml")):
        if file.name not in {"training.yaml", "fleet.yaml"}:
            check(load(file)[0])
