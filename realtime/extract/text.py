"""Words to what they say: each transcript gives the words of the present utterance, read in one pass.

A second reading of an utterance (asr/reading.py) changes what is made of it, not its words: committed words stay.
Words of a language in which no reader was measured are handed on as they are, and nothing is made of them.

Training and the live program share `normal_word`: transcripts of corpora come in capitals without punctuation, those
of Whisper with case, punctuation and apostrophes, and both must look alike to the encoder.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from realtime.config.languages import MEASURED
from realtime.extract.schema import TEXT_DIM
from realtime.extract.utterances import Utterances
from realtime.types import Ended, Reading, TextFeatures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realtime.extract.utterances import Said, Spoken
    from realtime.types import Floats, Transcript, Word

MAX_ENDED = 16
"""Ended utterances that are remembered."""
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


class Reader(Protocol):
    """Reads words: location and log scale of their sentiment after each of them, (n, TEXT_DIM)."""

    def read(self, words: Sequence[str]) -> Floats:
        """Return what the words up to and including each say."""
        ...


class TextExtractor:
    """Follows the words of one stream and reads those of the present utterance, committed and tentative.

    Args:
        reader: shared by all streams; perhaps still on its way, and until it is there nothing comes out.
    """

    def __init__(self, reader: Reader | Future[Reader]) -> None:
        self._pending: Future[Reader] | None = None
        if isinstance(reader, Future):
            self._pending = reader
        else:
            self._reader: Reader = reader
        self._utterances = Utterances()
        self._read: dict[tuple[str, ...], Floats] = {}
        self._ended: deque[Ended] = deque(maxlen=MAX_ENDED)
        self._newest: Transcript | None = None

    def feed(self, item: Transcript | Reading, /) -> Iterable[TextFeatures]:
        """Take a transcript, or a second reading, and return the words of the present utterance with what they say.

        Raises:
            Exception: what kept the reader from coming.
        """
        if self._pending is not None:
            if not self._pending.done():
                return ()
            self._reader, self._pending = self._pending.result(), None
        if not isinstance(item, Reading):
            self._newest = item
            return (self._features(self._utterances.feed(item), item.decode_s),)
        again = self._utterances.read_again(item)
        return () if again is None else (self._features(again, item.decode_s),)

    def flush(self) -> Iterable[TextFeatures]:
        """Forget the words; every transcript was answered at once."""
        self.close()
        return ()

    def close(self) -> None:
        """Let go of the words."""
        self._utterances.clear()
        self._ended.clear()
        self._read.clear()
        self._newest = None

    def _features(self, spoken: Spoken, decode_s: float) -> TextFeatures:
        newest, present = self._newest, spoken.present
        if newest is None:
            raise ValueError("a reading before any transcript")
        if newest.language not in MEASURED:
            self._ended.clear()  # what was made of its first words, while another language was taken for it
            values = np.zeros((len(present.words), TEXT_DIM), np.float32)
        else:
            values = self._judged(spoken)
        return TextFeatures(
            newest.t_ns,
            present.words,
            values,
            decode_s,
            newest.asr_warning,
            spoken.state,
            tuple(self._ended),
            present.read,
            newest.language,
            newest.embedding,
        )

    def _judged(self, spoken: Spoken) -> Floats:
        """What the words of the present utterance say; those that have ended are noted."""
        for said in spoken.ended:
            self._end(said)
        present = spoken.present
        values = self._values(present.words)
        known = {_plain(present.words), _plain(present.read)}
        if len(values) and present.read:
            values = np.concatenate([values[:-1], self._values(present.read)[-1:]])
        self._read = {key: value for key, value in self._read.items() if key in known}
        return values

    def _end(self, said: Said) -> None:
        """Note what an utterance that has ended says, in the place of what it said before it was read again."""
        ended = Ended(said.words[-1].end_ns, float(self._values(said.read or said.words)[-1, 0]))
        places = [place for place, before in enumerate(self._ended) if before.end_ns == ended.end_ns]
        if places:
            self._ended[places[0]] = ended
        elif not self._ended or ended.end_ns > self._ended[-1].end_ns:
            self._ended.append(ended)

    def _values(self, words: tuple[Word, ...]) -> Floats:
        plain = _plain(words)
        if not plain:
            return np.zeros((0, TEXT_DIM), np.float32)
        if plain not in self._read:
            self._read[plain] = self._reader.read(plain)
        return self._read[plain]


def _plain(words: tuple[Word, ...]) -> tuple[str, ...]:
    return tuple(normal_word(word.text) for word in words)
