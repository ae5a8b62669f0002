"""Word errors as the field counts them, and which heard word is which spoken one."""

import pytest

from scripts.benchmarks.words import ErrorRate, comparable, normal, pair


@pytest.mark.parametrize(
    ("spoken", "heard"),
    [
        ("THEY DIDNT SHOW IT", "They didn't show it."),
        ("they did not show it", "They didn't show it."),
        ("UM I LIKED THE COLOUR", "I liked the color"),
        ("twenty one dollars", "$21"),
        ("AND XXX BUT BESIDES THAT", "and, but besides that"),
    ],
)
def test_what_is_only_written_differently_is_no_error(spoken, heard):
    rate = ErrorRate()
    rate.add(spoken, heard)
    assert rate.edits == 0
    assert rate.words == len(comparable(spoken).split()) > 0


def test_a_lost_negation_is_an_error():
    rate = ErrorRate()
    rate.add("I didn't like it", "I did like it")
    assert (rate.deletions, rate.substitutions, rate.insertions) == (1, 0, 0)
    assert rate.value == pytest.approx(1 / 5)


def test_the_rate_is_over_all_words_and_not_the_mean_of_the_clips():
    rate = ErrorRate()
    rate.add("one", "two")
    rate.add(["it", "was", "good"], ["it", "was", "so", "good"])
    rate.add("gone", "")
    rate.add("", "")
    assert (rate.words, rate.substitutions, rate.insertions, rate.deletions) == (5, 1, 1, 1)
    assert rate.value == pytest.approx(3 / 5)


def test_words_are_paired_as_they_were_said():
    assert normal("Don't stop, 2 of them.") == ["dont", "stop", "two", "of", "them"]
    assert pair(["it", "was", "so", "good"], ["it", "was", "good"]) == (1, [(0, 0), (1, 1), (3, 2)])
