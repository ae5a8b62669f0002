"""Run as a program, with the options of realtime.run: the program with stages that fail on command.

AGFN_TROUBLE names a file whose lines say `STAGE WHAT`, read at every call: `asr memory`, `face bug`, `face hang`. Who
hangs goes on to hang when the line is gone, until there is one that says `STAGE free`.
"""

import os
import sys
import time
from pathlib import Path

from realtime import run

TROUBLE = Path(os.environ["AGFN_TROUBLE"])


def trouble_of(stage):
    return dict(line.split() for line in TROUBLE.read_text().splitlines()).get(stage)


def troubled(stage, call):
    def wrapped(*arguments, **options):
        what = trouble_of(stage)
        if what == "bug":
            raise ValueError(f"{stage}: a bug")
        if what == "memory":
            raise MemoryError(f"{stage}: no room for 8 GB")
        if what == "hang":
            while trouble_of(stage) != "free":
                time.sleep(0.1)
        return call(*arguments, **options)

    return wrapped


def main():
    from realtime.extract.asr.whisper import AsrModel  # noqa: PLC0415
    from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - not where --help needs it

    FaceExtractor.feed = troubled("face", FaceExtractor.feed)
    AsrModel.decode = troubled("asr", AsrModel.decode)
    return run.main()


sys.exit(main())
