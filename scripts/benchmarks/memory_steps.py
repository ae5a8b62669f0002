"""What each import and each model costs, taken in the process that runs this: memory_parts.py reads its lines.

Nothing heavy may be imported at the head of this file.
"""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

ROLLUP = Path("/proc/self/smaps_rollup")


def steps() -> list[tuple[str, Callable[[], object]]]:
    """Return what is imported and loaded by a run on the CPU, in its order, then what is not."""

    def imported(*names: str) -> Callable[[], object]:
        return lambda: [importlib.import_module(name) for name in names]

    def face() -> object:
        from realtime.extract.face.extractor import FaceExtractor  # noqa: PLC0415 - what is measured
        from realtime.types import Frame  # noqa: PLC0415

        black = importlib.import_module("numpy").zeros((480, 640, 3), "uint8")
        extractor = FaceExtractor(config().face, zoo().path("face"))
        return extractor, list(extractor.feed(Frame(1, black)))

    def whisper(model: str) -> object:
        from realtime.extract.asr.whisper import AsrModel  # noqa: PLC0415 - as above

        loaded = AsrModel(config().asr.model_copy(update={"model": model}))
        return loaded, loaded.decode(importlib.import_module("numpy").zeros(32000, "float32"), (), 8, None)

    def text() -> object:
        from models.textline import LINES, TextLine  # noqa: PLC0415 - as above

        base, weights = LINES[config().text.reader]
        folder = zoo().path(base, only=("tokenizer.json",))
        line = TextLine.load(folder, weights, graphs=zoo().cache().parent / "graphs")
        return line, line.read(["it", "was", "the", "best", "of", "times"])

    def config() -> Any:  # noqa: ANN401 - a realtime.config.schema.Config
        return importlib.import_module("realtime.config.load").load()[0]

    def zoo() -> Any:  # noqa: ANN401 - the module
        return importlib.import_module("models.zoo")

    def fusion() -> object:
        from realtime.clock import MonotonicClock  # noqa: PLC0415 - as above
        from realtime.fuse.worker import fuser_of  # noqa: PLC0415

        return fuser_of(config(), MonotonicClock())

    return [
        ("NumPy", imported("numpy")),
        ("PyAV", imported("av")),
        ("OpenCV", imported("cv2")),
        ("ONNX Runtime", imported("onnxruntime")),
        ("CTranslate2, faster-whisper", imported("faster_whisper")),
        ("MediaPipe", imported("realtime.system.mediapipe")),
        ("our own code, pydantic, MQTT", imported("realtime.app")),
        ("AGFN, a graph", fusion),
        ("voice, a graph", lambda: importlib.import_module("realtime.extract.voice.prosody").prosody()),
        ("speech detector", lambda: importlib.import_module("realtime.extract.vad").SpeechDetector()),
        ("face networks, a picture", face),
        ("text line, 8-bit graph, a sentence", text),
        ("Whisper tiny.en, a decode", lambda: whisper("tiny.en")),
        ("Whisper base, second reading, a decode", lambda: whisper("base")),
        ("not in a run on the CPU: PyTorch", imported("torch")),
        ("not in a run on the CPU: torchaudio", imported("torchaudio")),
    ]


def anonymous_mb() -> float | None:
    """Anonymous memory of this process, where the system tells."""
    try:
        line = next(line for line in ROLLUP.read_text().splitlines() if line.startswith("Anonymous:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) / 1024


def child() -> None:
    """Take one step after the other and print what each cost, a line of JSON each."""
    from realtime.system.malloc import return_freed  # noqa: PLC0415 - as the program does
    from realtime.system.threads import limit_pools  # noqa: PLC0415

    limit_pools()
    return_freed()
    process, kept = psutil.Process(), []
    for name, take in steps():
        before, before_own, begin_s = process.memory_info().rss, anonymous_mb(), time.process_time()
        kept.append(take())
        spent_s, after_own = time.process_time() - begin_s, anonymous_mb()
        rss_mb = (process.memory_info().rss - before) / 2**20
        own = None if before_own is None or after_own is None else round(after_own - before_own, 1)
        print(json.dumps([name, round(rss_mb, 1), own, round(spent_s, 2)]), flush=True)


if __name__ == "__main__":
    child()
