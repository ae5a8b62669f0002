"""Command line of the doctor: `agfn-live doctor`, or `python -m realtime.doctor`.

Exit codes: 0 all that everybody needs is well, 1 something has to be mended, 2 wrong option.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from realtime.system.logs import printable
from realtime.system.threads import leave, limit_pools

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found, each with what to do, and return the exit code."""
    argparse.ArgumentParser(
        prog="agfn-live doctor",
        description="Check packages, cameras, microphones, loopback, screen, sound system, broker, models and the "
        "speed of this machine.",
    ).parse_args(argv)
    limit_pools()
    from realtime.doctor.checks import findings  # noqa: PLC0415 - --help must answer at once

    bad = 0
    for found in findings():
        bad += found.state == "bad"
        remedy = f"\n       -> {found.remedy}" if found.remedy else ""
        print(f"{MARKS[found.state]} {found.about}: {printable(found.text)}{remedy}", flush=True)  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    leave(main())
