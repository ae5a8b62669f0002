import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.extract.asr.hallucination import (
    HALLUCINATIONS,
    TOKENS_MARGIN,
    Evidence,
    is_hallucination,
    judge,
    max_tokens,
    squeezed,
)
from realtime.extract.asr.local_agreement import Spoken
from realtime.extract.asr.repeats import LONGEST_PHRASE
from realtime.types import NS_PER_S


def spoken(text, probability=0.9, from_s=0.0):
    begin_ns = int(from_s * NS_PER_S)
    times = (
        (begin_ns + index * 200_000_000, begin_ns + (index + 1) * 200_000_000) for index in range(len(text.split()))
    )
    return tuple(
        Spoken(*span, f" {word}", probability, (hash(word),)) for span, word in zip(times, text.split(), strict=True)
    )


def placeless(text, at_ns):
    return tuple(Spoken(at_ns, at_ns, f" {word}", 0.9, (hash(word),)) for word in text.split())


def text(words):
    return " ".join(word.text.strip() for word in words)


def speech(length_s):
    return ((0, int(length_s * NS_PER_S)),)


def heard(length_s, **more):
    """Speech for so long, in 20 s of sound."""
    return Evidence(speech(length_s), 20 * NS_PER_S, **more)


LONG = heard(10.0)


def test_ordinary_words_stand_without_a_doubt():
    verdict = judge(spoken("I really liked the movie"), (), LONG)
    assert text(verdict.words) == "I really liked the movie"
    assert verdict.asr_warning is None
    assert not verdict.refused


def test_no_words_are_no_doubt():
    assert judge((), (), LONG).asr_warning is None


def test_likely_no_speech_with_an_unsure_decoder_is_refused():
    verdict = judge(spoken("so here we go"), (), heard(5.0, no_speech=0.9, mean_logprob=-1.5))
    assert verdict.refused
    assert "no speech" in verdict.asr_warning


def test_likely_no_speech_alone_is_not_enough():
    assert not judge(spoken("so here we go"), (), heard(5.0, no_speech=0.9, mean_logprob=-0.3)).refused


def test_text_that_compresses_too_well_is_refused():
    assert judge(spoken("a b c"), (), heard(5.0, compression=3.0)).refused


def test_words_without_a_place_in_the_sound_are_cut():
    said = spoken("really like a guy but")
    verdict = judge((*said, *placeless("I really like a guy", said[-1].end_ns)), (), LONG)
    assert verdict.words == said
    assert verdict.asr_warning == "words without a place in the sound"


def test_one_or_two_words_may_be_shorter_than_the_alignment_can_tell():
    assert squeezed((*spoken("it is"), *placeless("what it", 400_000_000), *spoken("was"))) is None


def test_repeats_that_take_their_time_stand_with_all_that_follows():
    said = spoken("I really really really really love this movie")
    assert judge(said, (), LONG).words == said
    assert judge(said, (), LONG).asr_warning is None


def test_repeats_without_time_are_taken_out_and_what_follows_stays():
    said = spoken("it was good it was good")
    loop = placeless("it was good it was good", said[-1].end_ns)
    after = spoken("but I left", from_s=1.3)
    verdict = judge((*said, *loop, *after), (), LONG)
    assert verdict.words == (*said, *after)
    assert verdict.asr_warning == "phrase repeated"


def test_a_loop_is_found_across_the_steps_of_an_utterance():
    said = spoken("it was good it was good")
    verdict = judge(placeless("it was good it was", said[-1].end_ns), said, LONG)
    assert verdict.refused
    assert verdict.asr_warning == "phrase repeated"


def test_a_loop_in_the_silence_after_the_speech_is_taken_out():
    said = spoken("that was fun")
    verdict = judge((*said, *spoken("fun fun fun fun", from_s=0.8)), (), heard(0.6))
    assert text(verdict.words) == "that was fun"


def test_what_begins_at_the_end_of_the_sound_is_left_out_without_a_doubt():
    said = spoken("that was")
    verdict = judge((*said, *placeless("fun", said[-1].end_ns)), (), Evidence(speech(0.4), said[-1].end_ns))
    assert verdict.words == said
    assert verdict.asr_warning is None


def test_repeats_of_a_person_compress_well_and_stand():
    said = spoken(" ".join(["no"] * 12))
    assert judge(said, (), heard(3.0, compression=3.0)).words == said


def test_more_words_than_the_speech_can_hold_are_cut():
    verdict = judge(spoken(" ".join(f"w{index}" for index in range(20))), (), heard(0.5))
    assert len(verdict.words) == 6
    assert "0.5 s of speech" in verdict.asr_warning


def test_a_known_phantom_in_a_moment_of_sound_is_refused():
    assert judge(spoken("Thank you.", probability=0.4), (), heard(0.5)).refused
    assert not judge(spoken("Thank you.", probability=0.4), (), heard(0.5, in_talk=True)).refused


def test_thanks_that_somebody_surely_said_stand():
    assert not judge(spoken("Thank you.", probability=0.95), (), heard(0.5)).refused
    assert not judge(spoken("Thank you.", probability=0.4), (), heard(3.0)).refused


@pytest.mark.parametrize("phantom", sorted(HALLUCINATIONS))
def test_every_phantom_is_recognised_in_any_case_with_punctuation(phantom):
    assert is_hallucination(spoken(f"{phantom.upper()}!", probability=0.1), heard(0.1))


@given(st.lists(st.sampled_from("abc"), max_size=30), st.lists(st.sampled_from("abc"), max_size=18))
def test_words_that_take_their_time_stand_whatever_was_said_before(letters, before):
    history, words = spoken(" ".join(before), from_s=-5), spoken(" ".join(letters))
    verdict = judge(words, history, LONG)
    assert verdict.words == words
    assert verdict.asr_warning is None


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=20),
)
def test_what_stands_is_what_was_heard_less_some_and_every_loss_is_said(letters, rest):
    words = list(spoken(" ".join(letters)))
    for letter, has_time in rest:
        at_s = words[-1].end_ns / NS_PER_S
        words += spoken(letter, from_s=at_s) if has_time else placeless(letter, words[-1].end_ns)
    verdict = judge(words, (), heard(words[-1].end_ns / NS_PER_S))
    left = iter(words)
    assert all(word in left for word in verdict.words)
    # A last repeat that has only begun goes without a warning.
    assert verdict.asr_warning is not None or len(words) - len(verdict.words) <= LONGEST_PHRASE
    assert verdict.asr_warning is None or verdict.words != tuple(words)


@given(st.floats(0, 30), st.floats(0, 30))
def test_the_token_limit_grows_with_the_sound(one_s, other_s):
    assert TOKENS_MARGIN <= max_tokens(min(one_s, other_s)) <= max_tokens(max(one_s, other_s))
