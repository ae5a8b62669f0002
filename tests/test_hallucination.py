import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.extract.asr.hallucination import (
    PHANTOMS,
    TOKENS_MARGIN,
    Evidence,
    is_phantom,
    judge,
    loop_start,
    max_tokens,
    squeezed,
    token_run,
)
from realtime.extract.asr.local_agreement import Spoken


def spoken(text, probability=0.9):
    times = ((index * 200_000_000, (index + 1) * 200_000_000) for index in range(len(text.split())))
    return tuple(
        Spoken(*span, f" {word}", probability, (hash(word),)) for span, word in zip(times, text.split(), strict=True)
    )


def placeless(text, at_ns):
    return tuple(Spoken(at_ns, at_ns, f" {word}", 0.9, (hash(word),)) for word in text.split())


def text(words):
    return " ".join(word.text.strip() for word in words)


LONG = Evidence(speech_s=10.0)


def test_ordinary_words_stand_without_a_doubt():
    verdict = judge(spoken("I really liked the movie"), (), LONG)
    assert text(verdict.words) == "I really liked the movie"
    assert verdict.doubt is None
    assert not verdict.refused


def test_no_words_are_no_doubt():
    assert judge((), (), LONG).doubt is None


def test_likely_no_speech_with_an_unsure_decoder_is_refused():
    verdict = judge(spoken("so here we go"), (), Evidence(5.0, no_speech=0.9, mean_logprob=-1.5))
    assert verdict.refused
    assert "no speech" in verdict.doubt


def test_likely_no_speech_alone_is_not_enough():
    assert not judge(spoken("so here we go"), (), Evidence(5.0, no_speech=0.9, mean_logprob=-0.3)).refused


def test_text_that_compresses_too_well_is_refused():
    assert judge(spoken("a b c"), (), Evidence(5.0, compression=3.0)).refused


def test_words_without_a_place_in_the_sound_are_cut():
    said = spoken("really like a guy but")
    verdict = judge((*said, *placeless("I really like a guy", said[-1].end_ns)), (), LONG)
    assert verdict.words == said
    assert verdict.doubt == "words without a place in the sound"


def test_one_or_two_words_may_be_shorter_than_the_alignment_can_tell():
    assert squeezed((*spoken("it is"), *placeless("what it", 400_000_000), *spoken("was"))) is None


def test_a_token_said_three_times_ends_the_text_before_the_third():
    verdict = judge(spoken("no no no no thanks"), (), LONG)
    assert text(verdict.words) == "no no"
    assert verdict.doubt == "one token repeated"


def test_a_token_repeated_inside_a_word_counts_too():
    assert token_run([Spoken(0, 0, " ha", 1.0, (1,)), Spoken(0, 0, " haha", 1.0, (1, 1))]) == 1


def test_a_phrase_said_three_times_is_a_loop_and_twice_is_not():
    assert loop_start((), spoken("it was good it was good")) is None
    assert loop_start((), spoken("so it was good it was good it was good")) == 7


def test_a_loop_is_found_across_the_steps():
    assert loop_start(spoken("it was good it was good"), spoken("it was good again")) == 0


def test_more_words_than_the_speech_can_hold_are_cut():
    verdict = judge(spoken(" ".join(f"w{index}" for index in range(20))), (), Evidence(speech_s=0.5))
    assert len(verdict.words) == 6
    assert "0.5 s of speech" in verdict.doubt


def test_a_known_phantom_in_a_moment_of_sound_is_refused():
    assert judge(spoken("Thank you.", probability=0.4), (), Evidence(speech_s=0.5)).refused


def test_thanks_that_somebody_surely_said_stand():
    assert not judge(spoken("Thank you.", probability=0.95), (), Evidence(speech_s=0.5)).refused
    assert not judge(spoken("Thank you.", probability=0.4), (), Evidence(speech_s=3.0)).refused


@pytest.mark.parametrize("phantom", sorted(PHANTOMS))
def test_every_phantom_is_recognised_in_any_case_with_punctuation(phantom):
    assert is_phantom(spoken(f"{phantom.upper()}!", probability=0.1), Evidence(speech_s=0.1))


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=18))
def test_what_stands_is_the_beginning_of_what_was_heard_and_holds_no_loop(letters, before):
    words, history = spoken(" ".join(letters)), spoken(" ".join(before))
    verdict = judge(words, history, LONG)
    assert words[: len(verdict.words)] == verdict.words
    assert (verdict.doubt is None) == (verdict.words == words)
    assert token_run(verdict.words) is None
    assert loop_start(history, verdict.words) is None


@given(st.floats(0, 30), st.floats(0, 30))
def test_the_token_limit_grows_with_the_sound(one_s, other_s):
    assert TOKENS_MARGIN <= max_tokens(min(one_s, other_s)) <= max_tokens(max(one_s, other_s))
