"""What keeps invented words out, in the order of the evidence. Pure.

The gate of the speech detector and the missing conditioning on earlier text come before these (transcriber.py). A guard
refuses a hypothesis as a whole, cuts it where the invention begins, or takes invented repeats out of it (repeats.py);
each gives a reason, the warning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime.extract.asr.repeats import collapse
from realtime.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.extract.asr.local_agreement import Spoken
    from realtime.extract.asr.repeats import Spans

NO_SPEECH = 0.6
LOW_LOGPROB = -1.0
COMPRESSION = 2.4
SQUEEZED_RUN = 3
"""So many words in a row that take no time in the alignment are the decoder running on after the end of the sound."""
WORDS_PER_S = 6.0
"""Fast speech has about four words per second; nobody holds six for long."""
WORDS_MARGIN = 3
TOKENS_PER_S = 10.0
TOKENS_MARGIN = 8
HALLUCINATION_SPEECH_S = 1.5
HALLUCINATION_PROBABILITY = 0.7

HALLUCINATIONS = frozenset(
    {
        "you",
        "bye",
        "thank you",
        "thank you very much",
        "thank you for watching",
        "thanks for watching",
        "thank you so much for watching",
        "please subscribe",
        "subscribe to my channel",
        "see you next time",
        "see you in the next video",
        "subtitles by the amara org community",
    }
)
"""Phrases that Whisper learned from the silence at the end of subtitled videos."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a hypothesis besides its words.

    `speech` is where somebody speaks in the sound after the committed words, `end_ns` where the sound ends;
    `no_speech`, `mean_logprob`, `compression` as in Hypothesis; `in_talk`: words were committed a moment ago, in this
    utterance or one before it.
    """

    speech: Spans
    end_ns: int
    no_speech: float = 0.0
    mean_logprob: float = 0.0
    compression: float = 1.0
    in_talk: bool = False

    @property
    def speech_s(self) -> float:
        """Time of speech."""
        return sum(end_ns - start_ns for start_ns, end_ns in self.speech) / NS_PER_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """The words that stand, and why others do not; `refused`: the hypothesis says nothing at all."""

    words: tuple[Spoken, ...]
    asr_warning: str | None = None
    refused: bool = False


def judge(words: Sequence[Spoken], said: Sequence[Spoken], evidence: Evidence) -> Verdict:
    """Let the words of a hypothesis stand, cut them, or refuse them.

    Args:
        words: after the committed ones.
        said: committed words of the same utterance just before them, for loops across steps.
        evidence: about the sound and the decoder.
    """
    words = tuple(words)
    if not words:
        return Verdict(())
    if evidence.no_speech > NO_SPEECH and evidence.mean_logprob < LOW_LOGPROB:
        return Verdict((), f"no speech heard ({evidence.no_speech:.0%})", refused=True)
    collapsed = collapse(said, words, evidence.speech)
    # What begins at the end of the sound nobody can have said yet.
    heard = tuple(word for word in collapsed.words if word.start_ns < evidence.end_ns)
    kept, asr_warning = _cut(heard, evidence)
    if collapsed.loop:
        asr_warning = "phrase repeated"
    # Repeats of a person compress as well as those of a loop do: where they were found, they have been judged.
    if asr_warning is None and not collapsed.found and evidence.compression > COMPRESSION:
        return Verdict((), f"text repeats itself (compression {evidence.compression:.1f})", refused=True)
    if is_hallucination(kept, evidence) and not evidence.in_talk:
        return Verdict((), f"known phantom {phrase(kept)!r}", refused=True)
    return Verdict(kept, asr_warning, refused=not kept)


def max_tokens(sound_s: float) -> int:
    """Most new tokens for so much sound: more is a runaway."""
    return math.ceil(TOKENS_PER_S * sound_s) + TOKENS_MARGIN


def squeezed(words: Sequence[Spoken]) -> int | None:
    """Index of the first of three words in a row to which the alignment gives no time; None if there are none.

    What runs on after the end of the sound finds no place in it. A single short word may be that short.
    """
    run = 0
    for index, word in enumerate(words):
        run = run + 1 if word.end_ns <= word.start_ns else 0
        if run >= SQUEEZED_RUN:
            return index + 1 - run
    return None


def is_hallucination(words: Sequence[Spoken], evidence: Evidence) -> bool:
    """Whether the words are a known hallucination, and little speech or a doubtful decoder stands behind them."""
    if phrase(words) not in HALLUCINATIONS:
        return False
    mean = sum(word.probability for word in words) / len(words)
    # "Thank you" is also said by people: then it takes its time and the decoder is sure of it.
    return evidence.speech_s < 0.1 * len(words) or (
        evidence.speech_s < HALLUCINATION_SPEECH_S and mean < HALLUCINATION_PROBABILITY
    )


def phrase(words: Sequence[Spoken]) -> str:
    """Return the words without case and punctuation."""
    return " ".join(word.key for word in words)


def _cut(words: tuple[Spoken, ...], evidence: Evidence) -> tuple[tuple[Spoken, ...], str | None]:
    asr_warning = None
    place = squeezed(words)
    if place is not None:
        words, asr_warning = words[:place], "words without a place in the sound"
    most = math.ceil(WORDS_PER_S * evidence.speech_s) + WORDS_MARGIN
    if len(words) > most:
        words, asr_warning = words[:most], f"more than {most} words in {evidence.speech_s:.1f} s of speech"
    return words, asr_warning
