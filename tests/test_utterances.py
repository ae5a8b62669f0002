"""Words become utterances (realtime/extract/utterances.py), and what was said before is counted once."""

import numpy as np
import pytest

from realtime.extract.text import TextExtractor
from realtime.extract.utterances import COMMA_S, CONTEXT_S, STOP_S, Utterances
from realtime.types import NS_PER_S, Transcript, Word


class Counter:
    """Says how many words there are, as the location."""

    def read(self, words):
        return np.array([[index, 0.0] for index in range(1, len(words) + 1)], np.float32)


def words(text, at_s, *, committed=True, step_s=0.3):
    """The words of a text, each as long as its step."""
    return tuple(
        Word(int((at_s + i * step_s) * NS_PER_S), int((at_s + (i + 1) * step_s) * NS_PER_S), word, 0.9, committed)
        for i, word in enumerate(text.split())
    )


def transcript(at_s, committed=(), tentative=(), **more):
    return Transcript(int(at_s * NS_PER_S), tuple(committed), tuple(tentative), **more)


def said(spoken):
    return " ".join(word.text for word in spoken.present.words)


FIRST, SECOND = "it was the best of times.", "it was the worst of times."


def test_nothing_said_is_listening():
    found = Utterances().feed(transcript(1))
    assert (found.present.words, found.state, found.ended) == ((), "listening", ())


def test_a_sentence_is_partial_until_its_last_word_is_committed():
    stream = Utterances()
    assert stream.feed(transcript(1, (), words("it was", 0, committed=False))).state == "partial"
    assert stream.feed(transcript(2, words("it was", 0), words("good.", 0.6, committed=False))).state == "partial"
    assert stream.feed(transcript(3, words("good.", 0.6))).state == "final"


def test_the_end_of_speech_makes_it_final_without_a_full_stop():
    assert Utterances().feed(transcript(3, words("it was good", 0), ended=True)).state == "final"


@pytest.mark.parametrize(
    ("mark", "gap_s", "parts"),
    [(".", STOP_S, 2), (".", 0.1, 1), (",", COMMA_S, 2), (",", 0.3, 1), ("", 0.5, 1), ("", 0.8, 2)],
)
def test_a_mark_and_a_breath_part_two_utterances(mark, gap_s, parts):
    first = words(FIRST.rstrip(".") + mark, 0)
    second = words(SECOND, 1.8 + gap_s + 0.001)
    found = Utterances().feed(transcript(5, (*first, *second)))
    assert len(found.ended) == parts - 1
    assert said(found).endswith(SECOND)
    assert (said(found) == SECOND) == (parts == 2)


def test_a_few_words_are_heard_with_those_before_them_and_more_stand_for_themselves():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0)))
    joined = stream.feed(transcript(4, (), words("it was the worst", 2.2, committed=False)))
    assert (said(joined), joined.ended) == (f"{FIRST} it was the worst", ())
    assert joined.state == "final", "the sentence before is whole, and what follows says nothing yet"
    alone = stream.feed(transcript(5, words("it was the worst of", 2.2)))
    assert said(alone) == "it was the worst of"
    assert [len(part.words) for part in alone.ended] == [6]


def test_what_is_only_tentative_ends_no_utterance():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0)))
    assert stream.feed(transcript(4, (), words(SECOND, 2.2, committed=False))).ended == ()
    assert len(stream.feed(transcript(5, words(SECOND, 2.2))).ended) == 1
    assert stream.feed(transcript(5.5)).ended == (), "an utterance is told once"


def test_after_a_long_pause_a_single_word_stands_alone_and_the_sentence_before_is_told():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0), ended=True))
    found = stream.feed(transcript(CONTEXT_S + 10, words("No.", CONTEXT_S + 9), utterance=1))
    assert said(found) == "No."
    assert [len(part.words) for part in found.ended] == [6]


def test_words_of_long_ago_are_no_utterance_any_more():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0)))
    stream.feed(transcript(CONTEXT_S + 3))
    assert stream.feed(transcript(CONTEXT_S + 4)).state == "listening"


def test_the_text_stage_reads_the_present_utterance_and_keeps_what_the_others_said():
    extractor = TextExtractor(Counter())
    extractor.feed(transcript(2, words(FIRST, 0)))
    (features,) = extractor.feed(transcript(5, words(SECOND + " at all", 2.2)))
    assert features.values[-1, 0] == 8
    assert [(said.location, round(said.end_ns / NS_PER_S, 3)) for said in features.ended] == [(6.0, 1.8)]
    assert features.opinion == "final"
