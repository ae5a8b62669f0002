"""One target under libFuzzer, in a process of its own: it ends the process, whatever it finds.

python -m scripts.fuzzing.child TARGET [options and folders of libFuzzer]
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from typing import NoReturn

WATCHED = ["realtime.client", "realtime.config", "realtime.publish", "realtime.recording", "models", "yaml", "mcap"]
"""Where new ways through the code count: the parsers, and what they parse with."""


def main() -> NoReturn:
    """Run the target that the first argument names, with the other arguments for libFuzzer."""
    target, *options = sys.argv[1:]
    with atheris.instrument_imports(include=WATCHED):
        run = importlib.import_module(f"scripts.fuzzing.{target}").run

    def once(data: bytes) -> None:
        run(data)  # libFuzzer reads what a target returns

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()
    sys.exit(0)


if __name__ == "__main__":
    main()
