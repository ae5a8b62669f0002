"""Coverage-guided fuzzing of every parser: `python -m scripts.fuzz [--seconds N] [TARGET ...]`.

Each target gets its share of the time in a process of its own. What makes a parser raise, hang or swell is printed and
kept in tests/fuzz/TARGET, where tests/test_fuzz_inputs.py tries it again for ever. Needs atheris (Linux, x86-64).
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts.fuzzing import TARGETS

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "fuzz"
SECONDS = 60.0
"""For all targets together, unless told otherwise."""
START_S = 300.0
"""So long a process may take beside its share: to import what it tests on a busy machine, and to end."""
HANGS_S = 60
"""An input that takes longer is a finding. By the clock on the wall, so it is long: other things may run beside it."""
MOST_MB = 4096
LONGEST = 20_000
"""Bytes of an input, where a target has no bound of its own."""
_TRIED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


class FuzzError(Exception):
    """The fuzzer itself does not run; one line says why."""


@dataclass(frozen=True)
class Outcome:
    """What came of one target: how many inputs were tried, and what was found with the words of the fuzzer."""

    target: str
    tried: int
    findings: tuple[bytes, ...]
    said: str


def kept(target: str) -> list[Path]:
    """Return what was once found, or put there by hand."""
    return sorted((KEPT / target).glob("*"))


def seeds_of(target: str) -> list[bytes]:
    """Return the valid examples that a target begins with."""
    found: list[bytes] = importlib.import_module(f"scripts.fuzzing.{target}").seeds()
    return found


def fuzz(target: str, seconds: float, seed: int = 0, inputs: int | None = None) -> Outcome:
    """Try inputs of a target for so long, or so many, or until there is a finding.

    Args:
        target: of TARGETS.
        seconds: how long; starting comes to that.
        seed: the same one tries the same inputs in the same order; 0 others each time.
        inputs: how many at most; with a seed the same ones on a fast machine and on a slow one.

    Raises:
        FuzzError: it did not run.
    """
    with tempfile.TemporaryDirectory(prefix="agfn-fuzz-") as place:
        folder = Path(place)
        corpus, found = folder / "corpus", folder / "found"
        for made in (corpus, found):
            made.mkdir()
        for number, example in enumerate([*seeds_of(target), *(path.read_bytes() for path in kept(target))]):
            (corpus / str(number)).write_bytes(example)
        options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANGS_S}", f"-rss_limit_mb={MOST_MB}"]
        options += [f"-seed={seed}", f"-runs={-1 if inputs is None else inputs}"]
        longest = getattr(importlib.import_module(f"scripts.fuzzing.{target}"), "LONGEST", LONGEST)
        options += [
            f"-max_len={longest}",
            "-print_final_stats=1",
            f"-report_slow_units={HANGS_S}",
            f"-artifact_prefix={found}/",
        ]
        command = [sys.executable, "-m", "scripts.fuzzing.child", target, *options, str(corpus)]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds + START_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FuzzError(f"{target}: the fuzzer did not end in time") from None
        said = done.stdout.decode(errors="replace")
        findings = tuple(path.read_bytes() for path in sorted(found.iterdir()))
        tried = _TRIED.search(said)
        if not findings and (done.returncode or tried is None):
            raise FuzzError(f"{target}: the fuzzer ended with {done.returncode}:\n{said[-3000:]}")
        for path in found.iterdir():
            (KEPT / target).mkdir(parents=True, exist_ok=True)
            (KEPT / target / path.name).write_bytes(path.read_bytes())
        return Outcome(target, int(tried[1]) if tried else 0, findings, said)


def main(argv: list[str] | None = None) -> int:
    """Fuzz; the command line of this module. Returns 1 when there are findings, 2 when the fuzzer does not run."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__.split("\n", 1)[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all together (%(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="to try the same inputs again; 0: others each time")
    options = parser.parse_args(argv)
    targets: list[str] = options.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    wrong = False
    for target in targets:
        try:
            outcome = fuzz(target, options.seconds / len(targets), options.seed)
        except FuzzError as error:
            print(error, file=sys.stderr)
            return 2
        print(f"{target}: {outcome.tried} inputs, {len(outcome.findings)} findings", flush=True)
        for finding in outcome.findings:
            wrong = True
            print(f"{outcome.said[-3000:]}\n{target} fails for {finding!r}: kept in {KEPT / target}", flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
