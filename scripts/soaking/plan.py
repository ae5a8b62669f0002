"""Which fault comes after which: by the seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

Card = TypeVar("Card")

LONG_OUTAGE_FROM_MINUTES = 10.0
RESTARTS_EVERY = 4
"""The program is restarted in one deck of so many: what leaks shows in a long run only."""


def plan(
    rng: random.Random,
    minutes: float,
    faults: Callable[[], list[Card]],
    restarts: Callable[[], Sequence[Card]],
    outage: Callable[[], Card],
) -> Iterator[Card]:
    """Every fault once in a random order, again and again; a long run has a long outage of the broker too.

    Args:
        rng: the only source of chance.
        minutes: how long the run is to be.
        faults: returns one deck.
        restarts: returns the faults that end the program and start it again, in the order in which they make sense:
            they are put between those of the first deck and of every fourth after it.
        outage: returns the long outage.
    """
    if minutes >= LONG_OUTAGE_FROM_MINUTES:
        yield outage()
    number = 0
    while True:
        deck = faults()
        rng.shuffle(deck)
        if number % RESTARTS_EVERY == 0:
            between = sorted(rng.sample(range(1, len(deck) + 1), len(restarts())), reverse=True)
            for at, card in zip(between, reversed(restarts()), strict=True):
                deck.insert(at, card)
        yield from deck
        number += 1
