"""Whether a committed word is worth a message of its own: an opinion word, by what it does to the text line.

The text line reads what the words up to and including each say. A word is an opinion word if, with it, what the
committed words of the utterance say is LEAST or more from what the last message had of them; an utterance begins at 0.
So is the end of an utterance, or its second reading, if it turns what was said as far. Tentative words never are: the
next decode may take them back. Nor are words of a language that is not judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.config.languages import MEASURED

if TYPE_CHECKING:
    from realtime.types import TextFeatures

LEAST = 0.5
"""Of the scale from -3 to 3: from where on words lean clearly (fuse/smooth.py: STEADY). "It was a" moves less, "great"
more."""


class OpinionWord:
    """Follows the words of one stream."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self._told: tuple[int, float] | None = None

    def told(self, text: TextFeatures | None) -> None:
        """Note what a message goes out with."""
        self._told = _said(text)

    def is_news(self, text: TextFeatures) -> bool:
        """Whether what is committed says something else than the last message did."""
        said = _said(text)
        if said is None:
            return False
        told = self._told
        return abs(said[1] - (told[1] if told is not None and told[0] == said[0] else 0.0)) >= LEAST


def _said(text: TextFeatures | None) -> tuple[int, float] | None:
    """Which utterance it is, by the time of its first word, and what its committed words say."""
    committed = 0 if text is None else sum(word.committed for word in text.words)
    if text is None or not committed or text.language not in MEASURED:
        return None
    return text.words[0].start_ns, float(text.values[committed - 1, 0])
