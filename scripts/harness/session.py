"""A recorded session without devices: a stream with its window, AGFN and recorder, fed with made-up features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.affect import EXPRESSIONS
from realtime.clock import VirtualClock
from realtime.config.schema import Config, StreamConfig
from realtime.extract.schema import FACE_DIM, TEXT_DIM, VOICE_DIM
from realtime.publish.health import HealthReporter
from realtime.publish.messages import EventMessage, Sentiment
from realtime.publish.outlet import Outlet
from realtime.runtime.channel import ChannelStats
from realtime.runtime.worker import WorkerStats
from realtime.session.recorder import recorder_of
from realtime.session.stream import Stream
from realtime.session.ticks import Ticks
from realtime.types import Event, FaceFeatures, Person, SpeechFrame, TextFeatures, VoiceFeatures, Word

if TYPE_CHECKING:
    from pathlib import Path

    from realtime.fuse.worker import Fuser
    from realtime.publish.messages import Message

MS = 1_000_000
SAID = ["this", "was", "really", "a", "secret", "plan"]
LIKELY = np.full(len(EXPRESSIONS), 1 / len(EXPRESSIONS), np.float32)
CAMERA, SOUND = "camera 0", "microphone default"


def settings(folder: Path, *, words: bool = False, name: str = "desk", further: bool = False) -> Config:
    """The configuration of a session that is recorded into `folder`; `further` asks for people and channels, too."""
    return Config.model_validate(
        {
            "record": {"folder": str(folder), "text": words},
            "streams": [StreamConfig(name=name).model_dump()],
            "face": {"people": further},
            "channels": {"enabled": further},
        }
    )


def text_of(rng: np.random.Generator, begin_ns: int, count: int, now_ns: int) -> TextFeatures:
    """The first `count` words of SAID, spoken from `begin_ns` on, the last one still tentative."""
    said = tuple(
        Word(
            begin_ns + i * 300 * MS, begin_ns + (i * 300 + 250) * MS, SAID[i], 0.9, i < count - 1 or count == len(SAID)
        )
        for i in range(count)
    )
    return TextFeatures(now_ns, said, rng.standard_normal((count, TEXT_DIM)).astype(np.float32), 0.1)


def session(
    folder: Path,
    fuser: Fuser,
    seconds: float = 6.0,
    *,
    words: bool = False,
    name: str = "desk",
    further: bool = False,
) -> list[Message]:
    """Record a session and return what was published.

    A window is closed for a word at 1.4 s; the camera is lost at 2 s and back at 3 s, a pause at 4.5 s.
    """
    rng = np.random.default_rng(5)
    config, clock = settings(folder, words=words, name=name, further=further), VirtualClock()
    sent: list[Message] = []
    recorder = recorder_of(config, config.streams[0], pytest.fail)
    assert recorder is not None
    clock.advance_to(1000 * MS)
    outlet = Outlet()
    outlet.subscribe(sent.append, Sentiment, EventMessage, words=True)
    stream = Stream(config, config.streams[0], clock, outlet, fuser.checkpoint.context, recorder)
    reporter = HealthReporter(name, clock, recording=recorder.health)
    stream.begin(t0_ns := clock.now_ns())
    ticks, said = Ticks(t0_ns, config), 0
    for step in range(int(seconds * 1000 / 32)):
        now_ns = t0_ns + step * 32 * MS
        while ticks.due_ns <= now_ns:
            clock.advance_to(ticks.due_ns)
            view = stream.close_window(ticks.next())
            stream.publish(view, fuser.fuse([view])[0])
        clock.advance_to(now_ns)
        second = (now_ns - t0_ns) / 1e9
        _sound(stream, rng, now_ns, step)
        if not 2 <= second < 3:
            _picture(stream, rng, now_ns)
        if step == 45:  # between the windows that end at 1.25 and 1.5 s
            view = stream.close_window(now_ns, "word")
            stream.publish(view, fuser.fuse([view])[0])
        if step == 63:
            stream.event(Event(now_ns, "camera", "lost", f"{CAMERA}: nothing for 0.5 s"))
        if step % 16 == 15 and second > 1 and said < len(SAID):
            said += 1
            stream.window.add_text(text_of(rng, t0_ns + 800 * MS, said, now_ns))
        if step in {140, 150}:
            (stream.pause if step == 140 else stream.resume)()
        if step % 31 == 30:
            gauges = {
                "face": WorkerStats(step, 0, 0, 12.0, 0.1, lost=False, channel=ChannelStats(step, step - 2, 1, 1))
            }
            outlet.send(reporter.report(gauges))
    recorder.close()
    return sent


def _sound(stream: Stream, rng: np.random.Generator, now_ns: int, step: int) -> None:
    stream.window.saw(SOUND, now_ns)
    probability = 0.9 if step % 60 < 40 else 0.05
    stream.window.add_speech(SpeechFrame(now_ns - 32 * MS, np.zeros(512, np.float32), probability, -20.0, 12.5, 0.0))
    if step % 3 == 0:
        stream.window.add_voice(VoiceFeatures(now_ns, rng.standard_normal(VOICE_DIM).astype(np.float32)))


def _picture(stream: Stream, rng: np.random.Generator, now_ns: int) -> None:
    stream.window.saw(CAMERA, now_ns)
    values = rng.standard_normal(FACE_DIM).astype(np.float32)
    people = (Person(1, True, (0.1, 0.2, 0.3, 0.6), 0.1, 300.0, 0.5, LIKELY),)
    stream.window.add_face(FaceFeatures(now_ns, values, True, 1, 0.9, 300.0, 0.5, 0.02, 1, LIKELY, people))
