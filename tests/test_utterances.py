"""Words become utterances (realtime/extract/utterances.py), and what was said before is counted once."""

import numpy as np
import pytest

from realtime.extract.text import TextExtractor
from realtime.extract.utterances import COMMA_S, CONTEXT_S, MAX_READ, STOP_S, Utterances
from realtime.types import NS_PER_S, Reading, Transcript, Word


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


def reading(text, at_s, *, utterance=0, until_s=None, step_s=0.3):
    said_again = words(text, at_s, step_s=step_s)
    end_ns = said_again[-1].end_ns if until_s is None else int(until_s * NS_PER_S)
    return Reading(utterance, 0, end_ns, said_again)


def again(spoken):
    return " ".join(word.text for word in spoken.present.read)


def test_a_second_reading_stands_beside_the_words_that_were_heard_first():
    stream = Utterances()
    stream.feed(transcript(2, words("I still think it was", 0), ended=True))
    found = stream.read_again(reading("I didn't think it was", 0))
    assert (said(found), again(found)) == ("I still think it was", "I didn't think it was")
    assert (found.state, found.ended) == ("final", ())


def test_a_reading_that_comes_before_its_last_words_counts_when_they_come():
    stream = Utterances()
    assert stream.read_again(reading("it was bad", 0)) is None
    found = stream.feed(transcript(1, words("it was mad", 0), ended=True))
    assert (said(found), again(found)) == ("it was mad", "it was bad")


def test_a_late_reading_corrects_the_utterance_before_and_leaves_the_present_one():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0), ended=True))
    told = stream.feed(transcript(5, words(SECOND, 2.7), utterance=1))
    assert [part.read for part in told.ended] == [()]
    found = stream.read_again(reading("it was the rest of times.", 0))
    assert (said(found), again(found)) == (SECOND, "")
    (ended,) = found.ended
    assert [word.text for word in ended.words] == FIRST.split()
    assert [word.text for word in ended.read][3] == "rest"


def test_a_reading_of_two_sentences_is_parted_where_the_first_words_were():
    stream = Utterances()
    stream.feed(transcript(4, (*words(FIRST, 0), *words(SECOND, 2.2)), ended=True))
    whole = reading("it was the very best of times it was the very worst of times", 0, step_s=0.28)
    found = stream.read_again(whole)
    assert said(found) == SECOND
    (ended,) = found.ended
    both = [word.text for word in (*ended.read, *found.present.read)]
    assert both == [word.text for word in whole.words], "no word twice, none lost"
    assert "best" in [word.text for word in ended.read]
    assert "worst" in [word.text for word in found.present.read]


def test_few_words_after_a_pause_keep_the_reading_of_the_sentence_before():
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0), ended=True))
    stream.read_again(reading("it was the rest of times.", 0))
    found = stream.feed(transcript(4, words("at all", 2.6), utterance=1))
    assert (said(found), again(found)) == (f"{FIRST} at all", "it was the rest of times. at all")


@pytest.mark.parametrize(
    "bad",
    [
        Reading(0, 0, 2 * NS_PER_S, ()),
        Reading(0, 40 * NS_PER_S, 41 * NS_PER_S, words("late", 40)),
    ],
    ids=["no words", "of another time"],
)
def test_a_reading_of_nothing_or_of_another_time_changes_nothing(bad):
    stream = Utterances()
    stream.feed(transcript(2, words(FIRST, 0), ended=True))
    assert stream.read_again(bad) is None
    assert again(stream.feed(transcript(2.5))) == ""


def test_a_recogniser_that_was_built_anew_meets_no_reading_of_the_one_before():
    stream = Utterances()
    for number in range(3):
        stream.feed(transcript(2 + 3 * number, words(FIRST, 3 * number), ended=True, utterance=number))
    stream.read_again(reading("it was the rest of times.", 6, utterance=2))
    stream.feed(transcript(13, words("No, never again at all.", 11), ended=True))
    found = stream.feed(transcript(15, words("We liked it very much.", 13.5), utterance=1))
    assert again(found) == ""
    stream.feed(transcript(18, words("We liked it very much.", 16.5), ended=True, utterance=2))
    assert again(stream.feed(transcript(19))) == ""


def test_what_is_remembered_of_readings_does_not_grow():
    stream = Utterances()
    for number in range(3 * MAX_READ):
        stream.feed(transcript(3 * number + 2, words(FIRST, 3 * number), ended=True, utterance=number))
        stream.read_again(reading(FIRST, 3 * number, utterance=number))
    assert stream.read_again(reading(FIRST, 0, utterance=0)) is None
    assert len(stream._readings._heard) == len(stream._readings._read) == MAX_READ


def test_the_text_stage_judges_the_reading_and_keeps_words_and_rows():
    extractor = TextExtractor(Counter())
    (first,) = extractor.feed(transcript(2, words("it was bad", 0), ended=True))
    (second,) = extractor.feed(reading("it was not so bad", 0))
    assert second.words == first.words
    assert [word.text for word in second.read] == ["it", "was", "not", "so", "bad"]
    assert first.values[:, 0].tolist() == [1, 2, 3]
    assert second.values[:, 0].tolist() == [1, 2, 5]
    assert second.t_ns == first.t_ns


def test_a_late_reading_changes_what_the_utterance_before_had_said():
    extractor = TextExtractor(Counter())
    extractor.feed(transcript(2, words(FIRST, 0), ended=True))
    (before,) = extractor.feed(transcript(5, words(SECOND, 2.7), utterance=1))
    (after,) = extractor.feed(reading("best of times.", 0, until_s=2))
    assert [said.location for said in before.ended] == [6.0]
    assert [said.location for said in after.ended] == [3.0]
    assert [said.end_ns for said in after.ended] == [said.end_ns for said in before.ended]


def test_a_reading_before_anything_was_heard_gives_nothing():
    assert list(TextExtractor(Counter()).feed(reading("it was bad", 0))) == []
