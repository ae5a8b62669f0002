"""One stream, wired: the way of a frame and of a sound from the device to the window.

camera  --Frame--> face ------------FaceFeatures-->
mic     --Chunk--> voice -----------VoiceFeatures-> window --WindowView--> fusion --> messages
           '-----> speech --SpeechFrame-----------> (session/ ticks)
                      '---> transcribe --Transcript--> text --TextFeatures-->
                                 '--Utterance--> reading --Reading--^
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from realtime.runtime.channel import Policy
from realtime.runtime.runner import fan_out
from realtime.types import SAMPLE_RATE_HZ, Chunk, Frame, item_end_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime.capture.adapt import AnalysisRate
    from realtime.clock import Clock
    from realtime.config.schema import Config
    from realtime.extract.asr.decode_schedule import Measures
    from realtime.extract.asr.reading import Utterance
    from realtime.extract.asr.transcriber import Transcriber
    from realtime.extract.models import Extractors
    from realtime.fuse.window import Window
    from realtime.recording.media_tap import MediaTap
    from realtime.runtime.runner import Runner
    from realtime.types import Chunk, Frame

SPEECH_STEP = 512
TEXT_WAIT = 8
UTTERANCES_WAIT = 4


@dataclass(frozen=True, slots=True)
class Inlets:
    """Where the devices of a stream deliver; `asr` gives what the recogniser measured of itself, if there is one."""

    video: Callable[[Frame], None]
    audio: Callable[[Chunk], None]
    asr: Callable[[], Measures | None]


def connect(
    run: Runner,
    config: Config,
    parts: Extractors,
    clock: Clock,
    window: Window,
    video: str,
    audio: str,
    rate: AnalysisRate | None = None,
) -> Inlets:
    """Wire one stream, from the window back to its inlets.

    Args:
        run: puts each stage in a thread, or in line.
        config: of the process.
        parts: the models, shared by all streams.
        clock: of the process.
        window: of this stream.
        video: name of the device that delivers frames.
        audio: name of the device that delivers chunks.
        rate: of the camera, told what is seen and heard.
    """
    chunks_waiting = max(1, int(config.microphone.buffer_s * 1000 / config.microphone.block_ms))
    speech_waiting = max(1, int(config.microphone.buffer_s * SAMPLE_RATE_HZ / SPEECH_STEP))

    seen = window.add_face if rate is None else fan_out(window.add_face, rate.seen)
    face = run.stage("face", parts.face, seen, Policy.LATEST, done=partial(window.worked_off, "face"))
    voice = run.stage(
        "voice",
        parts.voice,
        window.add_voice,
        Policy.DROP_OLDEST,
        chunks_waiting,
        done=partial(window.worked_off, "voice"),
    )
    heard: list[Callable[[Any], None]] = [window.add_speech]
    if rate is not None:
        heard.append(rate.heard)
    recogniser: list[Transcriber] = []

    ended: Callable[[Utterance], None] | None = None

    def transcriber() -> Transcriber:
        recogniser[:] = [parts.transcriber(clock, ended)]
        return recogniser[0]

    if config.asr.enabled:
        # A transcript is an increment: losing one would lose words, so the recogniser waits for the embedding.
        text = run.stage("text", parts.text, window.add_text, Policy.BLOCK, TEXT_WAIT)
        if parts.reads_again:
            # A second reading may be lost: what was heard first stays.
            ended = run.stage("reading", lambda: parts.reader_again(clock), text, Policy.DROP_OLDEST, UTTERANCES_WAIT)
        heard.append(run.stage("transcribe", transcriber, text, Policy.DROP_OLDEST, speech_waiting, coalesce=True))
    speech = run.stage(
        "speech",
        parts.speech,
        fan_out(*heard),
        Policy.DROP_OLDEST,
        chunks_waiting,
        done=partial(window.worked_off, "speech"),
    )
    return Inlets(
        video=fan_out(_seen(window, video), face),
        audio=fan_out(_seen(window, audio), voice, speech),
        asr=lambda: recogniser[0].measures() if recogniser else None,
    )


def _seen(window: Window, device: str) -> Callable[[Any], None]:
    def note(item: Any) -> None:  # noqa: ANN401 - a Frame or a Chunk
        window.saw(device, item_end_ns(item))

    return note


def tapped(inlets: Inlets, tap: MediaTap | None) -> Inlets:
    """Return inlets that hand on to a tap too, if there is one, after the analysis."""
    if tap is None:
        return inlets
    video, audio = inlets.video, inlets.audio

    def seen(frame: Frame) -> None:
        video(frame)
        tap.video(frame)

    def heard(chunk: Chunk) -> None:
        audio(chunk)
        tap.audio(chunk)

    return replace(inlets, video=seen, audio=heard)
