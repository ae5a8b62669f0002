"""Where Whisper runs: what the configuration says, on machines with and without CUDA that CTranslate2 makes believe."""

import ctranslate2
import faster_whisper
import pytest

from realtime.config.schema import AsrConfig
from realtime.errors import ModelError
from realtime.extract.asr.whisper import AsrModel

ALL = {"float32", "float16", "int8"}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return what Whisper is loaded with on a machine with so many CUDA devices of such types."""
    (tmp_path / "model.bin").touch()
    loaded = []

    class Model:
        feature_extractor = model = None

        def __init__(self, name, *, device, device_index, compute_type, **_):
            loaded.append((name, device, device_index, compute_type))

    monkeypatch.setattr(faster_whisper, "WhisperModel", Model)

    def load(devices, types=ALL, **settings):
        monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: devices)
        monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _device, _number: types)
        AsrModel(AsrConfig(model=str(tmp_path), **settings))
        assert loaded[-1][0] == str(tmp_path)
        return loaded[-1][1:]

    return load


@pytest.mark.parametrize(
    ("devices", "device", "found"),
    [
        (0, "auto", ("cpu", 0, "int8")),
        (0, "cpu", ("cpu", 0, "int8")),
        (2, "auto", ("cuda", 0, "float16")),
        (2, "cpu", ("cpu", 0, "int8")),
        (2, "cuda", ("cuda", 0, "float16")),
        (2, "cuda:1", ("cuda", 1, "float16")),
    ],
)
def test_whisper_runs_where_it_is_told_to_in_a_type_that_fits(machine, devices, device, found):
    assert machine(devices, device=device) == found


def test_a_card_without_float16_computes_in_float32_and_a_type_that_is_given_is_taken(machine):
    assert machine(1, {"float32", "int8"}, device="cuda") == ("cuda", 0, "float32")
    assert machine(1, device="cuda", compute_type="int8_float16") == ("cuda", 0, "int8_float16")


@pytest.mark.parametrize(
    ("devices", "device", "says"),
    [
        (0, "cuda", "asr.device cuda: no CUDA device here; use auto or cpu"),
        (0, "cuda:1", "asr.device cuda:1: no CUDA device here; use auto or cpu"),
        (2, "cuda:2", "asr.device cuda:2: the last CUDA device here is cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_said(machine, devices, device, says):
    with pytest.raises(ModelError) as caught:
        machine(devices, device=device)
    assert str(caught.value) == says


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "0"])
def test_a_name_of_no_device_is_refused(device):
    with pytest.raises(ValueError, match="device"):
        AsrConfig(device=device)
