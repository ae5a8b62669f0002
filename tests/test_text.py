"""The words: one normal form for every source, the recent past in one pass, no pass when nothing changed."""

import csv

import numpy as np
import pytest

from models import zoo
from models.textline import SMALL_BASE, SMALL_WEIGHTS, TextLine
from realtime.extract.schema import TEXT_DIM
from realtime.extract.text import NO_WORD, TextExtractor, normal_word, normal_words
from realtime.extract.utterances import CONTEXT_S, MAX_WORDS
from realtime.types import NS_PER_S, Transcript, Word


class CountingReader:
    """Readings that tell which word at which place they are of; counts its passes."""

    def __init__(self):
        self.passes = []

    def read(self, words):
        if words:
            self.passes.append(tuple(words))
        return np.array([[len(w) + i / 100] * TEXT_DIM for i, w in enumerate(words)], np.float32).reshape(-1, TEXT_DIM)


def word(text, at_s, *, committed=True):
    return Word(int(at_s * NS_PER_S), int((at_s + 0.3) * NS_PER_S), text, 0.9, committed)


def transcript(at_s, committed=(), tentative=(), **more):
    return Transcript(int(at_s * NS_PER_S), tuple(committed), tuple(tentative), **more)


def feed(extractor, item):
    (features,) = extractor.feed(item)
    return features


@pytest.mark.parametrize(
    ("spoken", "normal"),
    [
        (" Good,", "good"),
        ("DIDN\N{RIGHT SINGLE QUOTATION MARK}T", "didn't"),
        ("DIDNT", "didn't"),
        ("'cause", "cause"),
        ("well-made.", "well made"),
        ("$20!", "20"),
        ("ITS", "its"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("--", NO_WORD),
        ("\N{EIGHTH NOTE}", NO_WORD),
        ("", NO_WORD),
        ("XXX", NO_WORD),
    ],
)
def test_a_word_has_one_normal_form(spoken, normal):
    assert normal_word(spoken) == normal
    assert normal_word(normal) == normal


def test_a_corpus_transcript_and_whisper_text_come_out_alike():
    assert normal_words("I DIDNT LIKE IT XXX AT ALL") == normal_words(" I didn't like it... at all!")


@pytest.mark.corpus
def test_every_mosi_transcript_keeps_its_words(data_dir):
    with (data_dir / "mosi" / "text.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            spoken = [token for token in row["text"].split() if any(map(str.isalnum, token)) and token != "XXX"]
            assert len(normal_words(row["text"])) == len(spoken)


def test_committed_words_stay_and_tentative_words_are_replaced():
    extractor = TextExtractor(CountingReader())
    feed(extractor, transcript(1, [word("this", 0.1)], [word("was", 0.5, committed=False)]))
    features = feed(extractor, transcript(2, [word("is", 0.5)], [word("great", 1.0, committed=False)]))
    assert [w.text for w in features.words] == ["this", "is", "great"]
    assert features.values.shape == (3, TEXT_DIM)
    assert features.t_ns == 2 * NS_PER_S


def test_the_same_words_cost_no_second_pass():
    encoder = CountingReader()
    extractor = TextExtractor(encoder)
    feed(extractor, transcript(1, [], [word("Great,", 0.5, committed=False)]))
    features = feed(extractor, transcript(2, [word("great", 0.5)], [], decode_s=0.2, asr_warning="repeated"))
    assert len(encoder.passes) == 1
    assert features.words[0].committed
    assert (features.decode_s, features.asr_warning) == (0.2, "repeated")


def test_words_of_long_ago_are_forgotten_and_the_newest_are_kept():
    extractor = TextExtractor(CountingReader())
    feed(extractor, transcript(1, [word("old", 0.5)]))
    later = feed(extractor, transcript(CONTEXT_S + 2, [word("new", CONTEXT_S + 1)]))
    assert [w.text for w in later.words] == ["new"]
    many = [word(f"w{i}", 20 + i / 10) for i in range(MAX_WORDS)]
    full = feed(extractor, transcript(27, many, [word("last", 26.9, committed=False)]))
    assert len(full.words) == len(full.values) == MAX_WORDS
    assert full.words[-1].text == "last"


def test_no_words_give_empty_features_and_flush_forgets():
    extractor = TextExtractor(CountingReader())
    assert feed(extractor, transcript(0)).values.shape == (0, TEXT_DIM)
    feed(extractor, transcript(1, [word("hello", 0.5)]))
    assert list(extractor.flush()) == []
    assert feed(extractor, transcript(1.5)).words == ()
    extractor.close()


@pytest.mark.models
def test_real_readings_follow_the_words_however_they_are_written():
    reader = TextLine.load(zoo.path(SMALL_BASE), SMALL_WEIGHTS)
    spoken = [word(text, i / 3) for i, text in enumerate(["It", "wasn't", "--", "unwatchable."])]
    features = feed(TextExtractor(reader), transcript(2, spoken))
    assert features.values.shape == (4, TEXT_DIM)
    assert np.isfinite(features.values).all()
    same = feed(
        TextExtractor(reader),
        transcript(2, [word(text, i / 3) for i, text in enumerate(["IT", "WASNT", "--", "UNWATCHABLE"])]),
    )
    assert (same.values == features.values).all()
