"""`bench gpu`: its figures, by the same code on the CPU; what it says where there is no GPU."""

import itertools
import json
import types
from importlib.metadata import version

import pytest
import torch

from realtime.config.load import load
from realtime.system import cuda
from scripts.benchmarks import gpu, gpu_machine, gpu_stages


def test_without_the_device_it_says_so_in_one_line_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "devices", lambda: 0)
    with pytest.raises(SystemExit) as caught:
        gpu.main([])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "bench gpu: there is no cuda here; --device cpu shows that the command works\n"
    monkeypatch.setattr(cuda, "devices", lambda: 1)
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cuda:1"])
    assert "no cuda:1 here" in capsys.readouterr().err


@pytest.mark.models
def test_every_stage_runs_on_the_cpu_by_the_same_code(capsys):
    found = gpu.main(["--device", "cpu"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert {name: tuple(map(int, times)) for name, times in found["gpu_ms"].items()} == gpu.SMALL
    assert all(ms > 0 for times in found["gpu_ms"].values() for ms in times.values())
    assert all(streams > 0 for streams in found["gpu_streams_by_stage"].values())
    assert found["gpu_streams"] > 0
    assert found["gpu"]["device"] == "cpu"
    assert found["gpu"]["libraries"]["torch"] == version("torch")
    assert not found["gpu_agfn_half"]


def test_streams_are_those_that_the_best_batch_serves_and_stages_share_the_device():
    config, _ = load(sets=["window.hop_s=0.25", "asr.step_s=0.5"])
    table = {
        "agfn": {"1": 1.0, "512": 12.8, "1024": None},  # 40,000 windows/s, four a stream
        "whisper": {"1": 10.0, "8": 20.0},
        "text_mpnet": {"1": 1.0},
        "voice": {"64": 6.4},  # ten blocks a stream
    }
    found = gpu.summary(table, config)
    by_stage = {"agfn": 10000.0, "whisper": 200.0, "text_mpnet": 500.0, "voice": 1000.0}
    assert found["gpu_streams_by_stage"] == by_stage
    assert found["gpu_streams"] == pytest.approx(1 / (1 / 10000 + 1 / 50), abs=0.1), "one decode after the other"
    assert found["gpu_streams_of_a_pool"] == pytest.approx(1 / (1 / 10000 + 1 / 200), abs=0.1)
    whole = 1 / sum(1 / count for count in by_stage.values())
    assert found["gpu_streams_with_text_and_voice"] == pytest.approx(whole, abs=0.1)
    assert gpu.together([3.0, 0.0]) == 0.0, "a stage that does not fit serves nobody"


def test_a_batch_that_the_memory_does_not_hold_ends_the_series_and_any_other_failure_the_command():
    asked = []

    def stage(size):
        def call():
            asked.append(size)
            if size >= 4:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        return call

    found = gpu_stages.by_batch(stage, (1, 4, 8), 3)
    assert found["1"] >= 0
    assert (found["4"], found["8"]) == (None, None)
    assert 8 not in asked

    def broken(_size):
        def call():
            raise RuntimeError("no kernel image is available for execution on the device")

        return call

    with pytest.raises(RuntimeError, match="no kernel image"):
        gpu_stages.by_batch(broken, (1,), 1)


def test_the_first_call_is_not_counted(monkeypatch):
    times = itertools.chain([0, 100], itertools.chain.from_iterable((n, n + 2e-3) for n in range(300, 310)))
    monkeypatch.setattr(gpu_stages.time, "perf_counter", lambda: next(times))
    assert gpu_stages.by_batch(lambda _size: lambda: None, (1,), 3) == {"1": 2.0}


def test_a_figure_says_of_which_device_driver_and_libraries_it_is(monkeypatch, tmp_path):
    about = types.SimpleNamespace(name="NVIDIA Made 1", total_memory=24 * 2**30, major=8, minor=9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about if device.index == 1 else None)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 570.86.15\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = gpu_machine.facts("cuda:1")
    assert (found["device"], found["memory_gb"], found["compute_capability"]) == ("NVIDIA Made 1", 24.0, "8.9")
    assert found["driver"] == "570.86.15"
    assert found["libraries"].keys() == set(gpu_machine.LIBRARIES)
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_machine.driver() is None
    tool.unlink()
    assert gpu_machine.driver() is None
