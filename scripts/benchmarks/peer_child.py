"""One recogniser under measurement: hears a recording at its own pace and tells what it shows, in lines of JSON.

A peer runs in its own environment, where nothing of this project is: `python -I peer_child.py NAME SOUND MODEL`, with
the standard library alone. Ours runs the same way, as a module of this project. Says `{"ready": true}` when its models
are loaded, waits for a line, hears, says `{"end": true}`, and ends when its standard input does.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import queue
import sys
import time
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

RATE_HZ = 16_000
BYTES_PER_S = 2 * RATE_HZ
BLOCK_S = 0.1
"""What a sound card, or a browser, hands over at once."""
UFAL_CHUNK_S = 1.0
"""ufal's loop decodes when so much more has come (--min-chunk-size), and takes all that has come by then."""
UFAL_BUFFER_S = 15.0
"""Sound that it keeps (--buffer_trimming_sec)."""
FINISH_S = 60.0


class Report:
    """What goes to the parent: lines of JSON on what was standard output; what libraries print goes to the log."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **what: object) -> None:
        """Write a line."""
        self._out.write(json.dumps(what) + "\n")
        self._out.flush()

    def ready(self) -> None:
        """Tell that the models are there, and wait until it may begin."""
        self.say(ready=True)
        sys.stdin.readline()


class Recording:
    """Sound that comes at its own pace: a piece is there once its last sample has been.

    Args:
        path: 16-bit mono WAV at 16 kHz.
    """

    def __init__(self, path: str) -> None:
        with wave.open(path) as file:
            self.pcm: bytes = file.readframes(file.getnframes())
        self._at = 0
        self._began_s = 0.0

    def begin(self) -> None:
        """The first sample is spoken now."""
        self._began_s = time.monotonic()

    def now_s(self) -> float:
        """Seconds of the sound that have been spoken."""
        return time.monotonic() - self._began_s

    def next(self, least_s: float) -> bytes:
        """Wait until so much more is there, and return all that has come; nothing at the end."""
        due_s = min(self._at + int(least_s * BYTES_PER_S), len(self.pcm)) / BYTES_PER_S
        time.sleep(max(0.0, due_s - self.now_s()))
        upto = min(int(max(due_s, self.now_s()) * RATE_HZ) * 2, len(self.pcm))
        piece, self._at = self.pcm[self._at : upto], upto
        return piece


def floats(pcm: bytes) -> list[float]:
    """Samples in [-1, 1]."""
    return [sample / 32768 for sample in array.array("h", pcm)]


def ours(recording: Recording, _model: str, report: Report) -> None:
    """AGFN Live's recogniser, with the settings it has by default."""
    import numpy as np  # noqa: PLC0415 - not there where a peer runs

    from realtime.config.schema import AsrConfig  # noqa: PLC0415 - as above
    from realtime.extract.asr.transcriber import AsrModel  # noqa: PLC0415 - as above
    from scripts.benchmarks import live  # noqa: PLC0415 - as above
    from scripts.benchmarks.appeared import shown_by  # noqa: PLC0415 - as above

    model = AsrModel(AsrConfig())
    report.ready()
    run = live.run(np.array(floats(recording.pcm), np.float32), AsrConfig(), model, wall=True)
    for one in shown_by(run):
        report.say(at_s=one.at_s, committed=one.committed, tentative=one.tentative)


def whisperlivekit(recording: Recording, model: str, report: Report) -> None:
    """WhisperLiveKit with LocalAgreement on our Whisper weights; else as it comes."""
    from whisperlivekit.test_harness import TestHarness  # noqa: PLC0415 - see the head of the file

    def show(state: Any) -> None:  # noqa: ANN401 - a whisperlivekit.test_harness.TestState
        report.say(at_s=recording.now_s(), committed=state.committed_text, tentative=state.buffer_transcription)

    async def hear() -> None:
        options = {"backend": "faster-whisper", "backend_policy": "localagreement", "lan": "en"}
        async with TestHarness(model_size="tiny.en", model_dir=model, **options) as harness:
            harness.on_update(show)
            report.ready()
            recording.begin()
            while piece := await asyncio.to_thread(recording.next, BLOCK_S):
                await harness.feed_pcm(piece, speed=0)
            await harness.finish(FINISH_S)

    asyncio.run(hear())


