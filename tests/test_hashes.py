"""Only the very files that hashes.txt lists are installed: wheels made here, pip as it is."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import hashes
from scripts.hashes import HashError, Wheel

ROOT = Path(__file__).resolve().parent.parent
TOY = Wheel("Toy_Part", "1.0", "toy_part-1.0-py3-none-any.whl", "a" * 64)


def test_every_pin_has_a_wheel_in_the_list_and_every_wheel_a_pin():
    files = hashes.listed()
    assert {hashes.package_of(file) for file in files} == hashes.pins()
    assert len(files) == len((ROOT / "hashes.txt").read_text().splitlines()), "a line that is none, or a file twice"
    assert all(hashes.is_for_us(file) for file in files)


def test_the_list_names_no_host_and_is_one_that_sha256sum_reads():
    text = (ROOT / "hashes.txt").read_text()
    assert "/" not in text
    assert all(len(line.split("  ")) == 2 for line in text.splitlines())


@pytest.mark.parametrize(
    "tags",
    [
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp310-cp310-win_amd64",
        "cp313-cp313-macosx_11_0_arm64",
        "cp39-abi3-manylinux_2_17_aarch64.manylinux2014_aarch64",
    ],
)
def test_heavy_packages_have_wheels_for_the_platforms_that_the_project_names(tags):
    assert hashes.is_for_us(f"numpy-1-{tags}.whl")
    python, _, platform = tags.split("-")
    if python != "cp39":
        assert any(f"-{python}-" in file and platform in file for file in hashes.listed() if file.startswith("numpy-"))


@pytest.mark.parametrize("tags", ["cp314-cp314-win_amd64", "pp311-pypy311_pp73-win_amd64", "cp313-cp313t-win_amd64"])
def test_wheels_that_fit_nothing_supported_are_left_out(tags):
    assert not hashes.is_for_us(f"numpy-1-{tags}.whl")


def test_a_listed_file_is_required_by_its_hash():
    lines, notes = hashes.requirements([TOY], {TOY.file: TOY.sha256})
    assert (lines, notes) == ([f"Toy_Part==1.0 --hash=sha256:{'a' * 64}"], [])


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({TOY.file: "b" * 64}, r"toy_part-1\.0-py3-none-any\.whl has sha256 a{12}\.\.\., listed is b"),
        ({}, "not listed"),
    ],
)
def test_another_file_or_one_that_is_not_listed_is_refused_with_what_to_do(known, said):
    with pytest.raises(HashError, match=rf"{said}.*Nothing was installed.*AGFN_HASHES=off"):
        hashes.requirements([TOY], known)


def test_a_build_of_pytorch_for_one_kind_of_processor_is_taken_and_said():
    cpu = Wheel("torch", "2.14.1+cpu", "torch-2.14.1+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "c" * 64)
    lines, notes = hashes.requirements([cpu], {})
    assert lines == [f"torch==2.14.1+cpu --hash=sha256:{'c' * 64}"]
    assert "2.14.1+cpu" in notes[0]
    plain = Wheel("torch", "2.14.1", "torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl", "c" * 64)
    with pytest.raises(HashError):  # under a listed name it has to be the listed file
        hashes.requirements([plain], hashes.listed())
    with pytest.raises(HashError):  # a label lets nobody else in
        hashes.requirements([Wheel("numpy", "1+cpu", "numpy-1+cpu-py3-none-any.whl", "c" * 64)], {})


def test_a_report_of_another_kind_is_an_error_in_words():
    with pytest.raises(HashError, match="pip's report"):
        hashes.planned({"install": [{"metadata": {"name": "x", "version": "1"}, "download_info": {"url": "x"}}]})


def test_what_is_needed_first_comes_with_its_hashes():
    (line,) = hashes.first(["pip"], hashes.listed(), hashes.pins())
    assert line.startswith("pip==")
    assert " --hash=sha256:" in line


def wheel_of_toy(folder, content="value = 1\n"):
    folder.mkdir(exist_ok=True)
    path = folder / TOY.file
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy_part.py", content)
        wheel.writestr("toy_part-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-part\nVersion: 1.0\n")
        wheel.writestr("toy_part-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toy_part-1.0.dist-info/RECORD", "")
    return path


def pip(*arguments):
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", "pip", "install", "--ignore-installed", "--no-deps", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_pip_takes_what_was_planned_and_refuses_what_came_in_its_place(tmp_path):
    wheel = wheel_of_toy(tmp_path / "index")
    report, wanted, target = tmp_path / "report.json", tmp_path / "wanted.txt", tmp_path / "target"
    done = pip("--dry-run", "--report", report, "--find-links", wheel.parent, "toy-part==1.0")
    assert done.returncode == 0, done.stderr
    plan = hashes.planned(json.loads(report.read_text()))
    known = {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest()}
    lines, notes = hashes.requirements(plan, known)
    assert notes == []
    wanted.write_text("\n".join(lines))

    def install():
        return pip("--require-hashes", "--find-links", wheel.parent, "--target", target, "--requirement", wanted)

    wheel_of_toy(wheel.parent, "value = 'forged'\n")
    refused = install()
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (target / "toy_part.py").exists()
    wheel_of_toy(wheel.parent)
    known_again = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted.write_text(f"toy-part==1.0 --hash=sha256:{known_again}")
    assert install().returncode == 0
    assert (target / "toy_part.py").read_text() == "value = 1\n"


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path, capsys):
    report = tmp_path / "report.json"
    item = {"url": f"https://example.org/x/{TOY.file}", "archive_info": {"hashes": {"sha256": "a" * 64}}}
    report.write_text(json.dumps({"install": [{"metadata": {"name": "t", "version": "1"}, "download_info": item}]}))
    assert hashes.main(["--plan", str(report)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    report.write_text('{"install": []}')
    assert hashes.main(["--plan", str(report)]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_list_is_read_with_the_standard_library_alone():
    code = "import sys, scripts.hashes; sys.exit(bool({'numpy', 'packaging', 'pip'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=False).returncode == 0
