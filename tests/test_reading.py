"""The second reading: what of an utterance is kept, and what is made of it."""

import itertools
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from models import zoo
from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig
from realtime.extract.asr.audio_buffer import SoundBuffer
from realtime.extract.asr.reading import LONGEST_S, Reader, Shared, Utterance, WholeUtterance, load
from realtime.extract.asr.transcriber import Transcriber
from realtime.extract.asr.whisper import Hypothesis, Timed
from realtime.extract.vad import SpeechDetector
from realtime.system.threads import LOW_PRIORITY, starting_low
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, Chunk, SpeechFrame

FRAME = 512
FRAME_NS = FRAME * NS_PER_S // SAMPLE_RATE_HZ
linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")


class Spelling:
    """Reads sample value k / 100 as the word `wk`; `cost_s` passes with each decode."""

    def __init__(self, clock=None, cost_s=0.0):
        self.clock, self.cost_s = clock, cost_s

    def decode(self, sound, prefix, _most, _language):
        if self.clock:
            self.clock.advance_to(self.clock.now_ns() + int(self.cost_s * NS_PER_S))
        words, at = [], 0
        for value, run in itertools.groupby(np.round(sound * 100).astype(int).tolist()):
            length = len(list(run))
            if value:
                words.append(Timed(at / SAMPLE_RATE_HZ, (at + length) / SAMPLE_RATE_HZ, f" w{value}", 0.9, (value,)))
            at += length
        return Hypothesis(tuple(words[len(prefix) :])), "en"


class Mute:
    def decode(self, *_):
        return Hypothesis(()), "en"


def frames(*plan):
    """Frames of (value, number of frames) pairs; 0 is silence."""
    values = [value for value, length in plan for _ in range(length)]
    return [
        SpeechFrame(at * FRAME_NS, np.full(FRAME, value / 100, np.float32), 0.95 * (value > 0), -20.0, None, 0.0)
        for at, value in enumerate(values)
    ]


def ready(model):
    made = Future()
    made.set_result(model)
    return Shared(made)


TALK = frames((0, 20), (1, 12), (2, 9), (0, 40), (3, 20), (0, 2), (4, 10), (0, 40))


def listen(items, model=None, **options):
    utterances = []
    transcriber = Transcriber(AsrConfig(), model or Spelling(), VirtualClock(), ended=utterances.append, **options)
    updates = [*itertools.chain.from_iterable(map(transcriber.feed, items)), *transcriber.flush()]
    return utterances, updates


def test_each_utterance_is_handed_over_once_with_all_its_sound():
    utterances, updates = listen(TALK)
    assert [utterance.number for utterance in utterances] == [0, 1]
    for utterance in utterances:
        said = [word for update in updates if update.utterance == utterance.number for word in update.committed]
        assert utterance.sound.start_ns < said[0].start_ns
        assert said[-1].end_ns < utterance.end_ns
        assert len(utterance.sound.samples()) == sum(len(frame.samples) for frame, _ in utterance.sound.frames)


def test_the_second_reading_leaves_the_first_as_it_was():
    transcriber = Transcriber(AsrConfig(), Spelling(), VirtualClock())
    alone = [*itertools.chain.from_iterable(map(transcriber.feed, TALK)), *transcriber.flush()]
    assert listen(TALK)[1] == alone


def test_what_held_no_word_is_not_read_again():
    assert listen(TALK, Mute())[0] == []


def test_of_a_long_utterance_the_end_is_kept():
    kept = []
    whole = WholeUtterance(kept.append)
    for frame in frames((1, 1200)):
        whole.append(frame, speech=True)
    whole.end(3)
    whole.end(4)
    assert [utterance.number for utterance in kept] == [3]
    assert kept[0].end_ns == 1200 * FRAME_NS
    assert LONGEST_S - 0.1 < kept[0].sound.duration_s <= LONGEST_S + 0.1


def test_a_reading_has_the_words_where_they_were_spoken():
    clock = VirtualClock()
    utterances, _ = listen(TALK)
    readings = [
        reading for utterance in utterances for reading in Reader(ready(Spelling(clock, 0.3)), clock).feed(utterance)
    ]
    assert [[word.text for word in reading.words] for reading in readings] == [["w1", "w2"], ["w3", "w4"]]
    assert [reading.utterance for reading in readings] == [0, 1]
    assert readings[0].decode_s == pytest.approx(0.3)
    word = readings[1].words[0]
    assert abs(word.start_ns - 81 * FRAME_NS) <= FRAME_NS
    assert abs(word.end_ns - 101 * FRAME_NS) <= FRAME_NS
    assert readings[1].start_ns <= word.start_ns < word.end_ns <= readings[1].end_ns


def test_the_guards_judge_a_reading_too():
    class Runaway:
        def decode(self, *_):
            said = Timed(0.1, 0.5, " good", 0.9, (1,))
            return Hypothesis((said, *(Timed(3.0, 3.0, " good", 0.9, (1,)) for _ in range(9)))), "en"

    sound = SoundBuffer()
    for frame in frames((1, 60)):
        sound.append(frame, speech=True)
    (reading,) = Reader(ready(Runaway()), VirtualClock()).feed(Utterance(0, sound))
    assert [word.text for word in reading.words] == ["good"]
    assert reading.asr_warning == "phrase repeated"


@linux
def test_what_is_started_low_gives_way_and_its_starter_does_not():
    def nice(thread_id):
        return os.getpriority(os.PRIO_PROCESS, thread_id)

    before = nice(threading.get_native_id())
    made = starting_low(threading.get_native_id).result()
    assert made != threading.get_native_id()
    found = starting_low(lambda: nice(threading.get_native_id())).result()
    assert found == max(before, LOW_PRIORITY)
    assert nice(threading.get_native_id()) == before


@pytest.mark.models
@linux
def test_the_model_reads_a_long_utterance_to_its_end_in_threads_of_low_priority():
    def threads():
        return {int(task.name) for task in Path("/proc/self/task").iterdir()}

    before = threads()
    model = load(AsrConfig(), "tiny.en")
    model.model.result(60)
    own = threads() - before
    assert own
    assert min(os.getpriority(os.PRIO_PROCESS, thread) for thread in own) >= LOW_PRIORITY

    speech = decode_audio(str(zoo.path("demo-voice")))[: 14 * SAMPLE_RATE_HZ]
    sound = SoundBuffer()
    for frame in SpeechDetector().feed(Chunk(0, speech)):
        sound.append(frame, speech=frame.probability > 0.5)
    (reading,) = Reader(model, VirtualClock(), "en").feed(Utterance(0, sound))
    text = " ".join(word.text for word in reading.words).lower()
    assert "best of times" in text
    assert reading.words[-1].end_ns > 12 * NS_PER_S
    times = [time for word in reading.words for time in (word.start_ns, word.end_ns)]
    assert times == sorted(times)
