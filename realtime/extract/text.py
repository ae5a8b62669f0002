"""Words to contextual vectors: each transcript gives the words of the recent past, embedded in one pass.

Training and the live program share `normal_word`: transcripts of corpora come in capitals without punctuation, those
of Whisper with case, punctuation and apostrophes, and both must look alike to the encoder.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from typing import TYPE_CHECKING, Final

from realtime.types import NS_PER_S, TextFeatures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.sentence import SentenceEncoder
    from realtime.types import Floats, Transcript, Word

CONTEXT_S = 15.0
"""Words that ended longer ago say little about now."""
SENTENCE_PAUSE_S = 2.0
"""What was said before so long a pause belongs to something else."""
MAX_WORDS = 64
"""Most words embedded together, committed and tentative."""
NO_WORD = "."
"""What stands for a token without letters, such as a dash or a note sign."""
_CONTRACTIONS: Final = (
    "ain't aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he's i'm "
    "i've isn't mightn't might've mustn't must've needn't she's shouldn't should've that'd that'll that's there's "
    "they'd they'll they're they've wasn't we've weren't what's where's who's won't wouldn't would've y'all you'd "
    "you'll you're you've"
)
_SHORT: Final = {short.replace("'", ""): short for short in _CONTRACTIONS.split()}
"""Contractions that corpora write without their apostrophe; `its`, `well`, `were`, `ill` are words of their own."""


def normal_word(text: str) -> str:
    """Lower case, no punctuation but the apostrophe inside a word, contractions as they are written.

    A token without any letter or digit becomes NO_WORD.
    """
    folded = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    kept = "".join(char if char.isalnum() or char == "'" else " " for char in folded)
    parts = [part for raw in kept.split() if (part := raw.strip("'"))]
    if not parts or parts == ["xxx"]:  # CMU-MOSI writes XXX for what nobody could understand
        return NO_WORD
    return " ".join(_SHORT.get(part, part) for part in parts)


def normal_words(text: str) -> list[str]:
    """Return the normalised words of a whole text, as the live words would be."""
    words = (normal_word(token) for token in text.split())
    return [word for word in words if word != NO_WORD]


def _since_pause(words: tuple[Word, ...]) -> tuple[Word, ...]:
    pause_ns = int(SENTENCE_PAUSE_S * NS_PER_S)
    begins = [i for i in range(1, len(words)) if words[i].start_ns - words[i - 1].end_ns >= pause_ns]
    return words[begins[-1] :] if begins else words


class TextExtractor:
    """Keeps the words of the recent past and embeds them with those that are tentative now.

    Args:
        encoder: shared by all streams.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._committed: deque[Word] = deque(maxlen=MAX_WORDS)
        self._embedded: tuple[str, ...] = ()
        self._values: Floats = encoder.encode([])

    def feed(self, item: Transcript, /) -> Iterable[TextFeatures]:
        """Take a transcript and return all recent words with their vectors (len(words), 385)."""
        self._committed.extend(item.committed)
        oldest_ns = item.t_ns - int(CONTEXT_S * NS_PER_S)
        while self._committed and self._committed[0].end_ns < oldest_ns:
            self._committed.popleft()
        words = _since_pause((*self._committed, *item.tentative)[-MAX_WORDS:])
        plain = tuple(normal_word(word.text) for word in words)
        if plain != self._embedded:
            self._values = self._encoder.encode(plain)
            self._embedded = plain
        return (TextFeatures(item.t_ns, words, self._values, item.decode_s, item.doubt),)

    def flush(self) -> Iterable[TextFeatures]:
        """Forget the words; every transcript was answered at once."""
        self._committed.clear()
        return ()

    def close(self) -> None:
        """Let go of the words."""
        self._committed.clear()
