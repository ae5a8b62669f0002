"""Words said several times in a row: what a person says stays, what a loop of the decoder adds goes."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from realtime.extract.asr.local_agreement import Spoken
from realtime.extract.asr.repeats import LONGEST_PHRASE, RUN, collapse, runs

MS = 1_000_000
SPEECH = ((0, 600_000 * MS),)


def word(text, start_ms, end_ms, tokens=()):
    return Spoken(start_ms * MS, end_ms * MS, f" {text}", 0.9, tokens or (sum(map(ord, text)),))


def row(text, times_ms):
    """Words with the given (start, end) times."""
    return tuple(word(part, *span) for part, span in zip(text.split(), times_ms, strict=True))


def plain(text, at_ms=0, each_ms=200):
    return row(text, [(at_ms + index * each_ms, at_ms + (index + 1) * each_ms) for index in range(len(text.split()))])


def text(words):
    return " ".join(one.text.strip() for one in words)


def test_a_phrase_is_found_by_its_shortest_form():
    assert runs(list("xababababay"), 2) == [range(1, 10)]
    assert runs(list("xababababay"), 4) == []
    assert runs(list("aaaaaa"), 1) == [range(6)]
    assert runs(list("aaaaaa"), 2) == []
    assert runs(list("abab"), 2) == []


def test_a_short_word_that_the_alignment_gave_no_time_stands_where_there_is_room_for_it():
    # As tiny.en aligned it: .36 s, .36 s, then .26 s of speech that belong to no word, and the third word in no time.
    said = row(
        "it was very, very, very boring", [(0, 200), (200, 500), (500, 860), (860, 1220), (1480, 1480), (1480, 1820)]
    )
    assert collapse((), said, SPEECH).words == said
    assert text(collapse(said[:4], said[4:], SPEECH).words) == "very boring"


def test_a_phrase_that_was_given_no_time_goes_although_a_pause_lies_before_it():
    said = plain("it was good it was good it was good")
    loop = row("it was good", [(2040, 2040)] * 3)
    after = plain("but", 2300)
    found = collapse((), (*said, *loop, *after), ((0, 1820 * MS), (2300 * MS, 2500 * MS)))
    assert found.words == (*said, *after)
    assert found.loop


def test_a_loop_that_ends_in_the_middle_of_its_phrase_goes_as_a_whole():
    said = plain("it was good")
    loop = row("it was good it was good it was", [(600, 600)] * 8)
    assert collapse((), (*said, *loop), SPEECH).words == said


def test_twice_is_no_loop():
    words = (*plain("it was good"), *row("it was good", [(600, 600)] * 3))
    assert collapse((), words, SPEECH).words == words


def test_committed_words_count_but_stand():
    said = row("no no no", [(0, 0), (0, 0), (0, 0)])
    found = collapse(said, row("no", [(0, 0)]), ())
    assert found.words == ()
    assert not found.loop


def test_a_last_repeat_that_has_only_begun_waits_without_a_doubt():
    words = (*plain("no no no", each_ms=250), word("no", 750, 790))
    found = collapse((), words, SPEECH)
    assert found.words == words[:3]
    assert not found.loop


def test_a_laugh_stands_and_a_token_in_a_loop_goes():
    laugh = word("hahaha", 0, 600, (7, 7, 7))
    stuck = word("hahahahahaha", 600, 640, (7,) * 6)
    assert collapse((), (laugh, *plain("funny", 700)), SPEECH).words[0] == laugh
    assert text(collapse((), (stuck, *plain("funny", 700)), SPEECH).words) == "funny"


sentences = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=LONGEST_PHRASE), st.integers(1, 5)),
    min_size=1,
    max_size=4,
).map(lambda parts: [letter for phrase, times in parts for letter in phrase * times])
lengths = st.lists(st.integers(120, 700), min_size=1, max_size=20)
gaps = st.lists(st.integers(0, 400), min_size=1, max_size=20)


def timed(letters, lengths_ms, gaps_ms, at_ms=0):
    words = []
    for letter, length, gap in zip(letters, itertools.cycle(lengths_ms), itertools.cycle(gaps_ms), strict=False):
        words.append(word(letter, at_ms, at_ms + length))
        at_ms += length + gap
    return tuple(words)


@given(sentences, lengths, gaps, st.integers(0, 20))
def test_no_word_that_takes_its_time_is_lost(letters, lengths_ms, gaps_ms, committed):
    words = timed(letters, lengths_ms, gaps_ms)
    found = collapse(words[:committed], words[committed:], SPEECH)
    assert found.words == words[committed:]
    assert not found.loop


@given(sentences, lengths, st.integers(1, LONGEST_PHRASE), st.integers(RUN, 30), st.data())
def test_a_loop_after_the_end_of_the_speech_adds_nothing(letters, lengths_ms, length, more, data):
    words = timed(letters, lengths_ms, [0])
    phrase = letters[-length:]
    end_ms = words[-1].end_ns // MS
    tail = list(itertools.islice(itertools.cycle(phrase), max(more, RUN * len(phrase))))
    beyond = data.draw(st.booleans())
    loop = plain(" ".join(tail), end_ms, 300) if beyond else row(" ".join(tail), [(end_ms, end_ms)] * len(tail))
    found = collapse((), (*words, *loop), ((0, end_ms * MS),))
    assert text(found.words) == text(words)