def moonshine(recording: Recording, _model: str, report: Report) -> None:
    """Moonshine Voice with the tiny English model that its wheel carries."""
    from moonshine_voice import ModelArch, Transcriber, get_model_path  # noqa: PLC0415 - see the head of the file

    lines: dict[int, tuple[str, bool]] = {}

    def show(event: Any) -> None:  # noqa: ANN401 - a moonshine_voice.TranscriptEvent
        if event.line is None:
            raise event.error
        lines[event.line.line_id] = (event.line.text, event.line.is_complete)
        done, still = (" ".join(text for text, end in lines.values() if end == wanted) for wanted in (True, False))
        report.say(at_s=recording.now_s(), committed=done, tentative=still)

    with Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY) as transcriber:
        transcriber.add_listener(show)
        transcriber.start()
        report.ready()
        recording.begin()
        while piece := recording.next(BLOCK_S):
            transcriber.add_audio(floats(piece), RATE_HZ)
        transcriber.stop()


def whisper_streaming(recording: Recording, model: str, report: Report) -> None:
    """The loop of ufal as whisper-streaming reworked it, on our Whisper weights. It shows committed words only."""
    import numpy as np  # noqa: PLC0415 - see the head of the file
    import whisper_streaming as loop  # noqa: PLC0415 - as above
    from whisper_streaming import backend  # noqa: PLC0415 - as above

    committed: list[str] = []

    class AllThatHasCome(queue.Queue[Any]):
        """Gives the processor what there is when it asks, as ufal's own loop does: nothing waits in line, stale."""

        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002
            if piece := recording.next(UFAL_CHUNK_S):
                return np.array(floats(piece), np.float32)
            raise queue.Empty

    class Receiver(loop.AudioReceiver):  # type: ignore[misc] # no types
        def __init__(self) -> None:
            super().__init__()
            self.queue = AllThatHasCome()

        def _do_receive(self) -> None:
            """Nothing comes by this way."""

        def _do_close(self) -> None:
            pass

    class Sender(loop.OutputSender):  # type: ignore[misc] # as above
        def _do_output(self, data: Any) -> None:  # noqa: ANN401 - a whisper_streaming.Word
            committed.append(data.word)
            report.say(at_s=recording.now_s(), committed=" ".join(committed), tentative="")

        def _do_close(self) -> None:
            while not self.queue.empty():
                self._do_output(self.queue.get_nowait())

    processor = loop.ASRProcessor(
        processor_config=loop.ASRProcessor.ProcessorConfig(
            sampling_rate=RATE_HZ,
            prompt_size=200,
            audio_receiver_timeout=5.0,
            audio_trimming=loop.TimeTrimming(seconds=UFAL_BUFFER_S),
            language="en",
        ),
        audio_receiver=Receiver(),
        output_senders=Sender(),
        backend=loop.Backend.FASTER_WHISPER,
        model_config=backend.FasterWhisperModelConfig(model_size_or_path=model, device="cpu", compute_type="int8"),
        transcribe_config=backend.FasterWhisperTranscribeConfig(),
        feature_extractor_config=backend.FasterWhisperFeatureExtractorConfig(),
    )
    report.ready()
    recording.begin()
    processor.run()


RECOGNISERS: dict[str, Callable[[Recording, str, Report], None]] = {
    "ours": ours,
    "whisperlivekit": whisperlivekit,
    "moonshine": moonshine,
    "whisper-streaming": whisper_streaming,
}


def main(name: str, sound: str, model: str) -> None:
    """Measure one recogniser."""
    report = Report()
    RECOGNISERS[name](Recording(sound), model, report)
    report.say(end=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
