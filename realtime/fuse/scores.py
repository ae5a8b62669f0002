"""What a pass of AGFN gives, and what gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from realtime.fuse.collate import Batch
    from realtime.types import Floats


class Scores(NamedTuple):
    """Of B windows: score (B,), spread (B,), weights (B, M)."""

    score: Floats
    spread: Floats
    weights: Floats


class Engine(Protocol):
    """Runs the network on a batch."""

    name: str

    def run(self, batch: Batch) -> Scores:
        """Return the scores of a batch.

        Raises:
            RuntimeError: out of memory, or the device is lost.
        """
        ...
