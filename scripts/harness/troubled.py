"""Run as a program, with the options of realtime.run: the program with stages that fail on command.

AGFN_TROUBLE names a file whose lines say `STAGE WHAT`, read at every call: `asr memory`, `face bug`, `face slow`,
`face hang`. Who hangs goes on to hang when the line is gone, until there is one that says `STAGE free`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from realtime import run
from realtime.system.threads import leave

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_S = 1.6
P = ParamSpec("P")
R = TypeVar("R")
TROUBLE = Path(os.environ["AGFN_TROUBLE"])


def trouble_of(stage: str) -> str | None:
    """Return what is wrong with a stage now."""
    return dict(line.split() for line in TROUBLE.read_text().splitlines()).get(stage)


def troubled(stage: str, call: Callable[P, R]) -> Callable[P, R]:
    """Make a call fail when its stage is in trouble."""

    def wrapped(*arguments: P.args, **options: P.kwargs) -> R:
        what = trouble_of(stage)
        if what == "bug":
            raise ValueError(f"{stage}: a bug")
        if what == "memory":
            raise MemoryError(f"{stage}: no room for 8 GB")
        if what == "slow":
            time.sleep(SLOW_S)
        if what == "hang":
            while trouble_of(stage) != "free":
                time.sleep(0.1)
        return call(*arguments, **options)

    return wrapped


def main() -> int:
    """Run the program."""
    from realtime.extract.asr.whisper import AsrModel  # noqa: PLC0415
    from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - not where --help needs it

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs this may have it ignored, and the program heeds that
    FaceExtractor.feed = troubled("face", FaceExtractor.feed)  # type: ignore[method-assign] # what it is for
    AsrModel.decode = troubled("asr", AsrModel.decode)  # type: ignore[method-assign]
    return run.main()


leave(main())
