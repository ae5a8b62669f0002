"""Command line of the report: `python -m realtime.report DIR -o report.html`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import AgfnError, UsageError
from realtime.system.logs import printable, say_error
from realtime.system.private_file import private_file

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and return the exit code."""
    cli = argparse.ArgumentParser(prog="python -m realtime.report", description="A recorded session as one HTML page.")
    cli.add_argument("recording", type=Path, metavar="DIR", help="folder of --record, or one of its .mcap files")
    cli.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default report.html")
    args = cli.parse_args(argv)
    try:
        _write(args.recording, args.output)
    except AgfnError as error:
        say_error(error)
        return error.exit_code
    print(printable(str(args.output)))  # noqa: T201 - what was made
    return 0


def _write(source: Path, output: Path) -> None:
    from realtime.recording.reader import open_recordings  # noqa: PLC0415 - --help must answer at once
    from realtime.report.page import page  # noqa: PLC0415 - as above
    from realtime.report.session import read  # noqa: PLC0415 - as above

    content = page([read(recording) for recording in open_recordings(source)])
    try:
        with private_file(output, overwrite=True) as file:
            file.write(content.encode())
    except OSError as error:
        raise UsageError(f"-o {output}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
