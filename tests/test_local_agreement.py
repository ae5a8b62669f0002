from hypothesis import given
from hypothesis import strategies as st

from realtime.extract.asr.local_agreement import LocalAgreement, Spoken, common_prefix, in_order

words = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6)


def spoken(*texts, start_ns=0):
    return tuple(
        Spoken(start_ns + index * 100, start_ns + index * 100 + 80, f" {text}", 0.9, (index,))
        for index, text in enumerate(texts)
    )


def texts(words):
    return [word.text.strip() for word in words]


def test_a_word_is_committed_when_two_hypotheses_in_a_row_have_it():
    agreement = LocalAgreement()
    assert agreement.update(spoken("the", "cat")) == ()
    assert texts(agreement.update(spoken("the", "cap", "is"))) == ["the"]
    assert texts(agreement.tentative) == ["cap", "is"]


def test_case_and_punctuation_do_not_count_and_the_newer_spelling_is_committed():
    agreement = LocalAgreement()
    agreement.update(spoken("don't", "Stop."))
    assert texts(agreement.update(spoken("Don't", "stop,", "now"))) == ["Don't", "stop,"]


def test_a_word_near_the_edge_of_the_sound_stays_tentative():
    agreement = LocalAgreement()
    agreement.update(spoken("one", "two"))
    assert texts(agreement.update(spoken("one", "two"), until_ns=100)) == ["one"]
    assert texts(agreement.tentative) == ["two"]


def test_an_overdue_word_is_committed_unconfirmed_but_never_beyond_the_edge():
    agreement = LocalAgreement()
    agreement.update(spoken("won", "too", "tree"))
    assert texts(agreement.update(spoken("one", "two", "three"), until_ns=300, overdue_ns=200)) == ["one", "two"]
    assert texts(agreement.tentative) == ["three"]
    agreement = LocalAgreement()
    assert texts(agreement.update(spoken("one", "two"), until_ns=100, overdue_ns=200)) == ["one"]


def test_the_end_of_speech_commits_what_is_tentative():
    agreement = LocalAgreement()
    agreement.update(spoken("one", "two"))
    assert texts(agreement.commit_all()) == ["one", "two"]
    assert agreement.commit_all() == ()


def test_dropped_words_need_two_hypotheses_again():
    agreement = LocalAgreement()
    agreement.update(spoken("one"))
    agreement.drop()
    assert agreement.update(spoken("one")) == ()


def test_a_word_of_marks_only_is_compared_by_its_marks():
    assert common_prefix(spoken("-"), spoken("?")) == 0
    assert common_prefix(spoken("-"), spoken("-")) == 1


@given(st.lists(words, max_size=12))
def test_committed_text_only_grows_and_its_times_never_go_back(hypotheses):
    agreement = LocalAgreement()
    committed = []
    for hypothesis in hypotheses:
        # Each hypothesis holds all words so far: what is committed is taken off, as the forced prefix does.
        committed += agreement.update(spoken(*hypothesis)[len(committed) :])
        times = [time for word in (*committed, *agreement.tentative) for time in (word.start_ns, word.end_ns)]
        assert times == sorted(times)
    committed += agreement.commit_all()
    assert not agreement.tentative
    assert all(word.start_ns <= word.end_ns for word in committed)


@given(st.lists(words, min_size=1, max_size=12))
def test_only_what_two_hypotheses_in_a_row_share_is_committed(hypotheses):
    agreement = LocalAgreement()
    previous = ()
    for hypothesis in (spoken(*each) for each in hypotheses):
        committed = agreement.update(hypothesis)
        assert texts(committed) == texts(hypothesis[: common_prefix(previous, hypothesis)])
        previous = agreement.tentative


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=10), st.integers(0, 1000))
def test_ordered_times_rise_from_the_floor(times, floor_ns):
    ordered = in_order([Spoken(start, end, " a", 1.0) for start, end in times], floor_ns)
    flat = [floor_ns, *(time for word in ordered for time in (word.start_ns, word.end_ns))]
    assert flat == sorted(flat)
