"""Evaluations, one per subcommand: python scripts/evaluate.py NAME --help.

Each lives in scripts/evaluation/NAME.py with `add_arguments(parser)` and `main(args) -> exit code`; a new one is a new
line in COMMANDS. Modules are imported only for the command that is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

COMMANDS = {
    "fusion": "compare fusion methods on vectors of each modality, clean and damaged",
}


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--data", type=Path, default=Path(os.environ.get("AGFN_DATA", ROOT / ".." / "shared" / "data"))
        )
        if name in argv[:1]:
            importlib.import_module(f"evaluation.{name}").add_arguments(sub)
    args = parser.parse_args(argv)
    return int(importlib.import_module(f"evaluation.{args.command}").main(args))


if __name__ == "__main__":
    sys.exit(main())
