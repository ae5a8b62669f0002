"""The recogniser around a decoder that reads words off the sound: sample value k/100 is a piece of word k."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig
from realtime.extract.asr.transcriber import ALARM_S, Transcriber
from realtime.extract.asr.whisper import Hypothesis, Timed
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, SpeechFrame

FRAME = 512
FRAME_NS = FRAME * NS_PER_S // SAMPLE_RATE_HZ


class Reader:
    """Reads the words; the last one is misread while less than three frames of it were heard, as by a real model."""

    def __init__(self, clock, decode_s=0.0):
        self.clock, self.decode_s = clock, decode_s
        self.lengths_s = []

    def decode(self, sound, prefix, max_tokens, _language):
        self.lengths_s.append(len(sound) / SAMPLE_RATE_HZ)
        self.clock.advance_to(self.clock.now_ns() + int(self.decode_s * NS_PER_S))
        words = []
        at = 0
        for value, run in itertools.groupby(np.round(sound * 100).astype(int).tolist()):
            length = len(list(run))
            if value:
                heard = value if length >= 3 * FRAME else value + 1000
                span = (at / SAMPLE_RATE_HZ, (at + length) / SAMPLE_RATE_HZ)
                words.append(Timed(*span, f" w{heard}", 0.9, (heard,)))
            at += length
        assert [word.tokens[0] for word in words[: len(prefix)]] == list(prefix)
        return Hypothesis(tuple(words[len(prefix) :][:max_tokens])), "en"


class Inventor:
    """Hears the same phrase in anything."""

    def __init__(self, words, **evidence):
        self.hypothesis = Hypothesis(
            tuple(Timed(0.1, 0.2, f" {w}", 0.3, (i,)) for i, w in enumerate(words)), **evidence
        )

    def decode(self, *_):
        return self.hypothesis, "en"


def frame(index, value=0.0, probability=None, lost=0):
    likely = (0.95 if value else 0.02) if probability is None else probability
    return SpeechFrame(index * FRAME_NS, np.full(FRAME, value, np.float32), likely, -20.0, None, 0.0, lost)


def frames(plan):
    """Frames of (word, frames of it, frames of silence after it) triples; word k has the value k / 100."""
    values = [0.0] * 5
    for word, length, pause in plan:
        values += [word / 100] * length + [0.0] * pause
    return [frame(index, value) for index, value in enumerate(values + [0.0] * 40)]


def recogniser(model=None, clock=None, **config):
    clock = clock or VirtualClock()
    return Transcriber(AsrConfig(**config), model or Reader(clock), clock)


def texts(updates):
    return [word.text for update in updates for word in update.committed]


def said(plan):
    return [f"w{word}" for word, _, _ in plan]


def feed_all(transcriber, items):
    return [*itertools.chain.from_iterable(map(transcriber.feed, items)), *transcriber.flush()]


@st.composite
def plans(draw):
    lengths = draw(st.lists(st.tuples(st.integers(4, 20), st.integers(1, 30)), min_size=1, max_size=25))
    return [(index % 90 + 1, length, pause) for index, (length, pause) in enumerate(lengths)]


@settings(deadline=None, max_examples=60)
@given(plans())
def test_what_is_said_is_committed_word_by_word(plan):
    updates = feed_all(recogniser(), frames(plan))
    assert texts(updates) == said(plan)


@settings(deadline=None, max_examples=60)
@given(plans(), st.lists(st.integers(1, 60), min_size=1, max_size=10), st.floats(0, 2))
def test_any_batching_and_any_decode_time_commits_the_same_text(plan, sizes, decode_s):
    clock = VirtualClock()
    transcriber = recogniser(Reader(clock, decode_s), clock)
    items, updates = frames(plan), []
    for size in itertools.cycle(sizes):
        batch, items = items[:size], items[size:]
        updates += transcriber.feed_batch(batch) if batch else transcriber.flush()
        if not batch:
            break
    assert texts(updates) == said(plan)


@settings(deadline=None, max_examples=40)
@given(plans())
def test_times_rise_and_lie_where_the_words_were_spoken(plan):
    updates = feed_all(recogniser(), frames(plan))
    words = [word for update in updates for word in update.committed]
    at = 5
    for word, (_, length, pause) in zip(words, plan, strict=True):
        assert abs(word.start_ns - at * FRAME_NS) <= FRAME_NS
        assert abs(word.end_ns - (at + length) * FRAME_NS) <= FRAME_NS
        at += length + pause
    times = [time for word in words for time in (word.start_ns, word.end_ns)]
    assert times == sorted(times)
    assert all(word.committed for word in words)


@settings(deadline=None, max_examples=40)
@given(plans())
def test_committed_words_never_appear_again_and_utterances_count_up(plan):
    shown, utterance = 0, 0
    for update in feed_all(recogniser(), frames(plan)):
        assert update.utterance >= utterance
        utterance = update.utterance
        shown += len(update.committed)
        open_words = [word.text for word in update.tentative]
        assert len(open_words) <= len(plan) - shown
        assert not any(word.committed for word in update.tentative)
    assert shown == len(plan)


def test_words_appear_before_the_speech_ends():
    transcriber = recogniser()
    plan = [(index, 10, 1) for index in range(1, 10)]
    updates = list(itertools.chain.from_iterable(map(transcriber.feed, frames(plan)[:80])))
    assert len(texts(updates)) >= 4
    assert updates[-1].tentative


def test_silence_is_never_decoded_and_says_nothing():
    clock = VirtualClock()
    reader = Reader(clock)
    assert feed_all(recogniser(reader, clock), [frame(index) for index in range(2000)]) == []
    assert reader.lengths_s == []


def test_a_click_is_not_decoded():
    clock = VirtualClock()
    reader = Reader(clock)
    click = [frame(index, probability=0.9 if index == 20 else 0.01) for index in range(100)]
    assert feed_all(recogniser(reader, clock), click) == []
    assert reader.lengths_s == []


def test_a_pause_is_decoded_at_once_and_only_once():
    clock = VirtualClock()
    reader = Reader(clock)
    feed_all(recogniser(reader, clock, step_s=5.0), frames([(1, 20, 0)]))
    assert len(reader.lengths_s) == 1


def test_the_end_of_speech_commits_without_another_decode():
    updates = feed_all(recogniser(step_s=5.0), frames([(1, 20, 0)]))
    assert [len(update.committed) for update in updates] == [0, 1]
    assert updates[-1].decode_s == 0


def test_what_waits_is_decoded_once():
    clock = VirtualClock()
    reader = Reader(clock)
    updates = recogniser(reader, clock).feed_batch(frames([(index, 10, 1) for index in range(1, 15)])[:157])
    assert len(reader.lengths_s) == 1
    assert len(updates) == 1


@settings(deadline=None, max_examples=30)
@given(plans(), st.integers(1, 400))
def test_the_sound_that_is_decoded_never_exceeds_the_buffer(plan, size):
    clock = VirtualClock()
    reader = Reader(clock)
    transcriber = recogniser(reader, clock, buffer_s=6.0)
    items = frames(plan)
    for start in range(0, len(items), size):
        transcriber.feed_batch(items[start : start + size])
    transcriber.flush()
    assert max(reader.lengths_s) <= 6.0 + 2 * FRAME / SAMPLE_RATE_HZ


def test_a_buffer_that_fills_without_agreement_is_cut():
    class Restless:
        lengths_s = []  # noqa: RUF012 - of one test
        count = itertools.count()

        def decode(self, sound, *_):
            self.lengths_s.append(len(sound) / SAMPLE_RATE_HZ)
            return Hypothesis((Timed(0.5, 0.8, f" w{next(self.count)}", 0.9, (1,)),)), "en"

    transcriber = recogniser(Restless())
    for index in range(1000):
        transcriber.feed(frame(index, 0.1))
    assert max(Restless.lengths_s) < AsrConfig().buffer_s + 0.1


def test_a_long_gap_ends_the_utterance_and_a_short_one_does_not():
    items = frames([(1, 20, 0), (2, 20, 0)])
    for lost, utterances in ((1024, 1), (32_000, 2)):
        broken = [
            frame(
                item.t_ns // FRAME_NS + (lost // FRAME if index >= 25 else 0),
                item.samples[0],
                lost=lost * (index == 25),
            )
            for index, item in enumerate(items)
        ]
        updates = feed_all(recogniser(), broken)
        assert texts(updates) == ["w1", "w2"]
        assert len({update.utterance for update in updates if update.committed}) == utterances


def test_nothing_is_committed_when_the_guards_refuse():
    for model in (
        Inventor(["thank", "you"]),
        Inventor(["so", "it", "is"], no_speech=0.9, mean_logprob=-2.0),
        Inventor(["a", "b"], compression=3.0),
    ):
        updates = feed_all(
            recogniser(model), [frame(index, probability=0.9 * (20 < index < 40)) for index in range(100)]
        )
        assert texts(updates) == []
        assert all(update.asr_warning for update in updates)


def test_words_that_the_last_decode_takes_back_are_taken_back_from_the_reader():
    class Doubter:
        said = iter([(Timed(0.1, 0.3, " so", 0.9, (1,)), Timed(0.3, 0.5, " good", 0.9, (2,)))])

        def decode(self, *_):
            return Hypothesis(next(self.said, ())), "en"

    transcriber = recogniser(Doubter())
    updates = [update for index in range(20) for update in transcriber.feed(frame(index, 0.1))]
    assert [word.text for word in updates[-1].tentative] == ["so", "good"]
    updates = [*transcriber.flush()]
    assert [(update.committed, update.tentative) for update in updates] == [((), ())]


def test_speech_without_a_word_raises_an_alarm_once(caplog):
    transcriber = recogniser(Inventor([]))
    updates = [update for index in range(1200) for update in transcriber.feed(frame(index, 0.1))]
    assert not updates[0].asr_warning
    assert "without a word" in updates[-1].asr_warning
    assert updates[-1].t_ns > ALARM_S * NS_PER_S
    assert len(caplog.records) == 1


def test_overload_is_reported_with_a_cause_and_not_as_a_flood(caplog):
    clock = VirtualClock()
    transcriber = recogniser(Reader(clock, decode_s=2.0), clock)
    items = frames([(index, 10, 1) for index in range(1, 80)])
    for start in range(0, len(items), 60):
        transcriber.feed_batch(items[start : start + 60])
    assert transcriber.measures().step_s == pytest.approx(2.4)
    assert "free the CPU" in transcriber.measures().overload
    assert len(caplog.records) == 1


def test_lags_are_measured_from_the_end_of_the_word():
    clock = VirtualClock()
    transcriber = recogniser(Reader(clock, decode_s=0.1), clock)
    for item in frames([(1, 20, 0)]):
        clock.advance_to(item.end_ns)
        transcriber.feed_batch([item])
    measures = transcriber.measures()
    assert 0.1 <= measures.tentative_lag_p50_s <= 0.6
    assert 0.2 <= measures.committed_lag_p50_s <= 1.1


def test_a_failing_decoder_is_reported_to_the_caller():
    class Broken:
        def decode(self, *_):
            raise RuntimeError("out of memory")

    transcriber = recogniser(Broken())
    with pytest.raises(RuntimeError, match="out of memory"):
        feed_all(transcriber, frames([(1, 30, 0)]))
