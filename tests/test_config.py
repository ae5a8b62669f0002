from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from realtime.config import Config, commented, load, to_yaml
from realtime.errors import UsageError


def test_later_layers_win_and_every_value_knows_its_origin(tmp_path):
    file = tmp_path / "agfn.yaml"
    file.write_text("window: {hop_s: 0.5, length_s: 3}\nfusion: {threads: 2}\n")
    config, origins = load(
        file, ["window.hop_s=1.0"], {"fusion": {"device": "cpu"}}, {"AGFN_WINDOW__HOP_S": "0.75", "AGFN_CACHE": "x"}
    )
    assert (config.window.hop_s, config.window.length_s, config.fusion.device) == (1.0, 3.0, "cpu")
    assert origins == {
        "window.hop_s": "--set",
        "window.length_s": str(file),
        "fusion.threads": str(file),
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
    config, origins = load(sets=["window.hop_s=0.5"], environ={})
    shown = to_yaml(config, origins)
    assert Config.model_validate(yaml.safe_load(shown)) == config
    assert next(line for line in shown.splitlines() if "hop_s" in line).endswith("# --set")


def test_the_commented_file_is_the_defaults():
    file = Path("configs/default.yaml")
    assert file.read_text() == commented()
    assert load(file, environ={})[0] == Config()
