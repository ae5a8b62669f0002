"""Invented recognition errors: what a small recogniser does to a sentence, so that the text line has met it.

Whisper tiny.en on speech of people it does not know loses negations and first words, writes contractions for what was
said in full, and puts a word that sounds alike where it did not know the one it heard.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

NEGATIONS = {"not", "never", "no", "nothing", "nobody", "without", "hardly"}
_SMALL = {"a", "an", "the", "to", "of", "and", "that", "it", "is", "was", "so", "just", "in", "i"}
_CONTRACTED = {
    ("it", "is"): "it's",
    ("that", "is"): "that's",
    ("do", "not"): "don't",
    ("did", "not"): "didn't",
    ("is", "not"): "isn't",
    ("was", "not"): "wasn't",
    ("i", "am"): "i'm",
    ("i", "have"): "i've",
    ("they", "are"): "they're",
    ("you", "are"): "you're",
}
_SHARES = (0.15, 0.25, 0.35, 0.15, 0.1)
"""How often each kind of error is tried: a lost negation, lost first words, a word misheard, a small word, short."""
_SOUNDS = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")


def sound(word: str) -> str:
    """Return how a word roughly sounds: its first letter and the classes of its consonants, as Soundex does."""
    if not word.isalpha() or not word.isascii():
        return word
    codes = [letter for letter in word[1:].translate(_SOUNDS) if letter.isdigit()]
    return word[0] + "".join(code for at, code in enumerate(codes) if at == 0 or codes[at - 1] != code)[:3]


class Misheard:
    """Makes recognition errors.

    Args:
        vocabulary: words that may be heard in place of others.
    """

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._errors = (self._negation, self._first, self._alike, self._small, self._short)
        self._sounding: dict[str, list[str]] = {}
        for word in sorted(set(vocabulary)):
            if len(word) > 2:
                self._sounding.setdefault(sound(word), []).append(word)

    def __call__(self, words: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
        """Return the words with one to three errors; at least one word is left."""
        heard = list(words)
        for _ in range(int(rng.integers(1, 4))):
            error = self._errors[int(rng.choice(len(self._errors), p=_SHARES))]
            heard = error(heard, rng) or heard
        return tuple(heard)

    def _negation(self, words: list[str], rng: np.random.Generator) -> list[str]:
        """Lose a negation: `didn't like` becomes `like` or `did like`."""
        places = [at for at, word in enumerate(words) if word in NEGATIONS or word.endswith("n't")]
        if not places:
            return words
        at = int(rng.choice(places))
        stem = words[at].removesuffix("n't") if rng.random() < 0.5 else ""
        kept = [stem] if stem and stem in {"did", "do", "does", "is", "was", "would", "could", "have"} else []
        return words[:at] + kept + words[at + 1 :]

    def _first(self, words: list[str], rng: np.random.Generator) -> list[str]:
        return words[int(rng.integers(1, 4)) :] if len(words) > 4 else words

    def _alike(self, words: list[str], rng: np.random.Generator) -> list[str]:
        """Put a word that sounds alike in place of one of the longer ones."""
        places = [at for at, word in enumerate(words) if len(word) > 3 and word not in NEGATIONS]
        if not places:
            return words
        at = int(rng.choice(places))
        others = [word for word in self._sounding.get(sound(words[at]), []) if word != words[at]]
        return [*words[:at], str(rng.choice(others)), *words[at + 1 :]] if others else words

    def _small(self, words: list[str], rng: np.random.Generator) -> list[str]:
        places = [at for at, word in enumerate(words) if word in _SMALL]
        if len(words) < 3 or not places:
            return words
        at = int(rng.choice(places))
        return words[:at] + words[at + 1 :]

    def _short(self, words: list[str], _: np.random.Generator) -> list[str]:
        for at, pair in enumerate(itertools.pairwise(words)):
            if pair in _CONTRACTED:
                return [*words[:at], _CONTRACTED[pair], *words[at + 2 :]]
        return words
