"""Sentences with repeats through guards, agreement and trimming, heard by a decoder that gets into loops.

The sound says which word of the sentence is where: sample value k / 1000 is a piece of its k-th word.
"""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.config.schema import AsrConfig
from realtime.extract.asr.repeats import LONGEST_PHRASE, RUN
from realtime.extract.asr.transcriber import Transcriber
from realtime.extract.asr.whisper import Hypothesis, Timed
from realtime.types import NS_PER_S, SAMPLE_RATE_HZ, SpeechFrame

FRAME = 512
FRAME_NS = FRAME * NS_PER_S // SAMPLE_RATE_HZ
ALIGNED_S = 0.02
"""An alignment is as fine as an encoder state."""


class Looper:
    """Reads the words off the sound, and then, as it is told for each decode, repeats the last ones.

    A loop of (words, repeats, apart): so many of the last words, so often, each taking so many seconds after the end of
    what was said (0: none at all).
    """

    def __init__(self, sentence, loops):
        self.sentence = sentence
        self.loops = itertools.cycle(loops)

    def decode(self, sound, prefix, max_tokens, _language):
        words, at = [], 0
        for value, run in itertools.groupby(np.round(sound * 1000).astype(int).tolist()):
            length = len(list(run))
            if length > 2 * FRAME and value:  # less is a click
                span = (round(edge / SAMPLE_RATE_HZ / ALIGNED_S) * ALIGNED_S for edge in (at, at + length))
                words.append(self._word(self.sentence[value - 1], *span))
            at += length
        assert [word.tokens[0] for word in words[: len(prefix)]] == list(prefix)
        return Hypothesis(tuple((*words, *self._loop(words))[len(prefix) :][:max_tokens])), "en"

    def _loop(self, words):
        length, times, apart_s = next(self.loops)
        end_s = words[-1].end_s if words else 0.0
        for index, word in enumerate(words[-length:] * times):
            yield self._word(word.text.strip(), end_s + index * apart_s, end_s + (index + 1) * apart_s)

    @staticmethod
    def _word(text, start_s, end_s):
        return Timed(start_s, end_s, f" {text}", 0.9, (sum(map(ord, text)),))


def frames(lengths):
    """Frames of the sentence, from (frames of a word, frames of silence after it) pairs."""
    values = [0.0] * 5
    for number, (length, pause) in enumerate(lengths, start=1):
        values += [number / 1000] * length + [0.0] * pause
    values += [0.0] * 40
    return [
        SpeechFrame(index * FRAME_NS, np.full(FRAME, value, np.float32), 0.95 if value else 0.02, -20.0, None, 0.0)
        for index, value in enumerate(values)
    ]


def updates(sentence, lengths, loops):
    transcriber = Transcriber(AsrConfig(), Looper(sentence, loops), VirtualClock())
    timed = itertools.islice(itertools.cycle(lengths), len(sentence))
    return [*itertools.chain.from_iterable(map(transcriber.feed, frames(timed))), *transcriber.flush()]


def committed(found):
    return [word.text for update in found for word in update.committed]


phrases = st.lists(st.sampled_from(["no", "very", "good", "it", "was"]), min_size=1, max_size=LONGEST_PHRASE)
sentences = st.lists(st.tuples(phrases, st.integers(1, 6)), min_size=1, max_size=4).map(
    lambda parts: [word for phrase, times in parts for word in phrase * times]
)
lengths = st.lists(st.tuples(st.integers(5, 20), st.sampled_from([0, 0, 1, 3, 10, 30])), min_size=1, max_size=12)
no_loop = st.just((1, 0, 0.0))
loops = st.lists(
    no_loop | st.tuples(st.integers(1, LONGEST_PHRASE), st.integers(RUN, 10), st.sampled_from([0.0, 0.3])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(sentences, lengths)
def test_repeats_that_were_said_are_all_committed(sentence, length):
    found = updates(sentence, length, [(1, 0, 0.0)])
    assert committed(found) == sentence
    assert not any(update.asr_warning for update in found)


@settings(max_examples=100)
@given(sentences, lengths, loops)
def test_no_word_is_lost_and_none_repeated_without_time_when_the_decoder_loops(sentence, length, loop):
    assert committed(updates(sentence, length, loop)) == sentence


@settings(max_examples=40)
@given(sentences, lengths)
def test_a_decoder_that_loops_at_every_decode_delays_no_word_by_more_than_two_seconds(sentence, length):
    timed = list(itertools.islice(itertools.cycle(length), len(sentence)))
    words = [(update.t_ns, word) for update in updates(sentence, length, [(2, 5, 0.0)]) for word in update.committed]
    assert len(words) == len(timed)
    assert max(t_ns - word.end_ns for t_ns, word in words) <= 2 * NS_PER_S
