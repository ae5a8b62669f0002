"""What a person said before: earlier utterances that have ended lean what the present one says towards them.

Somebody who liked the film a sentence ago probably still does. With p what the present utterance says, and S the sum of
what the n utterances before it said,

    p' = keep * p + lean * S / (n + prior)        p' = p while n = 0

which fades by itself while little was said, and never counts a sentence twice. The coefficients are fitted on held-out
speakers (scripts/training/context.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMIT = 3.0
MOST = 1e6
"""No coefficient is larger."""


@dataclass(frozen=True)
class Context:
    """Coefficients; they travel with the weights. By default nothing counts."""

    keep: float = 1.0
    """Share of what the present utterance says, once something was said before."""
    lean: float = 0.0
    """How much of the shrunk mean of what was said before is added."""
    prior: float = 3.0
    """So many neutral utterances are thought to have come before."""

    @property
    def counts(self) -> bool:
        """Whether what was said before changes anything."""
        return self.lean > 0

    def before(self, earlier: Sequence[float]) -> float:
        """Return what earlier utterances alone let expect; 0 for none."""
        return self.lean * sum(earlier) / (len(earlier) + self.prior) if earlier else 0.0

    def leaned(self, said: float, earlier: Sequence[float]) -> float:
        """Return what the present utterance says, leaned towards the earlier ones, in [-3, 3]."""
        if not earlier or not self.counts:
            return said
        return max(-LIMIT, min(LIMIT, self.keep * said + self.before(earlier)))

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Context:
        """Read what `to_dict` gave.

        Raises:
            ValueError: a key is unknown, or a number negative or more than MOST.
        """
        try:
            made = cls(**{name: float(value) for name, value in data.items()})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a context: {error}") from None
        values = asdict(made).values()
        if not all(0 <= value <= MOST for value in values) or made.prior < 1 / MOST:
            raise ValueError(f"not a context: {dict(data)}")
        return made
