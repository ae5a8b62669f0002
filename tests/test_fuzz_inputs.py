"""The targets of the fuzzer: their seeds are taken, what was ever found is not found again, and a minute finds nothing.

A minute is short; `python -m scripts.fuzz --seconds 3600` looks longer.
"""

import importlib
import importlib.util

import pytest

from scripts import fuzz
from scripts.fuzzing import TARGETS
from scripts.fuzzing.checks import FindingError, expect, expect_one_line

KEPT = [  # the first ones were put there by hand: what parsers often fail at
    (target, path) for target in TARGETS for path in fuzz.kept(target)
]
NEEDS_ATHERIS = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 only"
)

INPUTS = {"client": 4000, "command": 20_000, "config": 200, "entry": 4000, "recording": 1000, "weights": 2000}
"""About ten seconds of each."""


def run(target, data):
    return importlib.import_module(f"scripts.fuzzing.{target}").run(data)


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_begins_with_is_valid(target):
    seeds = fuzz.seeds_of(target)
    taken = [run(target, seed) for seed in seeds]
    assert taken.count(False) <= (1 if target == "client" else 0)  # a later version of the contract is refused in words


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 300, b"[" * 5000, b'{"a":' * 3000])
def test_what_is_nothing_is_refused(target, data):
    assert run(target, data) in {False, True}


@pytest.mark.parametrize(("target", "path"), KEPT, ids=lambda value: getattr(value, "name", value))
def test_what_was_found_once_is_not_found_again(target, path):
    run(target, path.read_bytes())


def test_a_refusal_that_is_no_line_is_a_finding():
    with pytest.raises(FindingError):
        expect_one_line(ValueError("two\nlines"))
    with pytest.raises(FindingError, match="odd"):
        expect(0, "odd")


@NEEDS_ATHERIS
def test_a_finding_is_reported_with_its_input_and_kept(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(fuzz, "KEPT", tmp_path)
    (tmp_path / "child.py").write_text(
        "import sys, atheris\n"
        "def once(data):\n    if data[:1] == b'p': raise ValueError('boom')\n"
        "atheris.Setup([sys.argv[0], *sys.argv[2:]], once)\natheris.Fuzz()\n"
    )
    real = fuzz.subprocess.run
    monkeypatch.setattr(
        fuzz.subprocess,
        "run",
        lambda command, **more: real([command[0], str(tmp_path / "child.py"), *command[3:]], **more),
    )
    assert fuzz.main(["--seconds", "20", "command"]) == 1
    said = capfd.readouterr().out
    assert "boom" in said
    assert "command fails for b'p" in said
    (found,) = fuzz.kept("command")
    assert found.read_bytes().startswith(b"p")


@NEEDS_ATHERIS
@pytest.mark.timeout(420)
@pytest.mark.parametrize("target", TARGETS)
def test_some_seconds_of_it_find_nothing(target):
    # The same inputs on every machine: what is new is looked for by the command, and never fails a change at random.
    outcome = fuzz.fuzz(target, 60, seed=1859, inputs=INPUTS[target])
    assert outcome.findings == (), outcome.said[-3000:]
    assert outcome.tried > len(fuzz.seeds_of(target))
