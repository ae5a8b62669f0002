"""The words that a message has and the one before it had not: a window slides, and its oldest words leave it."""

from __future__ import annotations


def new_words(before: str, now: str) -> str:
    """Return the words at the end of `now` that were not in `before` yet.

    The least change is taken for the true one: of a window that slid from "a b c" to "b c d" the new word is "d".

    Args:
        before: committed words of one message.
        now: committed words of the next.
    """
    old, new = before.split(), now.split()
    shared = next(
        length for length in range(min(len(old), len(new)), -1, -1) if old[len(old) - length :] == new[:length]
    )
    return " ".join(new[shared:])
