"""The second reading in a stream: it changes the judgement and no published word, and its failure stops nothing."""

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

from realtime.clock import MonotonicClock, VirtualClock
from realtime.config.load import load as load_config
from realtime.errors import ModelError
from realtime.extract.asr.audio_buffer import SoundBuffer, silence
from realtime.extract.asr.reading import Reader, Shared, Utterance, load
from realtime.extract.asr.whisper import Hypothesis, Timed
from realtime.publish.messages import EventMessage, Sentiment
from realtime.publish.outlet import Outlet
from realtime.recording.reader import open_recordings
from realtime.runtime.channel import Policy
from realtime.runtime.runner import ThreadedRunner
from realtime.session.models import SharedModels
from realtime.session.playback import RecordingReplay, recorded_settings
from realtime.session.replay import OfflineRun


def utterance():
    sound = SoundBuffer()
    sound.append(silence(0, 16_000), speech=True)
    return Utterance(0, sound)


def ready(model):
    made = Future()
    made.set_result(model)
    return Shared(made)


class Saying:
    """Hears "good" as soon as it may."""

    def __init__(self):
        self.may, self.began = threading.Event(), threading.Event()

    def decode(self, *_):
        self.began.set()
        self.may.wait(10)
        return Hypothesis((Timed(0.1, 0.5, " good", 0.9, (1,)),)), "en"


def test_an_utterance_that_ends_before_the_model_is_there_keeps_its_first_reading():
    assert list(Reader(Shared(Future()), VirtualClock()).feed(utterance())) == []


def test_an_utterance_whose_turn_does_not_come_keeps_its_first_reading():
    model = Saying()
    model.may.set()
    shared = ready(model)
    reader = Reader(shared, VirtualClock(), patience_s=0.01)
    with shared.turn:
        assert list(reader.feed(utterance())) == []
    (reading,) = reader.feed(utterance())
    assert [word.text for word in reading.words] == ["good"]


@pytest.fixture
def reading_stage():
    """A function that runs a reader over a model in a thread of its own, and what came of it."""
    runners = []

    def start(shared):
        clock, given, events = MonotonicClock(), [], []
        runner = ThreadedRunner(clock, events.append)
        push = runner.stage("reading", lambda: Reader(shared, clock), given.append, Policy.DROP_OLDEST, 4)
        runner.start()
        runners.append(runner)
        return SimpleNamespace(runner=runner, push=push, given=given, events=events)

    yield start
    for runner in runners:
        runner.close()


def test_a_model_that_does_not_load_is_an_event_and_stops_nothing(reading_stage):
    broken = Future()
    broken.set_exception(ModelError("speech model 'broken' does not load"))
    stage = reading_stage(Shared(broken))
    stage.push(utterance())
    stage.runner.finish(10)
    assert [(event.component, event.kind, event.cause) for event in stage.events] == [
        ("reading", "lost", "speech model 'broken' does not load")
    ]
    assert stage.given == []


def test_what_is_being_read_when_a_stream_is_paused_leads_to_nothing(reading_stage):
    model = Saying()
    stage = reading_stage(ready(model))
    stage.push(utterance())
    assert model.began.wait(10)
    stage.runner.pause()
    stage.push(utterance())
    model.may.set()
    stage.runner.resume()
    model.began.clear()
    stage.push(utterance())
    stage.runner.finish(10)
    assert len(stage.given) == 1, "the one after the pause"


def play(config, parts=None):
    """The messages of a run at full speed, and its models."""
    clock, sent = VirtualClock(), []
    parts = parts or SharedModels(config, clock)
    OfflineRun(config, parts, clock, Outlet.into(sent.append)).run(threading.Event())
    return sent


def of(kind, messages):
    return [message for message in messages if isinstance(message, kind)]


def settings(source, *more):
    return load_config(sets=[f"streams=[{{name: made, source: {source}}}]", *more])[0]


@pytest.mark.models
@pytest.mark.timeout(300)
def test_a_stream_is_judged_by_the_second_reading_and_no_published_word_changes(clip, tmp_path):
    first = of(Sentiment, play(settings(clip, "asr.reading_model=none")))
    folder = tmp_path / "session"
    config = settings(clip, f"record.folder={folder}", "record.text=true")
    sent = play(config)
    again = of(Sentiment, sent)
    words = [(m.text.committed, m.text.tentative, m.opinion) for m in first]
    assert [(m.text.committed, m.text.tentative, m.opinion) for m in again] == words
    assert {m.text.reading for m in first} == {None}
    read = [number for number, message in enumerate(again) if message.text.reading]
    assert read, "nothing was read a second time"
    assert "times" in again[read[-1]].text.reading
    assert [m.raw for m in first[: read[0]]] == [m.raw for m in again[: read[0]]]
    # Whether it hears other words depends on the machine; where it does, the judgement follows them.
    for was, now in ((first[number], again[number]) for number in read):
        assert was.raw != now.raw or now.text.reading == was.text.committed
    assert not [event for event in of(EventMessage, sent) if event.component == "reading"]

    [recording] = open_recordings(folder)
    fuser, clock, replayed = SharedModels(settings(clip, "asr.enabled=false"), VirtualClock()).fuser, VirtualClock(), []
    playback = RecordingReplay(
        recorded_settings(config, recording), recording, fuser, clock, Outlet.into(replayed.append), fast=True
    )
    playback.run(threading.Event())
    without = {"utc", "latency_ms"}
    assert [m.model_dump(exclude=without) for m in of(Sentiment, replayed)] == [
        m.model_dump(exclude=without) for m in again
    ]


@pytest.mark.models
@pytest.mark.timeout(300)
def test_without_the_model_a_stream_says_so_and_keeps_its_first_reading(clip, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"no model")
    sent = play(settings(clip, f"asr.reading_model={folder}"))
    (event,) = [event for event in of(EventMessage, sent) if event.component == "reading"]
    assert (event.kind, "does not load" in event.cause) == ("lost", True)
    heard = of(Sentiment, sent)
    assert any(message.text.committed for message in heard)
    assert {message.text.reading for message in heard} == {None}


@pytest.mark.models
def test_a_folder_that_holds_no_model_is_an_error_of_the_model(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(ModelError, match="does not load"):
        load(settings(Path("made.mp4")).asr, str(tmp_path)).model.result(60)
